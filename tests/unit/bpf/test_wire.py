"""The mirror says what the C compiler says: sizes, offsets, enums, and nothing is missing.

The oracle is the DWARF of an object that includes `mixstack.h`, read by pyelftools.
"""

from __future__ import annotations

import ctypes
import enum
import inspect
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from elftools.dwarf.die import DIE
from elftools.elf.elffile import ELFFile

import mixstack.bpf
from mixstack import model
from mixstack.bpf import probe, wire

HEADER_DIR = Path(next(iter(mixstack.bpf.__path__)))

# By the tag in C: the mirror, and the prefix that its members have there.
ENUMS: dict[str, tuple[type[enum.IntEnum | enum.IntFlag], str]] = {
    "ms_record": (wire.Record, "MS_RECORD_"),
    "ms_native_end": (model.NativeEnd, "MS_NATIVE_"),
    "ms_chain_end": (model.ChainEnd, "MS_CHAIN_"),
    "ms_step": (model.Step, "MS_STEP_"),
    "ms_chain_entry": (wire.EntryKind, "MS_ENTRY_"),
    "ms_sample_flag": (wire.SampleFlag, "MS_SAMPLE_"),
    "ms_row_kind": (wire.RowKind, "MS_ROW_"),
    "ms_mapping_kind": (wire.MappingKind, "MS_MAPPING_"),
    "ms_chain_kind": (wire.ChainKind, "MS_CHAIN_KIND_"),
    "ms_counter": (wire.Counter, "MS_COUNT_"),
    "ms_process_flag": (wire.ProcessFlag, "MS_PROCESS_"),
}
STRUCTS: dict[str, type[ctypes.LittleEndianStructure]] = {
    "ms_sample": wire.SampleHead,
    "ms_native": wire.NativeEntry,
    "ms_python": wire.ChainEntry,
    "ms_string": wire.CodeString,
    "ms_code": wire.CodeRecord,
    "ms_life": wire.Life,
    "ms_mapping": wire.MappingEntry,
    "ms_page": wire.PageEntry,
    "ms_layout": wire.Layout,
    "ms_process": wire.ProcessEntry,
    "ms_learned": wire.Learned,
    "ms_config": wire.Config,
}


# Slots of the map of programs, by their names in C (enum ms_program), and what is run there.
PROGRAMS = {
    "PROGRAM_THREADS": "find_thread",
    "PROGRAM_CHAIN": "walk_chain",
    "PROGRAM_NATIVE": "walk_native",
    "PROGRAM_CODES": "send_codes",
    "PROGRAM_FRAMES": "walk_frames",
    "PROGRAM_MARKERS": "find_markers",
    "PROGRAM_LEARN": "learn_markers",
    "PROGRAM_BASE": "find_base",
    "PROGRAM_CALLER": "find_caller",
}


class Field(NamedTuple):
    name: str
    offset: int
    size: int
    signed: bool


class Header(NamedTuple):
    """What the compiler made of the header."""

    structs: dict[str, tuple[int, list[Field]]]
    enums: dict[str, dict[str, int]]
    loose: dict[str, int]  # enumerators of enums without a tag, and macros


def _compiler() -> str:
    found = shutil.which("gcc") or shutil.which("clang")
    if found is None:
        pytest.skip("neither gcc nor clang is here to compile the header")
    return found


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> Header:
    folder = tmp_path_factory.mktemp("wire")
    source, built = folder / "all.c", folder / "all.o"
    source.write_text('#include "mixstack.h"\n')
    options = ["-g", "-gdwarf-4", "-fno-eliminate-unused-debug-types", f"-I{HEADER_DIR}"]
    subprocess.run([_compiler(), *options, "-c", source, "-o", built], check=True)
    structs: dict[str, tuple[int, list[Field]]] = {}
    enums: dict[str, dict[str, int]] = {}
    loose = _macros(folder)
    with built.open("rb") as file:
        for unit in ELFFile(file).get_dwarf_info().iter_CUs():
            for die in unit.get_top_DIE().iter_children():
                if die.tag == "DW_TAG_structure_type":
                    structs[_name(die)] = (_number(die, "DW_AT_byte_size"), _fields(die))
                elif die.tag == "DW_TAG_enumeration_type":
                    members = {
                        _name(m): _number(m, "DW_AT_const_value") for m in die.iter_children()
                    }
                    if "DW_AT_name" in die.attributes:
                        enums[_name(die)] = members
                    else:
                        loose |= members
    assert structs
    assert enums
    return Header(structs, enums, loose)


