"""Ranges of addresses that may overlap, as disjoint pieces that are searched."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from typing import Final

_LAST: Final = (1 << 64) - 1


class Intervals:
    """`(start, end, value)`s; where several cover an address, the one given last counts.

    What is empty, or ends behind the last address, is left out.
    Entries of DWARF come before what they contain, so the last is the innermost.
    """

    def __init__(self, given: Iterable[tuple[int, int, int]]) -> None:
        self._starts: array[int] = array("Q")
        self._ends: array[int] = array("Q")
        self._values: array[int] = array("Q")
        rows = sorted((s, -order, e, v) for order, (s, e, v) in enumerate(given) if s < e <= _LAST)
        active: list[tuple[int, int, int]] = []  # -order, end, value
        at, count, position = 0, len(rows), 0
        while at < count or active:
            if not active:
                position = rows[at][0]
            while at < count and rows[at][0] == position:
                _, order, end, value = rows[at]
                heappush(active, (order, end, value))
                at += 1
            while active and active[0][1] <= position:
                heappop(active)
            if active:
                _, end, value = active[0]
                stop = min(end, rows[at][0]) if at < count else end
                self._append(position, stop, value)
                position = stop

    def _append(self, start: int, end: int, value: int) -> None:
        if self._values and self._ends[-1] == start and self._values[-1] == value:
            self._ends[-1] = end
            return
        self._starts.append(start)
        self._ends.append(end)
        self._values.append(value)

    def pieces(self) -> Iterator[tuple[int, int]]:
        """The disjoint pieces, without their values."""
        return zip(self._starts, self._ends, strict=True)

    def find(self, address: int) -> int | None:
        """The value of the range that covers an address, or None."""
        at = bisect_right(self._starts, address) - 1
        return self._values[at] if at >= 0 and address < self._ends[at] else None
