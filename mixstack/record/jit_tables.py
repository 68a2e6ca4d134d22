"""The unwind tables of JIT code: placed in the probe once, cut out of its mapping.

Those that its compiler registered; those that it wrote into a jitdump file, where a walk died in
that code; and the ways out of code of which it said nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from mixstack.record.jit_debugger import JitFrames
from mixstack.record.tables import Placed, TableSpace
from mixstack.record.ways_out import Read, WaysOut
from mixstack.unwind.cfi import compile_jit
from mixstack.unwind.rows import RowKind, UnwindTable, find_row

_BYTES_MAX: Final = 1 << 22  # of the probe's memory: what is placed stays there
_TABLES_MAX: Final = 1024  # each is a mapping to the probe
_DUMPED_MAX: Final = 512  # tables from jitdump files
_DUMPED_CODE_MAX: Final = 1 << 20  # bytes of their code: it is compared with memory at each look


class JitPart(NamedTuple):
    """Code `[start, end)` with a table, and where that is."""

    start: int
    end: int
    table: UnwindTable
    placed: Placed


class _Dumped(NamedTuple):
    """What is used of a jitdump file, while memory holds this code. part: None if it is no use."""

    code: bytes
    part: JitPart | None


class JitRoom:
    """The part of the probe's memory that JIT code may take, in all processes of a recording."""

    def __init__(self, space: TableSpace) -> None:
        self._space = space
        self._bytes = 0

    def place(self, frames: JitFrames) -> JitPart | None:
        """Compile and place the table of this code; None if it has none, or there is no room."""
        table = compile_jit(frames.eh_frame, frames.address, (frames.start, frames.end))
        placed = self.place_table(table) if table is not None else None
        if table is None or placed is None:
            return None
        return JitPart(frames.start, frames.end, table, placed)

    def place_table(self, table: UnwindTable) -> Placed | None:
        """Place a table; None if there is no room."""
        if self._bytes + len(table.rows) + len(table.pages) > _BYTES_MAX:
            return None
        self._bytes += len(table.rows) + len(table.pages)
        return self._space.place(table)


class JitTables:
    """Those of one process; places what is new. One whose code is gone is not used any more."""

    def __init__(self, room: JitRoom) -> None:
        self._room = room
        self._known: dict[JitFrames, JitPart | None] = {}
        self._dumped: dict[JitFrames, _Dumped] = {}
        self._ways = WaysOut(room.place_table)
        self._parts: tuple[JitPart, ...] = ()

    def update(self, frames: Iterable[JitFrames]) -> None:
        """From now on there is the registered code of these."""
        self._known = {
            each: self._known[each] if each in self._known else self._room.place(each)
            for each in frames
        }
        self._put_together()

    def add_dumped(self, frames: JitFrames, code: bytes, read: Read) -> bool:
        """Use what a jitdump file says of this code, if memory holds it; whether that is new."""
        size = sum(len(each.code) for each in self._dumped.values()) + len(code)
        if frames in self._dumped or len(self._dumped) >= _DUMPED_MAX or size > _DUMPED_CODE_MAX:
            return False
        if read(frames.start, frames.end - frames.start) != code:
            return False
        part = self._room.place(frames)
        self._dumped[frames] = _Dumped(code, part)
        self._put_together()
        return part is not None

    def add_place(self, address: int, within: tuple[int, int], read: Read) -> bool:
        """Find the way out of code without rules from an instruction; whether it was found."""
        if any(_has_rule(each.part, address) for each in self._dumped.values()):
            return False  # it came while samples were on their way
        found = self._ways.add(address, within, read)
        if found:
            self._put_together()
        return found

    def forget_changed(self, read: Read) -> bool:
        """Drop rules that are for other code than memory holds by now; whether there were any.

        What is registered is not looked at: it says itself when it goes.
        """
        kept = {
            frames: dumped
            for frames, dumped in self._dumped.items()
            if read(frames.start, frames.end - frames.start) == dumped.code
        }
        dropped = len(kept) < len(self._dumped)
        self._dumped = kept
        dropped |= self._ways.forget_changed(read)
        if dropped:
            self._put_together()
        return dropped

    def within(self, start: int, end: int) -> Iterator[JitPart]:
        """The tables of code inside of a mapping, by address."""
        return (part for part in self._parts if start <= part.start and part.end <= end)

    def copy(self) -> JitTables:
        """For a process whose memory is a copy."""
        other = JitTables(self._room)
        other._known, other._parts = dict(self._known), self._parts
        other._dumped, other._ways = dict(self._dumped), self._ways.copy()
        return other

    def _put_together(self) -> None:
        """Ways out lie in the gaps of what is registered or dumped: it is divided around them."""
        parts = [JitPart(way.start, way.end, way.table, way.placed) for way in self._ways.parts]
        dumped = [each.part for each in self._dumped.values()]
        for source in (self._known.values(), dumped):
            for part in sorted(part for part in source if part is not None):
                parts += _apart(part, parts)
        self._parts = tuple(sorted(parts)[:_TABLES_MAX])


def _apart(part: JitPart, others: Iterable[JitPart]) -> list[JitPart]:
    """What others leave of a part."""
    left, at = [], part.start
    for other in sorted(others):
        if other.end <= at or other.start >= part.end:
            continue
        if other.start > at:
            left.append(part._replace(start=at, end=other.start))
        at = other.end
    if at < part.end:
        left.append(part._replace(start=at))
    return left


def _has_rule(part: JitPart | None, address: int) -> bool:
    if part is None or not part.start <= address < part.end:
        return False
    row = find_row(part.table, address)
    return row is not None and row.kind is not RowKind.NONE
