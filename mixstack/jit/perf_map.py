"""perf map files: a line for each piece of code, `START SIZE name`, the numbers in hex.

Several writers may append to one file (CPython's trampolines, a JIT, a library's), so a line may be
broken by another; it is then left out. Source: tools/perf/Documentation/jit-interface.txt.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

NAME_MAX: Final = 4096  # bytes
_LINE: Final = re.compile(
    rb"^(?:0x)?([0-9a-f]{1,16}) +(?:0x)?([0-9a-f]{1,16}) +([^\n]{1,%d})\n" % NAME_MAX,
    re.MULTILINE | re.IGNORECASE,
)
_LONGEST: Final = NAME_MAX + 64


class MapEntry(NamedTuple):
    """A line: the code's address, its size in bytes, its name (as it stands in the file)."""

    start: int
    size: int
    name: bytes


class MapParser:
    """Takes a growing file piece by piece; `bad` counts the lines that are none."""

    def __init__(self, *, inside: bool = False) -> None:
        """`inside`: what is fed first begins in the middle of a line."""
        self.bad = 0
        self._rest = b""
        self._skipping = inside  # or inside of a line that is too long to be one

    def feed(self, data: bytes) -> list[MapEntry]:
        """The lines that end in `data`, which follows what was fed before."""
        if self._skipping:
            _, newline, data = data.partition(b"\n")
            if not newline:
                return []
            self._skipping = False
        end = data.rfind(b"\n") + 1
        whole, tail = self._rest + data[:end], data[end:]
        if not end:
            whole, tail = b"", self._rest + tail
        self._rest = tail
        if len(tail) > _LONGEST:
            self._rest, self._skipping = b"", True
            self.bad += 1
        found = [
            MapEntry(int(start, 16), int(size, 16), name)
            for start, size, name in _LINE.findall(whole)
        ]
        self.bad += whole.count(b"\n") - len(found)
        return found
