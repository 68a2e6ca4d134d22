"""What an ELF file says of its CPython, against readelf and the interpreter itself."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mixstack.elf import open_elf
from mixstack.target.maps import MapLine
from mixstack.target.python_file import read_python_file
from tests.interpreters import SUPPORTED, Build


def file_of(build: Build) -> str:
    if build.static:
        return build.host_executable
    folder = Path(build.executable).parent.parent / "lib"
    return str(next(folder.glob(f"libpython{build.minor[0]}.{build.minor[1]}.so.*")))


@pytest.mark.skipif(shutil.which("readelf") is None, reason="needs readelf (binutils)")
@pytest.mark.parametrize("build", SUPPORTED)
def test_text_is_the_executable_segment_of_readelf(build: Build) -> None:
    path = file_of(build)
    listing = subprocess.run(["readelf", "-lW", path], capture_output=True, text=True, check=True)
    load = re.search(r"LOAD +\S+ (\S+) \S+ \S+ (\S+) R E", listing.stdout)
    assert load is not None
    start = int(load[1], 16)
    with open_elf(path) as elf:
        file = read_python_file(elf)
    assert file is not None
    assert file.text == (start, start + int(load[2], 16))
    assert file.evaluator is not None
    assert file.text[0] < file.evaluator[0] < file.evaluator[1] < file.text[1]
    assert file.bias(MapLine(0x700000, 0x800000, "r--p", 0, 1, 1, path)) is not None


@pytest.mark.parametrize("build", SUPPORTED)
def test_the_version_is_what_the_interpreter_says(build: Build) -> None:
    with open_elf(file_of(build)) as elf:
        file = read_python_file(elf)
    assert file is not None
    assert file.version == (*build.version, True)
    assert (file.debug_offsets is not None) == (build.minor >= (3, 13))


needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")


def compiled(folder: Path, source: str, *options: str) -> str:
    (folder / "x.c").write_text(source)
    out = str(folder / "x.so")
    subprocess.run(
        ["gcc", "-shared", "-fPIC", *options, str(folder / "x.c"), "-o", out], check=True
    )
    return out


@needs_gcc
def test_a_file_that_only_uses_the_runtime_holds_no_python(tmp_path: Path) -> None:
    source = "extern long _PyRuntime; long f(void) { return _PyRuntime; }"
    with open_elf(compiled(tmp_path, source)) as elf:
        assert read_python_file(elf) is None


@needs_gcc
@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0x030C01F0, (3, 12, 1, True)),
        (0x030D00C2, (3, 13, 0, True)),
        (0x030E00A7, (3, 14, 0, False)),
        (0x030F00B1, (3, 15, 0, False)),
        (0x040000F0, (4, 0, 0, True)),
        (0, None),
    ],
)
def test_versions(tmp_path: Path, number: int, expected: tuple[int, int, int, bool] | None) -> None:
    source = f"long _PyRuntime = 1; const unsigned long Py_Version = {number:#x};"
    with open_elf(compiled(tmp_path, source)) as elf:
        file = read_python_file(elf)
    assert file is not None
    assert file.version == expected


@needs_gcc
def test_hidden_symbols_are_found_in_the_full_table_until_it_is_stripped(tmp_path: Path) -> None:
    source = """
    __attribute__((section(".PyRuntime"), visibility("hidden"))) long _PyRuntime = 1;
    __attribute__((visibility("hidden"))) const unsigned long Py_Version = 0x030b07f0;
    __attribute__((visibility("hidden"))) long PyCode_Type = 2;
    long a_name_that_ends_in_PyCode_Type = 3;
    """
    path = compiled(tmp_path, source)
    with open_elf(path) as elf:
        full = read_python_file(elf)
    subprocess.run(["strip", path], check=True)
    with open_elf(path) as elf:
        stripped = read_python_file(elf)
    assert full is not None
    assert full.version == (3, 11, 7, True)
    assert full.code_type is not None
    # The section's name survives, and says where the runtime lies.
    assert stripped is not None
    assert (stripped.runtime, stripped.code_type, stripped.version) == (full.runtime, None, None)
