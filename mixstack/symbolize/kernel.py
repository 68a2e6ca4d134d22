"""Kernel functions from /proc/kallsyms (Documentation: `man 5 proc`; types as nm has them)."""

from __future__ import annotations

import io
import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from functools import lru_cache

from mixstack.model import KernelSymbol

_LINE = re.compile(rb"[0-9a-f]+ (.) (\S+)(?:[ \t]+\[(\S+)\])?\n?")
_TEXT = b"tTwW"

# A kernel or module's last function has no successor that would bound it; none is longer than this.
_LONGEST = 1 << 16


def kernel_symbols(
    addresses: Iterable[int], kallsyms: str = "/proc/kallsyms"
) -> list[KernelSymbol]:
    """The distinct functions that cover these kernel addresses, sorted by start.

    Empty where the list cannot be read or hides its addresses (kernel.kptr_restrict). The list is
    read once per process, when the first address is asked for.
    """
    wanted = sorted(set(addresses))
    if not wanted:
        return []
    table = _table(kallsyms)
    found = {table.find(address) for address in wanted}
    return sorted((f for f in found if f is not None), key=lambda symbol: symbol.start)


class _KernelTable:
    """The list as it was read, and an index into it: 12 bytes a line beside the text."""

    def __init__(self, text: bytes, index: list[int]) -> None:
        """`index`: address << 32 | where its line begins in `text`, sorted."""
        self._text = text
        self._starts = array("Q", (each >> 32 for each in index))
        self._lines = array("I", (each & 0xFFFFFFFF for each in index))

    def find(self, address: int) -> KernelSymbol | None:
        """The function whose range, from it to the next symbol of any type, covers the address."""
        behind = bisect_right(self._starts, address)
        if behind == 0:
            return None
        start = self._starts[behind - 1]
        aliases = map(self._entry, range(bisect_left(self._starts, start), behind))
        best = min((entry for entry in aliases if entry is not None), default=None)
        if best is None:
            return None
        _, _, name, module = best
        end = start + _LONGEST
        if behind < len(self._starts):
            following = self._entry(behind)
            same_module = following is not None and following[3] == module
            end = self._starts[behind] if same_module else min(end, self._starts[behind])
        if address >= end:
            return None
        return KernelSymbol(start, end, name, module or None)

    def _entry(self, at: int) -> tuple[bool, int, str, str] | None:
        """(is local, underscores, name, module) of a function: the least of aliases is shown."""
        begin = self._lines[at]
        line = _LINE.match(self._text, begin)
        if line is None or line[1] not in _TEXT:
            return None
        name = line[2].decode("utf-8", "replace")
        module = (line[3] or b"").decode("utf-8", "replace")
        return line[1].islower(), len(name) - len(name.lstrip("_")), name, module


@lru_cache(maxsize=2)
def _table(kallsyms: str) -> _KernelTable:
    try:
        with open(kallsyms, "rb") as file:
            text = file.read()
    except OSError:
        text = b""
    index: list[int] = []  # numbers: a third of the memory that pairs would take
    at = 0
    for line in io.BytesIO(text):
        try:
            start = int(line[: line.find(b" ")], 16)
        except ValueError:
            start = 0
        # Address 0 is what kptr_restrict shows for every symbol.
        if 0 < start < 1 << 64:
            index.append(start << 32 | at)
        at += len(line)
    index.sort()
    return _KernelTable(text, index)
