"""Registered JIT code over time: what comes, what goes, and its unwind tables."""

from __future__ import annotations

from typing import cast

from mixstack.record.jit_debugger import Debugger, JitFrames
from mixstack.record.jit_tables import JitRoom, JitTables
from mixstack.record.tables import TableSpace
from mixstack.target.process import TargetProcess
from mixstack.unwind.rows import RowKind, find_row
from tests.unit.jit.objects import DESCRIPTOR, Memory, relocatable

TEXT = 0x7F00_0000_1000
FRAMES_AT = TEXT + 0x2000
# CIE: CFA = rsp + 8; FDE of [TEXT, TEXT + 0x20): from byte 1 on CFA = rsp + 16. As LLVM writes it.
CIE = bytes.fromhex("14000000 00000000 017a5200 01781001 1c0c0708 90010000")
FDE = (
    bytes.fromhex("1c000000 1c000000")
    + (TEXT - FRAMES_AT - 32).to_bytes(8, "little", signed=True)
    + (0x20).to_bytes(8, "little")
    + bytes.fromhex("00 410e10 00000000")
)
OLD, NEW = 0x20000, 0x30000


class Fake(Memory):
    pid = 7


def _debugger(memory: Fake, notes: list[str]) -> Debugger:
    return Debugger(cast(TargetProcess, memory), DESCRIPTOR, notes.append, 0)


def _said(debugger: Debugger) -> list[tuple[int, str | None, int, int]]:
    entries = debugger.entries
    symbols = [entries.symbol(n) for n in range(len(entries.index))]
    return [(s.start - TEXT, s.name, s.after_ns, s.by_ns) for s in symbols]


def test_what_is_registered_and_unregistered() -> None:
    memory, notes = Fake(), list[str]()
    debugger = _debugger(memory, notes)
    debugger.poll(100)
    memory.register({OLD: relocatable([(b"f", 0, 16)], TEXT)})
    debugger.poll(200)
    debugger.poll(300)
    memory.register({NEW: relocatable([(b"g", 0, 16), (b"h", 32, 16)], TEXT)})
    debugger.poll(400)
    assert _said(debugger) == [
        (0, "f", 100, 200),
        (0, None, 300, 400),
        (0, "g", 300, 400),
        (32, "h", 300, 400),
    ]
    assert notes == []


def test_an_object_that_is_none_is_said_once() -> None:
    memory, notes = Fake(), list[str]()
    debugger = _debugger(memory, notes)
    memory.register({OLD: b"no object", NEW: relocatable([(b"g", 0, 16)], TEXT)})
    debugger.poll(100)
    assert _said(debugger) == [(0, "g", 0, 100)]
    assert len(notes) == 1


def test_unwind_information_is_read_where_it_was_loaded() -> None:
    memory = Fake()
    memory.pieces[FRAMES_AT] = CIE + FDE
    image = relocatable([(b"f", 0, 0x20)], TEXT, bytes(len(CIE + FDE)), FRAMES_AT)
    memory.register({OLD: image})
    debugger = _debugger(memory, [])
    debugger.poll(100)
    assert debugger.frames == (JitFrames(TEXT, TEXT + 0x20, CIE + FDE, FRAMES_AT),)
    memory.register({})
    debugger.poll(200)
    assert debugger.frames == ()


def test_tables_are_placed_once_and_cut_out_of_their_mapping() -> None:
    rows, pages = memoryview(bytearray(8 << 10)), memoryview(bytearray(8 << 10))
    space = TableSpace(rows, pages)
    tables = JitTables(JitRoom(space))
    frames = JitFrames(TEXT, TEXT + 0x20, CIE + FDE, FRAMES_AT)
    tables.update([frames])
    used = space.used_bytes
    (part,) = tables.within(TEXT & -4096, (TEXT & -4096) + 8192)
    assert (part.start, part.end, part.table.base) == (TEXT, TEXT + 0x20, TEXT & -256)
    assert list(tables.within(TEXT + 1, TEXT + 8192)) == []
    tables.update([])
    assert list(tables.within(0, 1 << 47)) == []
    tables.update([frames, frames._replace(eh_frame=b"")])
    assert space.used_bytes == 2 * used  # it had been forgotten


# 0x20 bytes with rules of their own in the middle: pop %rbx; ret
WAY, CODE = TEXT + 8, bytes.fromhex("90" * 8 + "5bc3" + "cc" * 22)


def _read(address: int, size: int) -> bytes | None:
    return CODE[address - TEXT : address - TEXT + size]


