"""The unwind tables of registered JIT code: placed in the probe once, cut out of its mapping."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from mixstack.record.jit_debugger import JitFrames
from mixstack.record.tables import Placed, TableSpace
from mixstack.unwind.cfi import compile_jit

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
        if table is None or self._bytes + len(table.rows) + len(table.pages) > _BYTES_MAX:
            return None
        self._bytes += len(table.rows) + len(table.pages)
        placed = self._space.place(table)
        return JitPart(frames.start, frames.end, table.base, placed) if placed else None


class JitTables:
    """Those of one process; places what is new. One whose code is gone is not used any more."""

    def __init__(self, room: JitRoom) -> None:
        self._room = room
        self._known: dict[JitFrames, JitPart | None] = {}
        self._parts: tuple[JitPart, ...] = ()

    def update(self, frames: Iterable[JitFrames]) -> None:
        """From now on there is the code of these."""
        self._known = {
            each: self._known[each] if each in self._known else self._room.place(each)
            for each in frames
        }
        parts: list[JitPart] = []
        for part in sorted(part for part in self._known.values() if part is not None):
            if not parts or part.start >= parts[-1].end:
                parts.append(part)
        self._parts = tuple(parts[:_TABLES_MAX])

    def within(self, start: int, end: int) -> Iterator[JitPart]:
        """The tables of code inside of a mapping, by address."""
        return (part for part in self._parts if start <= part.start and part.end <= end)

    def copy(self) -> JitTables:
        """For a process whose memory is a copy."""
        other = JitTables(self._room)
        other._known, other._parts = dict(self._known), self._parts
        return other
