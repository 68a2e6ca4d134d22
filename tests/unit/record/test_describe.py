"""Mappings as the capture and the probe know them: files, the vDSO, arenas of trampolines."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixstack.bpf.wire import MappingKind
from mixstack.record import describe
from mixstack.record.describe import ANONYMOUS, TRAMPOLINE, Described, Describer
from mixstack.record.modules import VDSO, ModuleRegistry
from mixstack.record.tables import TableSpace
from mixstack.target.maps import MapLine
from mixstack.target.process import TargetProcess
from mixstack.unwind.trampoline import ARENA_SIZE, arena_table
from tests.unit.record.test_modules import line_of, space, written

STUB = bytes.fromhex("f30f1efa 4883ec08 ffd1 4883c408 c3")
ODD_STUB = b"\x0f\x0b" * 8  # no instruction of it is known
START = 0x7F00_0000_0000
JIT = b"\xcc" * 0x3000


def arena(stride: int = 32, stub: bytes = STUB) -> bytes:
    return (stub.ljust(stride, b"\0") * (ARENA_SIZE // stride)).ljust(ARENA_SIZE, b"\0")


@dataclass
class Memory:
    """Just what is asked of a process: one mapping's contents, None if it cannot be read."""

    contents: bytes | None = None
    reads: list[tuple[int, int]] = field(default_factory=list)
    pid: int = field(default_factory=os.getpid)

    def read(self, address: int, size: int) -> bytes | None:
        self.reads.append((address, size))
        return self.contents

    def open_path(self, line: MapLine) -> str:
        return line.path

    def vdso(self) -> bytes | None:
        return None


def describer(of: TableSpace | None = None) -> Describer:
    return Describer(ModuleRegistry(), of or space())


def anonymous(size: int, path: str = "") -> MapLine:
    return MapLine(START, START + size, "rwxp", 0, 0, 0, path)


def described(
    memory: Memory, line: MapLine, stub: bytes | None = STUB, by: Describer | None = None
) -> list[Described]:
    return (by or describer()).describe(cast(TargetProcess, memory), line, stub)


def parts(found: list[Described]) -> list[tuple[int, int, str | None, bool]]:
    """(start and end from the mapping's start, label, whether there is a table) of each part.

    Capture and probe are told the same of it.
    """
    for mapping, entry in found:
        assert (mapping.start, mapping.end) == (entry.start, entry.end)
        assert entry.kind in (MappingKind.TABLE, MappingKind.NO_TABLE)
    return [
        (m.start - START, m.end - START, m.label, e.kind == MappingKind.TABLE) for m, e in found
    ]


# --- files ------------------------------------------------------------------------------------


def test_a_file_has_no_table_before_it_is_read(tmp_path: Path) -> None:
    line = line_of(written(tmp_path / "x.so"), start=START)
    registry = ModuleRegistry()
    by = Describer(registry, space())
    ((mapping, entry),) = described(Memory(), line, by=by)
    assert (mapping.module_id, mapping.label) == (None, line.path)
    assert entry.kind == MappingKind.NO_TABLE
    assert by.modules == {}

    loaded = registry.find(cast(TargetProcess, Memory()), line)
    assert loaded is not None
    assert loaded.table is not None
    ((mapping, entry),) = described(Memory(), line, by=by)
    assert (mapping.start, mapping.end) == (line.start, line.end)
    assert (mapping.module_id, mapping.label) == (loaded.module.id, None)
    assert entry.kind == MappingKind.TABLE
    # The file's first bytes are code, at 0x1000 by its own count.
    assert mapping.load_bias == line.start - 0x1000
    assert entry.base == mapping.load_bias + loaded.table.base
    assert entry.pages == len(loaded.table.pages) // 8
    assert by.modules == {loaded.module.id: loaded}


@pytest.mark.parametrize(
    ("eh_frame", "offset"),
    [
        pytest.param(None, 0, id="without unwind information: a module, and no table"),
        pytest.param(b"", 0x7000, id="a part of the file that is no code: no module"),
    ],
)
def test_files_without_a_table(tmp_path: Path, eh_frame: bytes | None, offset: int) -> None:
    line = line_of(written(tmp_path / "x.so", eh_frame), offset, START)
    registry = ModuleRegistry()
    assert registry.find(cast(TargetProcess, Memory()), line) is not None
    ((mapping, entry),) = described(Memory(), line, by=Describer(registry, space()))
    assert entry.kind == MappingKind.NO_TABLE
    assert (mapping.module_id is None) == (offset == 0x7000)


def test_two_mappings_of_a_file_share_its_table(tmp_path: Path) -> None:
    path = written(tmp_path / "x.so")
    registry, room = ModuleRegistry(), space()
    by = Describer(registry, room)
    lines = [line_of(path, 0, START + 0x10_0000 * i) for i in range(2)]
    registry.find(cast(TargetProcess, Memory()), lines[0])
    first, second = (described(Memory(), line, by=by)[0][1] for line in lines)
    assert first.first_page == second.first_page
    assert second.base - first.base == 0x10_0000
    used = room.used_bytes
    described(Memory(), lines[0], by=by)
    assert room.used_bytes == used


