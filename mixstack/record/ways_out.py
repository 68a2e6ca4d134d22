"""Places in code without unwind rules at which walks died: the rules that lead out from there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from mixstack.record.tables import Placed
from mixstack.unwind.rows import RowKind, UnwindTable, find_row
from mixstack.unwind.way_out import WayOut, way_out

SPAN: Final = 1 << 16  # bytes of code that are followed to either side of a place
_SIGHT: Final = 32  # bytes by which the code at a place is told from what lies there later
_TRIED_MAX: Final = 512  # places: each takes milliseconds
_PLACES_MAX: Final = 64  # of one part

Read = Callable[[int, int], "bytes | None"]  # address and size, or None


class WayPart(NamedTuple):
    """`[start, end)` has a table of its own. places: what led to it; code: for which bytes."""

    start: int
    end: int
    table: UnwindTable
    placed: Placed
    places: tuple[int, ...]
    code: bytes


class WaysOut:
    """Those of one address space: a file's, or that of a process. `place` takes tables."""

    def __init__(self, place: Callable[[UnwindTable], Placed | None]) -> None:
        self._place = place
        self._tried: set[tuple[int, bytes]] = set()  # places, and the code there
        self.parts: tuple[WayPart, ...] = ()

    def add(self, address: int, within: tuple[int, int], read: Read) -> bool:
        """Find the way out from an instruction, in the code `within`; whether there are new rules.

        A part that is met on the way becomes part of the new one.
        """
        if len(self._tried) >= _TRIED_MAX or self._knows(address):
            return False
        sight = read(address, min(_SIGHT, within[1] - address))
        if sight is None or (address, sight) in self._tried:
            return False
        self._tried.add((address, sight))
        places, others = {address}, list(self.parts)
        while len(places) <= _PLACES_MAX:
            low = max(within[0], min(places) - SPAN)
            code = read(low, min(within[1], max(places) + SPAN) - low)
            found = None if code is None else _find(code, places, low)
            if code is None or found is None:
                return False
            start, end = low + found.start, low + found.end
            met = [part for part in others if part.start < end and start < part.end]
            if not met:
                placed = self._place(found.table)
                if placed is None:
                    return False
                held = code[found.start : found.end]
                part = WayPart(start, end, found.table, placed, tuple(sorted(places)), held)
                self.parts = tuple(sorted([*others, part], key=lambda each: each.start))
                return True
            others = [part for part in others if part not in met]
            places.update(place for part in met for place in part.places)
        return False

    def _knows(self, address: int) -> bool:
        """Whether a walk would not die there any more: its rules came while samples were on way."""
        part = next((each for each in self.parts if each.start <= address < each.end), None)
        row = find_row(part.table, address) if part is not None else None
        return row is not None and row.kind is not RowKind.NONE

    def forget_changed(self, read: Read) -> bool:
        """Drop the rules of memory that holds other code by now; whether there was any."""
        kept = tuple(p for p in self.parts if read(p.start, p.end - p.start) == p.code)
        if len(kept) == len(self.parts):
            return False
        self.parts = kept
        places = {place for part in kept for place in part.places}
        self._tried = {tried for tried in self._tried if tried[0] in places}
        return True

    def copy(self) -> WaysOut:
        """For an address space that is a copy."""
        other = WaysOut(self._place)
        other._tried, other.parts = set(self._tried), self.parts
        return other


def _find(code: bytes, places: set[int], low: int) -> WayOut | None:
    return way_out(code, sorted(place - low for place in places), low)
