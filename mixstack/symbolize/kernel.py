"""Kernel functions from /proc/kallsyms (Documentation: `man 5 proc`; types as nm has them)."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Iterable
from functools import lru_cache

from mixstack.model import KernelSymbol

_LINE = re.compile(rb"^([0-9a-f]+) (.) (\S+)(?:[ \t]+\[(\S+)\])?$", re.MULTILINE)
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
    """Kernel symbols as columns; a range reaches from a symbol to the next of any type."""

    def __init__(self, starts: array[int], lines: array[int], text: bytes) -> None:
        self._starts = starts  # ascending, each address once
        self._lines = lines  # where in `text` the chosen "name module" line begins
        self._text = text

    def find(self, address: int) -> KernelSymbol | None:
        at = bisect_right(self._starts, address) - 1
        if at < 0:
            return None
        name, module = self._entry(at)
        if not name:
            return None
        start = self._starts[at]
        end = start + _LONGEST
        if at + 1 < len(self._starts):
            following = self._starts[at + 1]
            same_module = self._entry(at + 1)[1] == module
            end = following if same_module else min(end, following)
        return KernelSymbol(start, end, name, module) if address < end else None

    def _entry(self, at: int) -> tuple[str, str | None]:
        """(name, module); the name is "" for what is not a function."""
        begin = self._lines[at]
        line = self._text[begin : self._text.index(b"\n", begin)].decode("utf-8", "replace")
        name, _, module = line.partition(" ")
        return name, module or None


@lru_cache(maxsize=2)
def _table(kallsyms: str) -> _KernelTable:
    try:
        with open(kallsyms, "rb") as file:
            content = file.read()
    except OSError:
        content = b""
    best: dict[int, tuple[bool, bool, int, bytes, bytes]] = {}
    for address, kind, name, module in _LINE.findall(content):
        start = int(address, 16)
        is_data = kind not in _TEXT
        underscores = len(name) - len(name.lstrip(b"_"))
        rank = (is_data, kind.islower(), underscores, name, module)
        known = best.get(start)
        if known is None or rank < known:
            best[start] = rank
    best.pop(0, None)  # what kptr_restrict shows for every symbol; no function lies there
    starts, lines, text = array("Q"), array("Q"), bytearray()
    for start in sorted(best):
        is_data, _, _, name, module = best[start]
        if start >> 64:
            continue
        starts.append(start)
        lines.append(len(text))
        text += (b"" if is_data else name) + b" " + module + b"\n"
    return _KernelTable(starts, lines, bytes(text))
