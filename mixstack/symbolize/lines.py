"""The line of a bytecode offset, from a code object's line table: three formats since CPython 3.8.

Sources in CPython's repository: Objects/lnotab_notes.txt (3.8 to 3.10), Objects/locations.md
(Objects/locations.txt in 3.11). The columns that a location table also holds are passed over.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final

_UNIT = 2  # bytes of a code unit
_UNKNOWN = -(1 << 62)  # in the column of lines: this range has no line
_LINE_LIMIT = 1 << 31  # `co_firstlineno` is a C int, and so is every line
_ENDLESS = 1 << 62  # length of a range that ends where the code does

Ranges = Iterator[tuple[int, int | None]]
"""Back to back from offset 0: the length of each in bytes, which may be 0; its line, if any."""


def _line_steps(table: bytes, line: int) -> Ranges:
    """3.8, 3.9 (`co_lnotab`): pairs of bytes on, and lines on from there (signed).

    Behind the last pair its line holds to the end of the code, which the table does not tell.
    """
    for at in range(0, len(table) - 1, 2):
        yield table[at], line
        line += _signed(table[at + 1])
    yield _ENDLESS, line


def _line_ranges(table: bytes, line: int) -> Ranges:
    """3.10 (`co_linetable`): pairs of a range's length in bytes, and its line less the last one."""
    for at in range(0, len(table) - 1, 2):
        if table[at + 1] == 0x80:
            yield table[at], None
        else:
            line += _signed(table[at + 1])
            yield table[at], line


def _signed(byte: int) -> int:
    return byte - 256 if byte > 127 else byte


_NO_LOCATION = 15
_LONG = 14
_ONE_LINE = range(10, 13)


def _locations(table: bytes, line: int) -> Ranges:
    """3.11 and later (`co_linetable`): entries of a head, which counts code units, and the rest."""
    at = 0
    size = len(table)
    while at < size:
        head = table[at]
        at += 1
        if not head & 0x80:
            return
        code = head >> 3 & 15
        if code < _ONE_LINE.start:
            at += 1
        elif code in _ONE_LINE:
            line += code - _ONE_LINE.start
            at += 2
        elif code != _NO_LOCATION:
            delta, at = _varint(table, at)
            line += -(delta >> 1) if delta & 1 else delta >> 1
            if code == _LONG:
                for _ in range(3):  # end line, column, end column
                    _, at = _varint(table, at)
        if at > size:
            return
        yield ((head & 7) + 1) * _UNIT, None if code == _NO_LOCATION else line


def _varint(table: bytes, at: int) -> tuple[int, int]:
    """(value, next position) of a number in 6-bit pieces, lowest first; past the end if cut."""
    value = shift = 0
    while at < len(table):
        piece = table[at]
        at += 1
        value |= (piece & 0x3F) << shift
        if not piece & 0x40:
            return value, at
        shift += 6
        if shift > 60:
            break
    return 0, len(table) + 1


# By the first version that has it. A version newer than all that we know is read as the newest.
_FORMATS: Final[tuple[tuple[tuple[int, int], Callable[[bytes, int], Ranges]], ...]] = (
    ((3, 8), _line_steps),
    ((3, 10), _line_ranges),
    ((3, 11), _locations),
)


class LineTable:
    """One code object's table as two sorted columns: where a range begins, and its line.

    version: of the CPython that made it, (3, 12, 1) or (3, 12). Before 3.8 no line is known. A
    malformed or cut table counts up to where it breaks; behind that no line is known.
    """

    __slots__ = ("_end", "_first_line", "_lines", "_starts")

    def __init__(self, linetable: bytes, first_line: int, version: tuple[int, ...]) -> None:
        self._first_line = first_line
        self._starts = array("Q")
        self._lines = array("q")
        self._end = 0
        for since, ranges in reversed(_FORMATS):
            if version >= since:
                self._read(ranges(linetable, first_line))
                break

    def _read(self, ranges: Ranges) -> None:
        for length, line in ranges:
            value = _UNKNOWN if line is None else line
            if line is not None and not -_LINE_LIMIT < line < _LINE_LIMIT:
                break
            if not length:
                continue
            if not self._lines or self._lines[-1] != value:
                self._starts.append(self._end)
                self._lines.append(value)
            self._end += length

    def find(self, offset: int) -> int | None:
        """The line of the instruction at a byte offset (negative: the first line), or None."""
        if offset < 0:
            return self._first_line
        if offset >= self._end:
            return None
        line = self._lines[bisect_right(self._starts, offset) - 1]
        return None if line == _UNKNOWN else line


@lru_cache(maxsize=4096)
def _line_table(linetable: bytes, first_line: int, version: tuple[int, ...]) -> LineTable:
    return LineTable(linetable, first_line, version)


def line_of(linetable: bytes, first_line: int, offset: int, version: tuple[int, ...]) -> int | None:
    """The line of the instruction at `offset` bytes from the start of the bytecode.

    A negative offset is before the code: the first line. None: no line is known there.
    """
    return _line_table(linetable, first_line, version).find(offset)
