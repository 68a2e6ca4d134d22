"""The few symbols of a file that are asked for by name, against nm."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixstack.elf import BadElf, Elf, open_elf
from mixstack.elf_names import ElfSymbol, find_symbols
from tests.interpreters import SUPPORTED, Build
from tests.unit.target.test_python_file import compiled, file_of, needs_gcc

NAMES = (
    b"_PyRuntime",
    b"PyCode_Type",
    b"Py_GetVersion",
    b"_PyEval_EvalFrameDefault",
    b"PyList_Append",
)
SOURCE = """
int shown(void) { return 1; }
__attribute__((visibility("hidden"))) int hidden(void) { return 2; }
static int local(void) { return hidden() + 3; }
int (*const taken)(void) = local;
int the_tail_of_this_is_shown(void) { return 4; }
extern int elsewhere(void);
int calls(void) { return elsewhere(); }
"""
WANTED = (b"shown", b"hidden", b"local", b"elsewhere", b"how", b"own", b"no_such_symbol")
needs_nm = pytest.mark.skipif(shutil.which("nm") is None, reason="needs nm (binutils)")


def by_nm(path: str, *options: str) -> dict[bytes, ElfSymbol]:
    """The defined symbols that nm prints with their sizes."""
    listing = subprocess.run(["nm", "-S", *options, path], capture_output=True, text=True).stdout
    pattern = re.compile(r"^([0-9a-f]+) ([0-9a-f]+) [A-Za-z] (\w+)$", re.MULTILINE)
    return {
        match[3].encode(): ElfSymbol(int(match[1], 16), int(match[2], 16))
        for match in pattern.finditer(listing)
    }


@needs_nm
@pytest.mark.parametrize("build", SUPPORTED)
def test_those_of_an_interpreter(build: Build) -> None:
    path = file_of(build)
    truth = by_nm(path, "-D")
    with open_elf(path) as elf:
        assert find_symbols(elf, NAMES) == {name: truth[name] for name in NAMES}
        assert find_symbols(elf, [b"no_such_symbol"]) == {}
        assert find_symbols(elf, []) == {}


@needs_nm
@needs_gcc
def test_local_and_hidden_ones_are_found_until_the_file_is_stripped(tmp_path: Path) -> None:
    path = compiled(tmp_path, SOURCE)
    for names in ({b"shown", b"hidden", b"local"}, {b"shown"}):
        truth = by_nm(path) | by_nm(path, "-D")
        assert {name for name in WANTED if name in truth} == names
        with open_elf(path) as elf:
            assert find_symbols(elf, WANTED) == {name: truth[name] for name in names}
        subprocess.run(["strip", path], check=True)


@needs_gcc
def test_the_exported_one_counts_where_there_are_two(tmp_path: Path) -> None:
    """A file may have local functions of the same name as the one that others call."""
    (tmp_path / "other.c").write_text(
        "static int shown(void) { return 9; } int (*other)(void) = shown;"
    )
    path = compiled(tmp_path, SOURCE, str(tmp_path / "other.c"))
    with open_elf(path) as elf:
        found = find_symbols(elf, [b"shown"])
    assert found == {b"shown": by_nm(path, "-D")[b"shown"]}


@needs_gcc
def test_a_file_without_symbol_tables(tmp_path: Path) -> None:
    data = bytearray(Path(compiled(tmp_path, SOURCE)).read_bytes())
    data[40:48] = bytes(8)  # e_shoff
    data[60:64] = bytes(4)  # e_shnum, e_shstrndx
    elf = Elf(memoryview(bytes(data)), "without sections")
    assert elf.segments
    assert find_symbols(elf, WANTED) == {}


@needs_gcc
def test_damaged_files_never_raise(tmp_path_factory: pytest.TempPathFactory) -> None:
    sound = Path(compiled(tmp_path_factory.mktemp("elf"), SOURCE)).read_bytes()
    headers_at = int.from_bytes(sound[40:48], "little")  # e_shoff
    places = st.integers(headers_at, len(sound) - 1) | st.integers(0, len(sound) - 1)
    changes = st.dictionaries(places, st.integers(0, 255), min_size=1, max_size=8)

    @settings(max_examples=200, deadline=None)
    @given(changes=changes, size=st.integers(0, len(sound)) | st.just(len(sound)))
    def check(changes: dict[int, int], size: int) -> None:
        data = bytearray(sound)
        for at, value in changes.items():
            data[at] = value
        try:
            elf = Elf(memoryview(bytes(data[:size])), "damaged")
        except BadElf:
            return
        assert set(find_symbols(elf, WANTED)) <= set(WANTED)

    check()
