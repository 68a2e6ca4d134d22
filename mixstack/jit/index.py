"""Which of many overlapping address ranges cover an address: 20 bytes a range, and its pages.

The ranges come from the target: their number, their size, and how many share a page are bounded.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Final

PAGE_SHIFT: Final = 12
ADDRESS_END: Final = 1 << 47  # user space, x86-64 with four levels of page tables
_LARGE: Final = 64  # pages; a larger range is kept in a list of its own
_LARGE_MAX: Final = 256
_PAGE_MAX: Final = 1024  # ranges that touch a page: memory that was used again fifty times


class RangeIndex:
    """Ranges by number, counted from 0 in the order in which they were added."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._starts = array("Q")
        self._sizes = array("Q")
        self._pages: dict[int, array[int]] = {}
        self._large: list[int] = []

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, start: int, size: int) -> bool:
        """Add `[start, start + size)`; False if it is no range of user space, or is one too many.

        Where a page is full, nothing is known of it any more: what was refused may have replaced
        what is there.
        """
        if not (size > 0 and 0 < start < ADDRESS_END - size) or self.full:
            return False
        first, last = start >> PAGE_SHIFT, (start + size - 1) >> PAGE_SHIFT
        number = len(self)
        if last - first >= _LARGE:
            if len(self._large) >= _LARGE_MAX:
                return False
            self._large.append(number)
        else:
            for page in range(first, last + 1):
                numbers = self._pages.get(page)
                if numbers is None:
                    numbers = self._pages[page] = array("I")
                if len(numbers) <= _PAGE_MAX:
                    numbers.append(number)
        self._starts.append(start)
        self._sizes.append(size)
        return True

    @property
    def full(self) -> bool:
        return len(self) >= self._limit

    def range(self, number: int) -> tuple[int, int]:
        """`[start, end)` of a range."""
        start = self._starts[number]
        return start, start + self._sizes[number]

    def covering(self, address: int) -> list[int]:
        """The numbers of the ranges that cover an address, ascending."""
        near = self._pages.get(address >> PAGE_SHIFT, ())
        if len(near) > _PAGE_MAX:
            return []
        return sorted(n for n in (*near, *self._large) if self._covers(n, address))

    def pages_since(self, number: int) -> Iterator[int]:
        """The pages of the ranges from `number` on; of large ones only that there are any: -1."""
        for each in range(number, len(self)):
            start, end = self.range(each)
            first, last = start >> PAGE_SHIFT, (end - 1) >> PAGE_SHIFT
            yield from range(first, last + 1) if last - first < _LARGE else (-1,)

    def _covers(self, number: int, address: int) -> bool:
        return 0 <= address - self._starts[number] < self._sizes[number]
