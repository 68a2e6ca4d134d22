"""What Python believes of the C library, against what the compiler made of its sources."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from elftools.dwarf.die import DIE
from elftools.elf.elffile import ELFFile

from mixstack.compiled import joins, samples
from mixstack.compiled import library as binding
from mixstack.compiled.library import Lent
from mixstack.errors import NoProbe

SOURCES = sorted((Path(binding.__file__).parent).glob("*.c"))
STRUCTS: dict[str, type[ctypes.Structure]] = {
    "ms_block": samples._Block,
    "ms_columns": samples._Columns,
    "ms_joined": joins._Joined,
}


@pytest.fixture(scope="module")
def dies(tmp_path_factory: pytest.TempPathFactory) -> list[DIE]:
    """The top of the debug information of all sources."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    built = tmp_path_factory.mktemp("library") / "library.so"
    options = ["-g", "-gdwarf-4", "-shared", "-fPIC", "-fvisibility=hidden"]
    subprocess.run(["gcc", *options, *SOURCES, "-o", built], check=True)
    with built.open("rb") as file:
        units = ELFFile(file).get_dwarf_info().iter_CUs()
        return [die for unit in units for die in unit.get_top_DIE().iter_children()]


def name(die: DIE) -> str:
    return die.attributes["DW_AT_name"].value.decode() if "DW_AT_name" in die.attributes else ""


def size(die: DIE) -> int:
    """Bytes of the type of a member or a parameter."""
    while "DW_AT_byte_size" not in die.attributes:
        die = die.get_DIE_from_attribute("DW_AT_type")
    return int(die.attributes["DW_AT_byte_size"].value)


def test_functions(dies: list[DIE]) -> None:
    """The same ones, with as many parameters, of the same sizes."""
    found: dict[str, list[int]] = {}
    for die in dies:
        if die.tag == "DW_TAG_subprogram" and name(die).startswith("ms_"):
            parts = [p for p in die.iter_children() if p.tag == "DW_TAG_formal_parameter"]
            returned = size(die) if "DW_AT_type" in die.attributes else 0
            found[name(die)] = [returned, *map(size, parts)]
    internal = {"ms_frames_find", "ms_frames_rows_of"}
    believed: dict[str, list[int]] = {}
    for function, types in binding._FUNCTIONS.items():
        kinds: list[Any] = [*types]
        believed[function] = [0 if kind is None else ctypes.sizeof(kind) for kind in kinds]
    assert {f: sizes for f, sizes in found.items() if f not in internal} == believed


@pytest.mark.parametrize("struct", STRUCTS)
def test_structs(struct: str, dies: list[DIE]) -> None:
    (die,) = {
        d.offset: d for d in dies if d.tag == "DW_TAG_structure_type" and name(d) == struct
    }.values()
    found = [
        (name(m), m.attributes["DW_AT_data_member_location"].value, size(m))
        for m in die.iter_children()
    ]
    ours = STRUCTS[struct]
    fields = [(field, getattr(ours, field)) for field, *_ in ours._fields_]
    assert found == [(field, at.offset, at.size) for field, at in fields]
    assert size(die) == ctypes.sizeof(ours)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "_PATH", "/nowhere/libmixstack.so")
    with pytest.raises(NoProbe, match="no compiled library"):
        binding.library.__wrapped__()


def test_lent_bytes_are_where_they_were_and_cannot_go() -> None:
    data = bytearray(b"some bytes")
    lent = Lent(memoryview(data)[5:])
    assert ctypes.string_at(lent.address, lent.size) == b"bytes"
    with pytest.raises(BufferError):
        data.clear()
    del lent
    data.clear()
