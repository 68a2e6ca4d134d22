"""Symbols from this machine's files, only where they are surely the right ones."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixstack.elf import open_elf
from mixstack.model import Mapping, MappingSnapshot, NativeFrame, SourceCall, Step, Symbol
from mixstack.symbolize import debug_files, offline
from mixstack.symbolize.offline import Listener, Names, look_up
from tests.unit.symbolize.captures import LIBC, PID, FakeCapture, capture, sample
from tests.unit.symbolize.images import Sym, elf
from tests.unit.symbolize.programs import BUILDS, build, functions_of

BUILD_ID = bytes(range(20))
F, G = Symbol(LIBC, 0x1100, 0x1140, "f"), Symbol(LIBC, 0x1200, 0x1208, "g")


def found(capture: FakeCapture, anew: bool = False) -> Names:
    """What is looked up; what is said of progress adds up."""
    told: list[tuple[int, int]] = []
    names = look_up(capture, Listener(lambda *done: told.append(done), print), anew=anew)
    assert told == sorted(told)
    assert all(done <= total for done, total in told)
    return names


@pytest.fixture
def salvaged(tmp_path: Path) -> FakeCapture:
    """A capture with addresses in a module whose symbols were not written."""
    file = tmp_path / "libc.so.6"
    file.write_bytes(elf([Sym("f", 0x1100, 0x40), Sym("g", 0x1200, 8)], build_id=BUILD_ID))
    of = capture()
    of.modules[LIBC] = replace(of.modules[LIBC], path=str(file), build_id=BUILD_ID.hex())
    of.recorded = [
        sample(
            NativeFrame(0x31140, 1, Step.CALLER),  # the call is the last instruction of f
            NativeFrame(0x31208, 2, Step.LEAF),  # behind g
            NativeFrame(None, 3, Step.RESYNC),
        ),
        sample(NativeFrame(0x99999, 1, Step.LEAF)),
        sample(NativeFrame(0x80010, 1, Step.LEAF)),
    ]
    return of


def test_fills_in(salvaged: FakeCapture) -> None:
    before = dict(salvaged.symbols)
    assert found(salvaged).symbols == {**before, LIBC: (F,)}
    assert salvaged.symbols == before


def test_completes_what_is_there(salvaged: FakeCapture) -> None:
    salvaged.symbols[LIBC] = (G,)
    assert found(salvaged).symbols[LIBC] == (F, G)


@pytest.mark.parametrize("build_id", [None, "00" * 20])
def test_other_file(salvaged: FakeCapture, build_id: str | None) -> None:
    salvaged.modules[LIBC] = replace(salvaged.modules[LIBC], build_id=build_id)
    assert found(salvaged).symbols == salvaged.symbols


def test_no_file(salvaged: FakeCapture) -> None:
    Path(salvaged.modules[LIBC].path).unlink()
    assert found(salvaged).symbols == salvaged.symbols


def test_damaged_file(salvaged: FakeCapture) -> None:
    Path(salvaged.modules[LIBC].path).write_bytes(b"\x7fELF")
    assert found(salvaged).symbols == salvaged.symbols


def test_unknown_module(salvaged: FakeCapture) -> None:
    del salvaged.modules[LIBC]
    assert found(salvaged).symbols == salvaged.symbols


OLD = Symbol(LIBC, 0x1000, 0x1120, "old")
NAMELESS = Symbol(LIBC, 0x1100, 0x1140, None)


@pytest.mark.parametrize(
    ("known", "anew", "expected"),
    [
        pytest.param((OLD,), False, (OLD,), id="what the capture says stays"),
        pytest.param((OLD,), True, (F,), id="unless it is asked for anew"),
        pytest.param((NAMELESS,), False, (NAMELESS,), id="a function without a name is known"),
        pytest.param((NAMELESS,), True, (F,), id="a name is better than none"),
        pytest.param((G,), True, (F, G), id="what is not found again stays"),
    ],
)
def test_which_symbol_counts(
    salvaged: FakeCapture, known: tuple[Symbol, ...], anew: bool, expected: tuple[Symbol, ...]
) -> None:
    salvaged.symbols[LIBC] = known
    salvaged.recorded = [sample(NativeFrame(0x31110, 1, Step.LEAF))]
    assert found(salvaged, anew).symbols[LIBC] == expected


@pytest.fixture
def built(tmp_path: Path) -> tuple[FakeCapture, int]:
    """A capture of a program with debug information, and an address of it."""
    program = build(BUILDS[3], tmp_path)
    start, _ = functions_of(program)[0]
    with open_elf(str(program)) as elf:
        build_id = elf.build_id
    of = capture()
    of.modules[LIBC] = replace(of.modules[LIBC], path=str(program), build_id=build_id)
    of.mappings = {PID: (MappingSnapshot(PID, 50, (Mapping(0, 1 << 40, 0, LIBC, None),)),)}
    of.recorded = [sample(NativeFrame(start + 4, 1, Step.LEAF))]
    return of, start + 4


OTHER = (SourceCall("other", "/a.c", 1),)


def test_lines(built: tuple[FakeCapture, int]) -> None:
    of, vaddr = built
    calls = found(of).source_calls[LIBC, vaddr]
    assert calls[0].file is not None
    assert calls[0].file.endswith("main.c")
    of.source_calls = {(LIBC, vaddr): OTHER}
    assert found(of).source_calls == {(LIBC, vaddr): OTHER}
    assert found(of, anew=True).source_calls == {(LIBC, vaddr): calls}


def test_the_debug_file_is_enough(
    built: tuple[FakeCapture, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another machine, which has no such program."""
    of, _ = built
    whole = found(of)
    program, build_id = Path(of.modules[LIBC].path), of.modules[LIBC].build_id
    assert build_id is not None
    monkeypatch.setattr(debug_files, "_DEBUG_FOLDER", str(tmp_path / "debug"))
    target = Path(debug_files.path_by_build_id(build_id))
    target.parent.mkdir(parents=True)
    subprocess.run(["objcopy", "--only-keep-debug", str(program), str(target)], check=True)
    program.unlink()
    assert found(of) == whole
    assert whole.symbols[LIBC]
    target.unlink()
    assert found(of) == Names(of.symbols, {})


symbols = st.builds(
    lambda start, size, name: Symbol(1, start, start + size, name),
    st.integers(0, 60),
    st.integers(1, 12),
    st.none() | st.sampled_from("abc"),
)


@given(st.lists(symbols), st.lists(symbols))
def test_merged_symbols_are_disjoint_and_no_name_is_lost_to_none(
    first: list[Symbol], second: list[Symbol]
) -> None:
    merged = offline._merged(first, second)
    assert all(a.end <= b.start for a, b in pairwise(merged))
    assert set(merged) <= {*first, *second}
    for symbol in {*first, *second} - set(merged):
        overlapping = [m for m in merged if m.start < symbol.end and symbol.start < m.end]
        assert overlapping
        assert symbol.name is None or any(m.name is not None for m in overlapping)
