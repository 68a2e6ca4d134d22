"""The line of a bytecode offset: the location table of CPython 3.11 and later (`co_linetable`).

Source of the format: Objects/locations.md (Objects/locations.txt in 3.11) in CPython's repository.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from functools import lru_cache

_NO_LOCATION = 15
_LONG = 14
_NO_COLUMNS = 13
_ONE_LINE = range(10, 13)

_UNIT = 2  # bytes of a code unit
_UNKNOWN = -(1 << 62)  # in the column of lines: this range has no line
_LINE_LIMIT = 1 << 31  # `co_firstlineno` is a C int, and so is every line


class LineTable:
    """One code object's table as two sorted columns: where a range begins, and its line.

    A malformed or cut table counts up to where it breaks; behind that no line is known.
    """

    __slots__ = ("_end", "_first_line", "_lines", "_starts")

    def __init__(self, linetable: bytes, first_line: int) -> None:
        self._first_line = first_line
        self._starts = array("Q")
        self._lines = array("q")
        self._end = 0
        self._read(linetable)

    def _read(self, table: bytes) -> None:
        line = self._first_line
        offset = at = 0
        size = len(table)
        while at < size:
            head = table[at]
            at += 1
            if not head & 0x80:
                break
            code = head >> 3 & 15
            length = ((head & 7) + 1) * _UNIT
            shown = True
            if code < _ONE_LINE.start:
                at += 1
            elif code in _ONE_LINE:
                line += code - _ONE_LINE.start
                at += 2
            elif code == _NO_LOCATION:
                shown = False
            else:
                delta, at = _varint(table, at)
                line += -(delta >> 1) if delta & 1 else delta >> 1
                if code == _LONG:
                    for _ in range(3):  # end line, column, end column
                        _, at = _varint(table, at)
            if at > size or not -_LINE_LIMIT < line < _LINE_LIMIT:
                break
            value = line if shown else _UNKNOWN
            if not self._lines or self._lines[-1] != value:
                self._starts.append(offset)
                self._lines.append(value)
            offset += length
            self._end = offset

    def find(self, offset: int) -> int | None:
        """The line of the instruction at a byte offset (negative: the first line), or None."""
        if offset < 0:
            return self._first_line
        if offset >= self._end:
            return None
        line = self._lines[bisect_right(self._starts, offset) - 1]
        return None if line == _UNKNOWN else line


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


@lru_cache(maxsize=4096)
def _line_table(linetable: bytes, first_line: int) -> LineTable:
    return LineTable(linetable, first_line)


def line_of(linetable: bytes, first_line: int, offset: int) -> int | None:
    """The line of the instruction at `offset` bytes from `co_code_adaptive`.

    A negative offset is before the code: the first line. None: no line is known there.
    """
    return _line_table(linetable, first_line).find(offset)