def test_the_vdso_of_a_real_process() -> None:
    process = TargetProcess.open(os.getpid())
    registry = ModuleRegistry()
    (line,) = (line for line in process.executable_maps() if line.path == VDSO)
    registry.find(process, line)
    ((mapping, entry),) = Describer(registry, space()).describe(process, line, None)
    assert (mapping.label, mapping.module_id) == (VDSO, 0)
    assert entry.kind == MappingKind.TABLE


# --- memory without a file --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        pytest.param(JIT, [(0, 0x3000, ANONYMOUS, False)], id="something else"),
        pytest.param(arena(), [(0, ARENA_SIZE, TRAMPOLINE, True)], id="one arena"),
        pytest.param(
            JIT + arena() + JIT,
            [
                (0, 0x3000, ANONYMOUS, False),
                (0x3000, 0x3000 + ARENA_SIZE, TRAMPOLINE, True),
                (0x3000 + ARENA_SIZE, 0x6000 + ARENA_SIZE, ANONYMOUS, False),
            ],
            id="an arena in other memory",
        ),
        pytest.param(
            arena() + arena(64),
            [(0, ARENA_SIZE, TRAMPOLINE, True), (ARENA_SIZE, 2 * ARENA_SIZE, TRAMPOLINE, True)],
            id="two arenas of different strides",
        ),
        pytest.param(None, [(0, 0x3000, ANONYMOUS, False)], id="it cannot be read"),
    ],
)
def test_what_is_anonymous(
    memory: bytes | None, expected: list[tuple[int, int, str, bool]]
) -> None:
    found = described(Memory(memory), anonymous(0x3000 if memory is None else len(memory)))
    assert parts(found) == expected
    for mapping, entry in found:
        assert (mapping.module_id, mapping.load_bias) == (None, mapping.start)
        if entry.kind == MappingKind.TABLE:
            assert entry.base == mapping.start


@pytest.mark.parametrize(
    ("path", "stub", "searched"),
    [
        pytest.param("", STUB, True, id="no name"),
        pytest.param("[anon:cpython:perf_trampoline]", STUB, True, id="named by CPython"),
        pytest.param("[anon:other]", STUB, True, id="named by someone else"),
        pytest.param("[stack]", STUB, False, id="a stack"),
        pytest.param("/memfd:jit (deleted)", STUB, False, id="a file that is gone"),
        pytest.param("", None, False, id="the interpreter has no trampolines"),
    ],
)
def test_where_trampolines_are_looked_for(path: str, stub: bytes | None, searched: bool) -> None:
    memory = Memory(arena())
    found = parts(described(memory, anonymous(ARENA_SIZE, path), stub))
    label = TRAMPOLINE if searched else path or ANONYMOUS
    assert found == [(0, ARENA_SIZE, label, searched)]
    assert memory.reads == ([(START, ARENA_SIZE)] if searched else [])


def test_a_mapping_of_gigabytes_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(describe, "_SEARCHED", ARENA_SIZE)
    memory = Memory(arena() + JIT)
    size = ARENA_SIZE + len(JIT)
    assert parts(described(memory, anonymous(size))) == [(0, size, ANONYMOUS, False)]
    assert memory.reads == []


def test_arenas_with_the_same_stub_and_stride_share_a_table() -> None:
    room = space()
    by = describer(room)
    memory = Memory(arena() + arena() + arena(64))
    first, same, other = (entry for _, entry in described(memory, anonymous(3 * ARENA_SIZE), by=by))
    assert first.first_page == same.first_page != other.first_page
    used = room.used_bytes
    described(memory, anonymous(3 * ARENA_SIZE), by=by)
    assert room.used_bytes == used
    assert arena_table(STUB, 32) is not None


def test_an_arena_whose_table_finds_no_room_is_said_to_be_without() -> None:
    found = described(Memory(arena()), anonymous(ARENA_SIZE), by=describer(space(rows=8)))
    assert parts(found) == [(0, ARENA_SIZE, ANONYMOUS, False)]


def test_an_arena_of_a_stub_that_cannot_be_followed() -> None:
    found = described(Memory(arena(32, ODD_STUB)), anonymous(ARENA_SIZE), ODD_STUB)
    assert parts(found) == [(0, ARENA_SIZE, ANONYMOUS, False)]


pieces = st.lists(
    st.sampled_from([arena(), arena(64), arena(80), JIT, bytes(0x1000), STUB.ljust(0x1000)]),
    min_size=1,
    max_size=4,
)


@given(pieces=pieces)
def test_the_parts_cover_the_mapping_in_order(pieces: list[bytes]) -> None:
    memory = b"".join(pieces)
    found = parts(described(Memory(memory), anonymous(len(memory))))
    ends = [0, *(end for _, end, _, _ in found)]
    assert [start for start, *_ in found] == ends[:-1]
    assert ends[-1] == len(memory)
    assert sum(label == TRAMPOLINE for *_, label, _ in found) == sum(
        len(piece) == ARENA_SIZE for piece in pieces
    )