def test_ways_out_lie_in_the_gaps_of_what_is_registered() -> None:
    space = TableSpace(memoryview(bytearray(8 << 10)), memoryview(bytearray(8 << 10)))
    tables = JitTables(JitRoom(space))
    assert tables.add_place(WAY, (TEXT, TEXT + 0x20), _read)
    assert _spans(tables) == [(8, 10)]
    tables.update([JitFrames(TEXT, TEXT + 0x20, CIE + FDE, FRAMES_AT)])
    assert _spans(tables) == [(0, 8), (8, 10), (10, 0x20)]
    child = tables.copy()
    tables.update([])
    assert _spans(tables) == [(8, 10)]
    assert len(_spans(child)) == 3


def test_memory_that_holds_other_code_has_no_rules() -> None:
    space = TableSpace(memoryview(bytearray(8 << 10)), memoryview(bytearray(8 << 10)))
    tables = JitTables(JitRoom(space))
    assert tables.add_place(WAY, (TEXT, TEXT + 0x20), _read)
    assert not tables.add_place(WAY, (TEXT, TEXT + 0x20), _read), "tried once"
    assert not tables.forget_changed(_read)
    assert tables.forget_changed(lambda address, size: bytes(size))
    assert _spans(tables) == []
    assert tables.add_place(WAY, (TEXT, TEXT + 0x20), _read)
    assert tables.forget_changed(lambda address, size: None)


DUMPED = JitFrames(TEXT, TEXT + 0x20, CIE + FDE, FRAMES_AT)


def _tables() -> JitTables:
    return JitTables(
        JitRoom(TableSpace(memoryview(bytearray(8 << 10)), memoryview(bytearray(8 << 10))))
    )


def test_what_a_dump_says_holds_while_memory_holds_that_code() -> None:
    tables = _tables()
    assert not tables.add_dumped(DUMPED, CODE[:-1] + b"\x90", _read), "other code"
    assert tables.add_dumped(DUMPED, CODE, _read)
    assert not tables.add_dumped(DUMPED, CODE, _read), "it is there"
    assert not tables.add_place(WAY, (TEXT, TEXT + 0x20), _read), "it has a rule"
    assert _spans(tables) == [(0, 0x20)]
    assert not tables.forget_changed(_read)
    child = tables.copy()
    assert tables.forget_changed(lambda address, size: bytes(size))
    assert (_spans(tables), _spans(child)) == ([], [(0, 0x20)])
    assert tables.add_dumped(DUMPED, CODE, _read)


def test_what_is_registered_counts_more_than_what_is_dumped() -> None:
    tables = _tables()
    tables.add_dumped(DUMPED, CODE, _read)
    tables.update([DUMPED._replace(end=TEXT + 0x10)])
    assert _spans(tables) == [(0, 0x10), (0x10, 0x20)]


def test_a_dump_that_says_nothing_is_asked_once_and_the_code_is_followed() -> None:
    tables = _tables()
    nothing = DUMPED._replace(eh_frame=CIE)
    assert not tables.add_dumped(nothing, CODE, _read)
    assert not tables.add_dumped(nothing, CODE, _read)
    assert tables.add_place(WAY, (TEXT, TEXT + 0x20), _read)


def test_dumped_code_has_a_bound() -> None:
    tables = _tables()
    size = 1 << 20

    def read(address: int, size: int) -> bytes:
        return bytes(size)

    assert not tables.add_dumped(DUMPED._replace(end=TEXT + size + 1), bytes(size + 1), read)
    assert tables.add_dumped(DUMPED, bytes(0x20), read)
    assert not tables.add_dumped(DUMPED._replace(end=TEXT + size), bytes(size), read)


def test_what_had_no_way_out_may_be_other_code_later() -> None:
    space = TableSpace(memoryview(bytearray(8 << 10)), memoryview(bytearray(8 << 10)))
    tables = JitTables(JitRoom(space))
    within = TEXT, TEXT + 0x20
    assert not tables.add_place(WAY, within, lambda address, size: b"\xcc" * size)
    assert not tables.add_place(WAY, within, lambda address, size: b"\xcc" * size)
    assert tables.add_place(WAY, within, _read)


def _spans(tables: JitTables) -> list[tuple[int, int]]:
    return [(p.start - TEXT, p.end - TEXT) for p in tables.within(TEXT, TEXT + 0x20)]


def test_a_table_says_what_the_compiler_said() -> None:
    from mixstack.unwind.cfi import compile_jit

    table = compile_jit(CIE + FDE, FRAMES_AT, (TEXT, TEXT + 0x20))
    assert table is not None
    first, second = find_row(table, TEXT), find_row(table, TEXT + 1)
    assert first is not None
    assert second is not None
    assert (first.kind, first.cfa_offset) == (RowKind.RSP, 8)
    assert (second.kind, second.cfa_offset) == (RowKind.RSP, 16)
    assert compile_jit(b"", FRAMES_AT, (TEXT, TEXT + 0x20)) is None
