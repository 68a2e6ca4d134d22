"""Functions that samples met: their tables, and how they divide a mapping."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixstack.elf import open_elf
from mixstack.model import Module
from mixstack.record.modules import LoadedModule
from mixstack.record.proven import ProvenFunctions, Stop
from mixstack.record.tables import TableSpace
from mixstack.target.maps import MapLine
from mixstack.unwind.cfi import compile_table
from tests.unit.unwind.images import shared_object

BIAS = 0x7000_0000
SOURCE = """
.text
bare: push %rbx; nop; pop %rbx; ret
odd: pop %rax; jmp *%rax
told: .cfi_startproc; push %rbx; .cfi_def_cfa_offset 16; nop; pop %rbx; ret; .cfi_endproc
"""
SIZES = {"bare": 4, "odd": 4, "told": 4}


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedModule:
    path = shared_object(tmp_path, SOURCE)
    with open_elf(str(path)) as elf:
        return LoadedModule(
            Module(7, "lib", None), elf.segments, compile_table(elf), str(path), None
        )


@pytest.fixture
def text(loaded: LoadedModule) -> int:
    return next(s.vaddr for s in loaded.segments if s.executable)


def space() -> TableSpace:
    return TableSpace(memoryview(bytearray(1 << 16)), memoryview(bytearray(1 << 16)))


def line(start: int, end: int) -> MapLine:
    return MapLine(start, end, "r-xp", 0, 1, 1, "/lib")


def test_a_function_divides_its_mapping(loaded: LoadedModule, text: int) -> None:
    proven = ProvenFunctions(space())
    assert proven.add(Stop(loaded, text, (text, text + 4)))
    whole = line(BIAS + text - 16, BIAS + text + 64)
    pieces = [
        (start, end, function is not None) for start, end, function in proven.split(7, whole, BIAS)
    ]
    at = BIAS + text
    assert pieces == [(at - 16, at, False), (at, at + 4, True), (at + 4, at + 64, False)]


def test_other_mappings_are_left_whole(loaded: LoadedModule, text: int) -> None:
    proven = ProvenFunctions(space())
    assert proven.add(Stop(loaded, text, (text, text + 4)))
    for module, start in ((8, BIAS + text), (7, BIAS + text + 8), (7, BIAS + text + 2)):
        piece = line(start, start + 64)
        assert list(proven.split(module, piece, BIAS)) == [(start, start + 64, None)]


@pytest.mark.parametrize(
    ("name", "offset", "added"),
    [
        pytest.param("bare", 0, True, id="proven"),
        pytest.param("odd", 4, False, id="its code proves nothing"),
        pytest.param("told", 7, False, id="its file speaks of it"),
    ],
)
def test_what_is_taken_in(
    loaded: LoadedModule, text: int, name: str, offset: int, added: bool
) -> None:
    proven = ProvenFunctions(space())
    start = text + offset
    stop = Stop(loaded, start, (start, start + SIZES[name]))
    assert proven.add(stop) is added
    assert proven.add(stop) is False, "tried once"


def test_bounds_that_are_absurd(loaded: LoadedModule, text: int) -> None:
    proven = ProvenFunctions(space())
    for start, end in ((text, text), (text + 4, text), (0, 1 << 40), (1 << 40, (1 << 40) + 8)):
        assert not proven.add(Stop(loaded, 1 << 40, (start, end)))


def test_without_room_there_is_no_function(loaded: LoadedModule, text: int) -> None:
    full = TableSpace(memoryview(bytearray(8)), memoryview(bytearray(8)))
    assert not ProvenFunctions(full).add(Stop(loaded, text, (text, text + 4)))


def test_without_a_symbol_there_is_a_way_out(loaded: LoadedModule, text: int) -> None:
    proven = ProvenFunctions(space())
    assert proven.add(Stop(loaded, text + 1, None))
    assert _parts(proven, text) == [(1, 4)]
    assert not proven.add(Stop(loaded, text + 2, None)), "it has rules by now"
    assert proven.add(Stop(loaded, text, None)), "what is met on the way becomes part of it"
    assert _parts(proven, text) == [(0, 4)]


def test_a_function_that_is_not_proven_may_have_a_way_out(loaded: LoadedModule, text: int) -> None:
    proven = ProvenFunctions(space())
    assert proven.add(Stop(loaded, text + 2, (text, text + 3)))  # it runs off its end
    assert _parts(proven, text) == [(2, 4)]


def test_no_way_leads_into_a_function_that_is_proven(loaded: LoadedModule, text: int) -> None:
    proven = ProvenFunctions(space())
    assert proven.add(Stop(loaded, text, (text, text + 4)))
    assert not proven.add(Stop(loaded, text + 2, None))


def _parts(proven: ProvenFunctions, text: int) -> list[tuple[int, int]]:
    whole = line(BIAS + text - 16, BIAS + text + 64)
    at = BIAS + text
    return [(s - at, e - at) for s, e, function in proven.split(7, whole, BIAS) if function]
