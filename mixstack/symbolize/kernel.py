"""Kernel functions from /proc/kallsyms (Documentation: `man 5 proc`; types as nm has them)."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache

from mixstack.model import KernelSymbol

_LINE = re.compile(rb"[0-9a-f]+ (.) (\S+)(?:[ \t]+\[(\S+)\])?\n?")
_DIGITS = 16  # of an address, as the kernel prints it
_ADDRESSED = re.compile(rb"[0-9a-f]{16} .")
_HIDDEN = b"0" * _DIGITS
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
    """The list's own lines, sorted: the addresses at their beginnings all have 16 hex digits."""

    def __init__(self, lines: list[bytes]) -> None:
        self._lines = lines

    def find(self, address: int) -> KernelSymbol | None:
        """The function whose range, from it to the next symbol of any type, covers the address."""
        lines = self._lines
        behind = bisect_left(lines, b"%016x" % (address + 1))
        if behind == 0:
            return None
        start_text = lines[behind - 1][:_DIGITS]
        aliases = map(_entry, lines[bisect_left(lines, start_text) : behind])
        best = min((entry for entry in aliases if entry is not None), default=None)
        if best is None:
            return None
        _, _, name, module = best
        start = int(start_text, 16)
        end = start + _LONGEST
        if behind < len(lines):
            following, next_start = _entry(lines[behind]), int(lines[behind][:_DIGITS], 16)
            same_module = following is not None and following[3] == module
            end = next_start if same_module else min(end, next_start)
        if address >= end:
            return None
        return KernelSymbol(start, end, name, module or None)


def _entry(line: bytes) -> tuple[bool, int, str, str] | None:
    """(is local, underscores, name, module) of a function: the least of aliases is shown."""
    found = _LINE.match(line)
    if found is None or found[1] not in _TEXT:
        return None
    name = found[2].decode("utf-8", "replace")
    module = (found[3] or b"").decode("utf-8", "replace")
    return found[1].islower(), len(name) - len(name.lstrip("_")), name, module


@lru_cache(maxsize=2)
def _table(kallsyms: str) -> _KernelTable:
    # Sorted as text: a number of each of 100,000 addresses would take longer than all else here.
    # Address 0 is what kptr_restrict shows for every symbol.
    lines: list[bytes] = []
    with suppress(OSError), open(kallsyms, "rb") as file:  # line by line: all at once takes twice
        lines = [line for line in filter(_ADDRESSED.match, file) if not line.startswith(_HIDDEN)]
    lines.sort()
    return _KernelTable(lines)
