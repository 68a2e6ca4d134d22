"""Lines of native code by file: own and separate debug information, and what is said of trouble."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from mixstack.elf import open_elf
from mixstack.symbolize.native import NativeFile, SourceLines
from tests.unit.symbolize.programs import BUILDS, build, functions_of, tool
from tests.unit.symbolize.test_debug_files import Stripped, id_path, place, stripped

__all__ = ["stripped"]  # a fixture


def native(path: Path, *roots: Path, build_id: str | None = None) -> NativeFile:
    return NativeFile("/opt/bin/program", str(path), build_id, tuple(map(str, roots)))


def address_in(program: Path) -> int:
    return functions_of(program)[0][0] + 4


def test_separate_debug_file(stripped: Stripped, tmp_path: Path) -> None:
    warnings: list[str] = []
    place(tmp_path, id_path(stripped.build_id), stripped.debug)
    whole = stripped.program.parent / "whole"
    at = address_in(whole)
    lines = SourceLines(warnings.append)
    separate = lines.calls_at(native(stripped.program, tmp_path), at)
    assert separate == lines.calls_at(native(whole), at)
    assert separate[0].function == "failed"
    assert separate[0].line == 5
    assert lines.calls_at(native(stripped.program), at) == ()
    assert warnings == []


def test_of_another_build_nothing_is_said(stripped: Stripped) -> None:
    whole = stripped.program.parent / "whole"
    lines = SourceLines(print)
    assert lines.calls_at(native(whole, build_id=stripped.build_id), address_in(whole))
    assert not lines.calls_at(native(whole, build_id="00" * 20), address_in(whole))


@pytest.mark.parametrize("content", [None, b"", b"no ELF", b"\x7fELF\x02\x01\x01"])
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    assert SourceLines(print).calls_at(native(path), 0x1000) == ()


def test_damage_is_said_once_and_names_the_file(stripped: Stripped, tmp_path: Path) -> None:
    whole = stripped.program.parent / "whole"
    damaged = tmp_path / "damaged"
    raw = bytearray(whole.read_bytes())
    with open_elf(str(whole)) as file:
        section = file.section(".debug_abbrev")
        assert section is not None
        abbreviations = bytes(section.data)
    at = raw.index(abbreviations)
    raw[at : at + len(abbreviations)] = b"\xff" * len(abbreviations)
    damaged.write_bytes(raw)
    warnings: list[str] = []
    lines = SourceLines(warnings.append)
    for _ in range(3):
        assert lines.calls_at(native(damaged), address_in(whole)) == ()
    (said,) = warnings
    assert said.startswith("/opt/bin/program: ")


def test_file_shared_by_dwz(tmp_path: Path) -> None:
    """Two programs whose common parts dwz moved into a third file say the same as before."""
    if shutil.which("dwz") is None:
        pytest.skip("no dwz here")
    how = next(b for b in BUILDS if b.name == "gcc, DWARF 5")
    first = build(how, tmp_path)
    second = tmp_path / "second"
    shutil.copy(first, second)
    before = tmp_path / "before"
    shutil.copy(first, before)
    command = ["dwz", "-m", str(tmp_path / "shared"), str(first), str(second)]
    subprocess.run(command, check=True, capture_output=True)
    with open_elf(str(first)) as file:
        assert file.section(".gnu_debugaltlink") is not None
    lines = SourceLines(print)
    kept = NativeFile(str(before), str(before), None)
    moved = NativeFile(str(first), str(first), None)
    for start, end in functions_of(before):
        for address in range(start, end, 3):
            assert lines.calls_at(moved, address) == lines.calls_at(kept, address)


CYTHON_LIKE = """
#line 3 "module.pyx"
static int helper(int x) { return x * 3; }
#line 7 "module.pyx"
int work(int n) { return helper(n) + 1; }
int main(int argc, char **argv) { return work(argc); }
"""


def test_lines_of_the_source_that_c_was_made_from(tmp_path: Path) -> None:
    """As Cython writes them with `emit_linenums`."""
    source, program = tmp_path / "module.c", tmp_path / "module"
    source.write_text(CYTHON_LIKE)
    subprocess.run([tool("gcc"), "-O0", "-g", "-o", str(program), str(source)], check=True)
    lines = SourceLines(print)
    said = {
        (Path(f.file).name, f.line, f.function)
        for start, end in functions_of(program)
        for address in range(start, end)
        for f in lines.calls_at(native(program), address)
        if f.file is not None
    }
    assert {("module.pyx", 3, "helper"), ("module.pyx", 7, "work")} <= said
