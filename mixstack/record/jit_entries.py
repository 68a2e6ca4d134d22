"""What one source said of a process' JIT code, kept small: `JitEntries`."""

from __future__ import annotations

from array import array
from typing import Final

from mixstack.jit.index import RangeIndex
from mixstack.jit.model import JitSource, JitSymbol
from mixstack.record.growing_file import Window

ENTRIES_MAX: Final = 1 << 18
_NAMES_MAX: Final = 1 << 24  # bytes


class JitEntries:
    """Entries in the order in which they were said: a range, a name, when.

    `orders` ascend, also from one `JitEntries` to the next of the same source.
    """

    def __init__(self, pid: int, source: JitSource) -> None:
        self._pid = pid
        self.source = source
        self.index = RangeIndex(ENTRIES_MAX)
        self.looked_up = 0  # entries before this one were asked for all addresses
        self._orders = array("Q")
        self._names = bytearray()
        self._name_ends = array("I")
        self._afters = array("Q")
        self._bys = array("Q")

    @property
    def full(self) -> bool:
        """Whether nothing more is taken."""
        return self.index.full or len(self._names) >= _NAMES_MAX

    def add(self, order: int, start: int, size: int, name: bytes, window: Window) -> bool:
        """Add an entry; an empty name: nothing is known of that range any more.

        False if the range is none.
        """
        if not self.index.add(start, size):
            return False
        self._orders.append(order)
        self._names += name
        self._name_ends.append(len(self._names))
        self._afters.append(window.after_ns)
        self._bys.append(window.by_ns)
        return True

    def order(self, number: int) -> int:
        return self._orders[number]

    def name(self, number: int) -> bytes:
        start = self._name_ends[number - 1] if number else 0
        return bytes(self._names[start : self._name_ends[number]])

    def symbol(self, number: int) -> JitSymbol:
        """An entry by its number in `index`."""
        start, end = self.index.range(number)
        name = self.name(number).decode("utf-8", "replace")
        return JitSymbol(
            self._pid,
            self.source,
            self._orders[number],
            start,
            end,
            name or None,
            self._afters[number],
            self._bys[number],
        )