def _macros(folder: Path) -> dict[str, int]:
    """The values of the header's macros, from a program that prints them."""
    listing = subprocess.run(
        [_compiler(), "-dM", "-E", HEADER_DIR / "mixstack.h"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    names = re.findall(r"^#define (MS_\w+) \S", listing, re.MULTILINE)
    prints = "".join(f'printf("{name} %lld\\n", (long long)({name}));' for name in names)
    source, program = folder / "macros.c", folder / "macros"
    source.write_text(f'#include <stdio.h>\n#include "mixstack.h"\nint main(void) {{ {prints} }}\n')
    subprocess.run([_compiler(), f"-I{HEADER_DIR}", source, "-o", program], check=True)
    out = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    return {name: int(value) for name, value in (line.split() for line in out.splitlines())}


def _name(die: DIE) -> str:
    return str(die.attributes["DW_AT_name"].value.decode())


def _number(die: DIE, attribute: str) -> int:
    return int(die.attributes[attribute].value)


def _fields(struct: DIE) -> list[Field]:
    fields = []
    for member in struct.iter_children():
        kind, count = member.get_DIE_from_attribute("DW_AT_type"), 1
        while kind.tag in ("DW_TAG_typedef", "DW_TAG_array_type"):
            if kind.tag == "DW_TAG_array_type":
                (dimension,) = kind.iter_children()
                count *= _number(dimension, "DW_AT_upper_bound") + 1
            kind = kind.get_DIE_from_attribute("DW_AT_type")
        signed = "DW_AT_encoding" in kind.attributes and _number(kind, "DW_AT_encoding") == 5
        offset = _number(member, "DW_AT_data_member_location")
        fields.append(
            Field(_name(member), offset, count * _number(kind, "DW_AT_byte_size"), signed)
        )
    return fields


def _mirrored_fields(mirror: type[ctypes.LittleEndianStructure]) -> list[Field]:
    fields = []
    for name, kind, *_ in mirror._fields_:
        descriptor = getattr(mirror, name)
        signed = kind in (ctypes.c_int32, ctypes.c_int64)
        fields.append(Field(name, descriptor.offset, descriptor.size, signed))
    return fields


@pytest.mark.parametrize("tag", STRUCTS)
def test_a_struct_is_laid_out_as_in_c(header: Header, tag: str) -> None:
    size, fields = header.structs[tag]
    mirrored = STRUCTS[tag]
    assert _mirrored_fields(mirrored) == fields
    assert ctypes.sizeof(mirrored) == size


@pytest.mark.parametrize("tag", ENUMS)
def test_an_enum_has_the_members_of_c(header: Header, tag: str) -> None:
    mirror, prefix = ENUMS[tag]
    members = {f"{prefix}{m.name}": m.value for m in mirror}
    if tag == "ms_counter":
        members["MS_COUNTERS"] = wire.COUNTERS
    assert members == header.enums[tag]


def test_the_constants_are_those_of_c(header: Header) -> None:
    constants = {
        f"MS_{name}": value
        for name, value in vars(wire).items()
        if isinstance(value, int) and name.isupper() and name != "COUNTERS"
    }
    assert constants == header.loose


def test_nothing_in_the_header_is_missing_here(header: Header) -> None:
    assert set(header.structs) == set(STRUCTS)
    assert set(header.enums) == set(ENUMS)


def test_nothing_here_is_missing_in_the_header() -> None:
    own = {c for _, c in inspect.getmembers(wire, inspect.isclass) if c.__module__ == wire.__name__}
    assert own == set(STRUCTS.values()) | {
        m for m, _ in ENUMS.values() if m.__module__ == wire.__name__
    }


@pytest.mark.parametrize("tag", STRUCTS)
def test_records_need_no_padding_at_their_end(header: Header, tag: str) -> None:
    size, fields = header.structs[tag]
    assert fields[-1].offset + fields[-1].size == size


def test_tail_calls_lead_to_the_programs_that_they_name(tmp_path: Path) -> None:
    source, built = tmp_path / "state.c", tmp_path / "state.o"
    source.write_text('#include "state.bpf.h"\n')
    options = ["-w", "-g", "-gdwarf-4", "-fno-eliminate-unused-debug-types", f"-I{HEADER_DIR}"]
    subprocess.run([_compiler(), *options, "-c", source, "-o", built], check=True)
    with built.open("rb") as file:
        (slots,) = (
            {_name(m): _number(m, "DW_AT_const_value") for m in die.iter_children()}
            for unit in ELFFile(file).get_dwarf_info().iter_CUs()
            for die in unit.get_top_DIE().iter_children()
            if die.tag == "DW_TAG_enumeration_type"
            and "DW_AT_name" in die.attributes
            and _name(die) == "ms_program"
        )
    assert slots.pop("PROGRAMS") == len(slots)
    assert {name: probe._SLOTS[slot] for name, slot in slots.items()} == PROGRAMS


def test_every_program_of_the_source_is_loaded() -> None:
    source = (HEADER_DIR / "mixstack.bpf.c").read_text()
    found = re.findall(r'^SEC\("perf_event"\)\nint (\w+)\(', source, re.MULTILINE)
    walks = re.findall(r"^WALK\((\w+),", source, re.MULTILINE)
    assert sorted(walks) == sorted(probe.WALKS)
    found += walks
    assert sorted(found) == sorted(["on_sample", *probe._SLOTS])
    watching = re.findall(r'^SEC\("raw_tp/(\w+)"\)\nint (\w+)\(', source, re.MULTILINE)
    assert dict(watching) == probe._LIVES
