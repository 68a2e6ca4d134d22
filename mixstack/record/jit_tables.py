"""The unwind tables of JIT code: placed in the probe once, cut out of its mapping.

Those that its compiler registered, and the ways out of code of which nothing is registered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from mixstack.record.jit_debugger import JitFrames
from mixstack.record.tables import Placed, TableSpace
from mixstack.record.ways_out import Read, WaysOut
from mixstack.unwind.cfi import compile_jit
from mixstack.unwind.rows import UnwindTable

_BYTES_MAX: Final = 1 << 22  # of the probe's memory: what is placed stays there
_TABLES_MAX: Final = 1024  # each is a mapping to the probe


class JitPart(NamedTuple):
    """Code `[start, end)` with a table whose row pc 0 stands for `base`."""

    start: int
    end: int
    base: int
    placed: Placed


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
        return JitPart(frames.start, frames.end, table.base, placed)

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
        self._ways = WaysOut(room.place_table)
        self._parts: tuple[JitPart, ...] = ()

    def update(self, frames: Iterable[JitFrames]) -> None:
        """From now on there is the registered code of these."""
        self._known = {
            each: self._known[each] if each in self._known else self._room.place(each)
            for each in frames
        }
        self._put_together()

    def add_place(self, address: int, within: tuple[int, int], read: Read) -> bool:
        """Find the way out of unregistered code from an instruction; whether it was found."""
        found = self._ways.add(address, within, read)
        if found:
            self._put_together()
        return found

    def forget_changed(self, read: Read) -> bool:
        """Drop ways out of memory that holds other code by now; whether there were any."""
        dropped = self._ways.forget_changed(read)
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
        other._ways = self._ways.copy()
        return other

    def _put_together(self) -> None:
        """Ways out lie in the gaps of what is registered: it is divided around them."""
        parts = [
            JitPart(way.start, way.end, way.table.base, way.placed) for way in self._ways.parts
        ]
        for part in sorted(part for part in self._known.values() if part is not None):
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
