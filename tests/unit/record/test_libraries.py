"""The files of a command; the oracle is ldd, and /proc/PID/maps of the command itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mixstack.record.libraries import files_of_command
from tests.interpreters import Build, supported

PYTHON = os.path.realpath(sys.executable)


def executable(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def ldd(path: str) -> set[str]:
    if shutil.which("ldd") is None:
        pytest.skip("ldd is not installed")
    listed = subprocess.run(["ldd", path], capture_output=True, text=True).stdout
    return {os.path.realpath(w) for w in listed.split() if w.startswith("/")}


@pytest.mark.parametrize("name", ["sh", "env", "ldconfig", "gcc"])
def test_programs_of_the_system(name: str) -> None:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    found = files_of_command(name)
    assert found[0] == os.path.realpath(path)
    assert set(found[1:]) | {found[0]} >= ldd(path) - {"/usr/bin/bash"}


@pytest.mark.parametrize("build", supported(lambda b: b.tree is None))
def test_all_that_a_bare_interpreter_maps(build: Build) -> None:
    command = build.command("-I", "-S", "-c", "print(open('/proc/self/maps').read())")
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    mapped = {line.split()[5] for line in lines if " r-xp " in line and "/" in line}
    assert mapped == set(files_of_command(build.executable))


def test_a_static_program_has_no_libraries(tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    source, program = tmp_path / "static.c", tmp_path / "static"
    source.write_text("void _start(void) { for (;;); }")
    command = ["gcc", "-nostdlib", "-static", "-o", str(program), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    assert files_of_command(str(program)) == [str(program)]


@pytest.mark.parametrize(
    "first_line",
    [
        pytest.param(f"#!{PYTHON}", id="by path"),
        pytest.param(f"#! {PYTHON} -S", id="with a space and an option"),
        pytest.param("#!/usr/bin/env python-of-the-test", id="by env"),
    ],
)
def test_a_script_stands_for_its_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first_line: str
) -> None:
    (tmp_path / "python-of-the-test").symlink_to(PYTHON)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    script = executable(tmp_path / "script", first_line + "\nprint()\n")
    assert files_of_command(script) == files_of_command(PYTHON)
    assert files_of_command("script")[0] == PYTHON


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("#!/no/such/interpreter\n", id="the interpreter is missing"),
        pytest.param("#!/usr/bin/env no-such-interpreter\n", id="env does not find it"),
    ],
)
def test_a_script_that_cannot_run(tmp_path: Path, text: str) -> None:
    assert files_of_command(executable(tmp_path / "script", text)) == []


@pytest.mark.parametrize("text", ["#!\n", "", "\x7fELF", "\x00" * 300])
def test_a_file_that_is_no_program_is_itself(tmp_path: Path, text: str) -> None:
    path = executable(tmp_path / "odd", text)
    assert files_of_command(path) == [path]


@pytest.mark.parametrize("command", ["no-such-command-anywhere", "/no/such/file", "", "/"])
def test_a_command_that_is_not_found(command: str) -> None:
    assert files_of_command(command) == []


def test_a_loader_that_cannot_list(tmp_path: Path) -> None:
    data = bytearray(Path(PYTHON).read_bytes())
    at = data.index(b"/lib64/ld-linux-x86-64.so.2\0")
    data[at : at + 6] = b"/lib63"
    path = tmp_path / "python"
    path.write_bytes(data)
    path.chmod(0o755)
    assert files_of_command(str(path)) == [str(path)]
