"""The wheel: what is in it, what it asks for, and that it works where there is no compiler."""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import zipfile
from email.message import Message
from pathlib import Path

import pytest

import mixstack

ROOT = Path(__file__).parents[2]
PARTS = ("mixstack", "pyproject.toml", "README.md", "LICENSE", "build_native.py")
# What is compiled, and its e_machine (elf.h).
COMPILED = {"mixstack/bpf/mixstack.bpf.o": 247, "mixstack/compiled/libmixstack.so": 62}
NEWEST_GLIBC = (2, 17)  # that manylinux2014 promises


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources as they come from a repository: with nothing compiled."""
    folder = tmp_path_factory.mktemp("source")
    for part in PARTS:
        if (ROOT / part).is_dir():
            ignore = shutil.ignore_patterns("*.o", "*.o.*", "*.so", "*.so.*", "__pycache__")
            shutil.copytree(ROOT / part, folder / part, ignore=ignore)
        else:
            shutil.copy(ROOT / part, folder / part)
    return folder


def build(source: Path, into: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Build a wheel as a frontend would, offline, with what is installed here."""
    return subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(into)],
        cwd=source,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    done = build(source, folder)
    assert done.returncode == 0, done.stderr
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel in it; what it depends on is borrowed from this one."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(folder), "install", "--quiet"]
    subprocess.run(
        [*pip, "--no-index", "--no-deps", "--disable-pip-version-check", str(wheel)], check=True
    )
    (packages,) = folder.glob("lib/python3*/site-packages")
    ours = {str(Path(found).parent.parent) for found in _dependencies()}
    (packages / "borrowed.pth").write_text("\n".join(sorted(ours)))
    return folder / "bin" / "mixstack"


def _dependencies() -> list[str]:
    import click
    import pydemumble
    import zstandard

    return [str(module.__file__) for module in (click, pydemumble, zstandard)]


def metadata(wheel: Path, name: str) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (n for n in archive.namelist() if n.endswith(f".dist-info/{name}"))
        return email.message_from_bytes(archive.read(path))


def test_the_wheel_is_for_any_python_3_on_x86_64_linux(wheel: Path) -> None:
    assert wheel.name == f"mixstack-{mixstack.__version__}-py3-none-manylinux2014_x86_64.whl"
    assert metadata(wheel, "WHEEL").get_all("Tag") == ["py3-none-manylinux2014_x86_64"]
    assert metadata(wheel, "WHEEL")["Root-Is-Purelib"] == "false"


def test_pip_accepts_the_tag_here(wheel: Path) -> None:
    from packaging.tags import sys_tags

    assert "py3-none-manylinux2014_x86_64" in map(str, sys_tags())


@pytest.mark.parametrize("name", COMPILED)
def test_the_wheel_holds_what_is_compiled_and_no_path_of_the_builder(
    name: str, wheel: Path, source: Path
) -> None:
    with zipfile.ZipFile(wheel) as archive:
        image = archive.read(name)
    assert image[:4] == b"\x7fELF"
    assert int.from_bytes(image[18:20], "little") == COMPILED[name]
    assert str(source).encode() not in image


def test_the_library_asks_for_an_old_libc_only() -> None:
    path = ROOT / "mixstack/compiled/libmixstack.so"
    said = subprocess.run(["readelf", "-dV", path], check=True, capture_output=True, text=True)
    wanted = re.findall(r"GLIBC_(\d+)\.(\d+)", said.stdout)
    assert wanted
    assert max((int(major), int(minor)) for major, minor in wanted) <= NEWEST_GLIBC
    assert re.findall(r"\(NEEDED\).*\[(.*)\]", said.stdout) == ["libc.so.6"]


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    tops = {name.split("/")[0] for name in names}
    assert tops == {"mixstack", f"mixstack-{mixstack.__version__}.dist-info"}
    modules = {p.relative_to(ROOT).as_posix() for p in (ROOT / "mixstack").rglob("*.py")}
    assert modules <= names
    kinds = {Path(name).suffix for name in names if name.startswith("mixstack/")}
    assert kinds == {".py", ".c", ".h", ".o", ".so"}


def test_an_installation_pulls_three_packages(wheel: Path) -> None:
    wanted = metadata(wheel, "METADATA").get_all("Requires-Dist") or []
    always = sorted(w.split(">")[0].strip() for w in wanted if "extra ==" not in w)
    assert always == ["click", "pydemumble", "zstandard"]


def test_it_runs_without_a_compiler(installed: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [installed, "--version"], env={"PATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == f"mixstack, version {mixstack.__version__}"


@pytest.mark.live
@pytest.mark.skipif(os.geteuid() != 0, reason="recording needs root")
def test_it_records_without_a_compiler(installed: Path, tmp_path: Path) -> None:
    work = "sum(i * i for i in range(3_000_000))"
    done = subprocess.run(
        [installed, "record", "-r", "999", "--", sys.executable, "-c", work],
        cwd=tmp_path,
        env={"PATH": "", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    merged = subprocess.run(
        [installed, "merge", "-f", "collapsed", "-o", "-"], cwd=tmp_path, capture_output=True
    )
    assert b"<genexpr>" in merged.stdout, merged.stderr


def test_a_source_build_without_clang_says_what_to_install(source: Path, tmp_path: Path) -> None:
    done = build(source, tmp_path / "dist", PATH=str(tmp_path), CLANG="")
    assert done.returncode != 0
    assert "needs clang 14 or later" in done.stderr
    assert "apt-get install clang" in done.stderr


def test_a_probe_that_does_not_compile_shows_what_clang_said(source: Path, tmp_path: Path) -> None:
    fake = tmp_path / "clang-14"
    fake.write_text("#!/bin/sh\necho 'that is no C' >&2\nexit 1\n")
    fake.chmod(0o755)
    done = build(source, tmp_path / "dist", CLANG=str(fake))
    assert done.returncode != 0
    assert "could not compile mixstack/bpf/mixstack.bpf.o" in done.stderr
    assert "that is no C" in done.stderr


OLDEST_CLANG = 14
CLANGS = [OLDEST_CLANG, *(n for n in range(OLDEST_CLANG + 1, 30) if shutil.which(f"clang-{n}"))]


@pytest.mark.parametrize("version", CLANGS)
def test_every_clang_of_this_machine_compiles_it(version: int, source: Path) -> None:
    clang = shutil.which(f"clang-{version}")
    if clang is None:
        pytest.skip(f"there is no clang-{version} here")
    done = subprocess.run(
        [sys.executable, "build_native.py"],
        cwd=source,
        env={**os.environ, "CLANG": clang},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
