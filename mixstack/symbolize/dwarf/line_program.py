"""Which source line an instruction belongs to: line number programs (DWARF 5, 6.2)."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from functools import lru_cache
from posixpath import join
from typing import Final, NamedTuple

from mixstack.symbolize.dwarf.codes import Form
from mixstack.symbolize.dwarf.encoding import (
    Shape,
    fixed,
    initial_length,
    skip,
    sleb,
    step_of,
    text,
    uleb,
)
from mixstack.symbolize.dwarf.intervals import Intervals
from mixstack.symbolize.dwarf.sections import BadDwarf, DebugSections

_DW_LNCT_PATH, _DW_LNCT_DIRECTORY_INDEX = 1, 2
_DW_LNE_END_SEQUENCE, _DW_LNE_SET_ADDRESS, _DW_LNE_DEFINE_FILE = 1, 2, 3
_COPY, _ADVANCE_PC, _ADVANCE_LINE, _SET_FILE, _SET_COLUMN = 1, 2, 3, 4, 5
_NEGATE_STMT, _CONST_ADD_PC, _FIXED_ADVANCE_PC = 6, 8, 9
_VERSIONS: Final = range(2, 6)
_LONGEST: Final = 1 << 23  # bytes of a program; each may become 16 in memory
_LAST_ADDRESS: Final = (1 << 64) - 1
# DW_LNE_set_address below 1 TB. Three zeros in a row stand nowhere else: an operand that compilers
# write has no more than one, and an extended opcode of length 0 does not exist.
_SET_ADDRESS: Final = re.compile(rb"\0\x09\x02(.{5}\0{3})", re.DOTALL)
_END_SEQUENCE: Final = b"\0\x01\x01"
_OPCODE_BASE: Final = 13  # with all standard opcodes of DWARF 5
# Neither a byte that a number goes on after, nor one of the standard opcodes with an operand.
_NO_OPERAND_FOLLOWS: Final = frozenset(range(0x80)) - {0, 2, 3, 4, 5, 9, 12}


class _Header(NamedTuple):
    """What the opcodes are read by. `files`: (directory, name); `first_file`: its number."""

    version: int
    program: int
    end: int
    minimum_instruction: int
    line_base: int
    line_range: int
    opcode_base: int
    operands: tuple[int, ...]
    directories: list[str]
    files: list[tuple[int, str]]


class _Rows(NamedTuple):
    """Decoded rows. sequences: by address the first row; ends: by first row the one behind."""

    starts: array[int]
    files: array[int]
    lines: array[int]
    sequences: Intervals
    ends: dict[int, int]


class LineProgram:
    """The lines of one unit. `within`: the code of the file; other sequences are of functions that
    the linker dropped.

    C++ has a sequence for nearly each function, and most functions never run: the program is cut
    into pieces, and one is decoded when an address in it is asked for. Raises BadDwarf.
    """

    def __init__(self, sections: DebugSections, at: int, directory: str, within: Intervals) -> None:
        self._directory = directory
        self._within = within
        self._header = _read_header(sections, at)
        self._program = bytes(sections.line[self._header.program : self._header.end])
        self._stops, found = _pieces(self._program, self._header.opcode_base)
        found = sorted(place for place in found if within.find(place[0]) is not None)
        self._addresses = array("Q", (address for address, _ in found))
        self._pieces = array("Q", (piece for _, piece in found))
        self._known: dict[int, _Rows | None] = {}

    def find(self, vaddr: int) -> tuple[str | None, int | None] | None:
        """(file, line) of the instruction that covers the file's own address, or None.

        Raises BadDwarf.
        """
        at = bisect_right(self._addresses, vaddr) - 1
        address = self._addresses[at] if at >= 0 else 0
        while at >= 0 and self._addresses[at] == address:
            rows = self._rows(self._pieces[at])
            first = None if rows is None else rows.sequences.find(vaddr)
            if rows is not None and first is not None:
                row = bisect_right(rows.starts, vaddr, first, rows.ends[first]) - 1
                return (
                    None if row < first else (self.file(rows.files[row]), rows.lines[row] or None)
                )
            at -= 1  # another sequence at the same address
        return None

    def _rows(self, piece: int) -> _Rows | None:
        if piece not in self._known:
            self._known[piece] = None  # what is broken is not tried again
            first = self._stops[piece - 1] if piece else 0
            try:
                self._known[piece] = self._run(first, self._stops[piece])
            except OverflowError:
                raise BadDwarf("a line number program leaves every bound") from None
        return self._known[piece]

    def file(self, number: int) -> str | None:
        """The path of a file of the unit by its number, made absolute where it can be."""
        header = self._header
        index = number if header.version >= 5 else number - 1
        if not 0 <= index < len(header.files):
            return None
        directory, name = header.files[index]
        # Before version 5, directory 0 is the unit's own and is not in the list.
        if header.version < 5:
            directory -= 1
        if 0 <= directory < len(header.directories):
            name = join(header.directories[directory], name)
        return join(self._directory, name)

    def _run(self, at: int, size: int) -> _Rows:
        """The rows of the piece `[at, size)`.

        A row is kept only where the line changes. The opcodes are tried by how often they occur,
        and numbers of one byte, as nearly all are, are read in place.
        """
        header, within = self._header, self._within
        starts, files, lines = array("Q"), array("I"), array("I")
        base, unit = header.opcode_base, header.minimum_instruction
        advances = _special_opcodes(base, header.line_base, header.line_range, unit)
        program = self._program
        view = memoryview(program)[:size]
        sequences: list[tuple[int, int, int]] = []
        ends: dict[int, int] = {}
        address, file, line, first_row = 0, 1, 1, 0
        row_file = row_line = -1
        while at < size:
            code = program[at]
            at += 1
            if code >= base:
                more, lines_on = advances[code - base]
                address += more
                line += lines_on
            elif code == _COPY:
                pass
            elif code == _SET_COLUMN:
                at = at + 1 if at < size and program[at] < 0x80 else uleb(view, at)[1]
                continue
            elif code == _NEGATE_STMT:
                continue
            elif code == _ADVANCE_LINE:
                more = program[at] if at < size else 0x80
                if more < 0x80:
                    at += 1
                    line += more if more < 0x40 else more - 0x80
                elif at + 1 < size and program[at + 1] < 0x80:
                    # Two bytes: what was inlined lies in other files, and far from what is around.
                    high = program[at + 1]
                    at += 2
                    line += (more - 0x80 | high << 7) - (0x4000 if high >= 0x40 else 0)
                else:
                    more, at = sleb(view, at)
                    line += more
                continue
            elif code == _SET_FILE:
                file = program[at] if at < size else 0x80
                if file < 0x80:
                    at += 1
                else:
                    file, at = uleb(view, at)
                continue
            elif code == 0:
                length, at = uleb(view, at)
                kind = program[at] if length and at < size else 0
                if kind == _DW_LNE_SET_ADDRESS and length == 9:
                    address = fixed(view, at + 1, 8)
                elif kind == _DW_LNE_DEFINE_FILE:
                    # Which number it gets, only the whole program says; no compiler writes it.
                    raise BadDwarf("a line number program defines files as it goes")
                elif kind == _DW_LNE_END_SEQUENCE:
                    start = starts[first_row] if len(starts) > first_row else address
                    if start < address <= _LAST_ADDRESS and within.find(start) is not None:
                        sequences.append((start, address, first_row))
                        ends[first_row] = len(starts)
                    else:
                        del starts[first_row:], files[first_row:], lines[first_row:]
                    address, file, line, first_row = 0, 1, 1, len(starts)
                    row_file = row_line = -1
                at += length
                continue
            elif code == _ADVANCE_PC:
                more, at = uleb(view, at)
                address += more * unit
                continue
            elif code == _CONST_ADD_PC:
                address += advances[255 - base][0]
                continue
            elif code == _FIXED_ADVANCE_PC:
                address += fixed(view, at, 2)
                at += 2
                continue
            else:
                for _ in range(header.operands[code]):
                    at = uleb(view, at)[1]
                continue
            if line != row_line or file != row_file:
                row_file, row_line = file, line
                starts.append(address)
                files.append(file)
                lines.append(line)
        return _Rows(starts, files, lines, Intervals(sequences), ends)


def _pieces(program: bytes, opcode_base: int) -> tuple[list[int], list[tuple[int, int]]]:
    """Where pieces end that are whole sequences, and (address, piece) of what is set in them.

    A piece may hold several sequences: it ends only where nothing else can be meant. Between the
    end of a sequence and the first address of the next there are no rows, so what looks like the
    end last may be one. It is, unless its zero is the last byte of an operand.
    """
    stops: list[int] = []
    found: list[tuple[int, int]] = []
    behind = 0
    for match in _SET_ADDRESS.finditer(program):
        end = program.rfind(_END_SEQUENCE, behind, match.start())
        if (
            end >= 2
            and behind
            and opcode_base <= _OPCODE_BASE
            and program[end - 1] in _NO_OPERAND_FOLLOWS
            and program[end - 2] != _FIXED_ADVANCE_PC
        ):
            stops.append(end + len(_END_SEQUENCE))
        found.append((int.from_bytes(match[1], "little"), len(stops)))
        behind = match.end()
    return [*stops, len(program)], found


@lru_cache(maxsize=16)
def _special_opcodes(
    base: int, line_base: int, line_range: int, unit: int
) -> tuple[tuple[int, int], ...]:
    """(advance of the address, of the line) of each opcode from `base` on (6.2.5.1)."""
    return tuple(
        (over // line_range * unit, line_base + over % line_range) for over in range(256 - base)
    )


def _read_header(sections: DebugSections, at: int) -> _Header:
    data = sections.line
    length, offset_size, at = initial_length(data, at)
    end = at + length
    if end > len(data) or length > _LONGEST:
        raise BadDwarf("a line number program breaks off, or is longer than any")
    version, at = fixed(data, at, 2), at + 2
    if version not in _VERSIONS:
        raise BadDwarf(f"line number programs of version {version} are unknown")
    if version >= 5:
        at += 2  # sizes of an address and of a segment selector
    header_length, at = fixed(data, at, offset_size), at + offset_size
    program = at + header_length
    if program > end:
        raise BadDwarf("the header of a line number program breaks off")
    minimum, at = fixed(data, at, 1), at + 1
    if version >= 4:
        at += 1  # operations of an instruction: 1
    line_base = fixed(data, at + 1, 1)
    line_range, opcode_base = fixed(data, at + 2, 1), fixed(data, at + 3, 1)
    at += 4
    if not line_range or not opcode_base:
        raise BadDwarf("a line number program without a range of lines")
    operands = tuple(fixed(data, at + i, 1) for i in range(opcode_base - 1))
    at += opcode_base - 1
    if version >= 5:
        shape = Shape(version, offset_size)
        listed, at = _entries(sections, at, program, shape)
        directories = [name for _, name in listed]
        files, _ = _entries(sections, at, program, shape)
    else:
        directories, at = _old_directories(data, at, program)
        files = _old_files(data, at, program)
    return _Header(
        version,
        program,
        end,
        minimum,
        line_base - 256 if line_base > 127 else line_base,
        line_range,
        opcode_base,
        (0, *operands),
        directories,
        files,
    )


def _entries(
    sections: DebugSections, at: int, end: int, shape: Shape
) -> tuple[list[tuple[int, str]], int]:
    """A table of directories or files of version 5 (6.2.4.1): (directory, name) of each."""
    data = sections.line
    formats: list[tuple[int, int]] = []
    formats_left, at = fixed(data, at, 1), at + 1
    for _ in range(formats_left):
        content, at = uleb(data, at)
        form, at = uleb(data, at)
        formats.append((content, form))
    count, at = uleb(data, at)
    out: list[tuple[int, str]] = []
    # An absurd count ends where the table does, and one of things without a size after the first.
    before = at - 1
    while count > 0 and before < at < end:
        count, before = count - 1, at
        directory, name = 0, ""
        for content, form in formats:
            if content == _DW_LNCT_PATH:
                name, at = _path(sections, form, at, shape)
            elif content == _DW_LNCT_DIRECTORY_INDEX:
                directory, at = _index(data, form, at)
            else:
                at = skip(data, at, (step_of(form, shape),), shape)
        out.append((directory, name))
    return out, at


def _path(sections: DebugSections, form: int, at: int, shape: Shape) -> tuple[str, int]:
    data, size = sections.line, shape.offset_size
    if form == Form.STRING:
        return text(data, at)
    if form == Form.LINE_STRP:
        return text(sections.line_str, fixed(data, at, size))[0], at + size
    if form == Form.STRP:
        return text(sections.str, fixed(data, at, size))[0], at + size
    raise BadDwarf(f"a path of form 0x{form:x}")


def _index(data: memoryview, form: int, at: int) -> tuple[int, int]:
    if form == Form.UDATA:
        return uleb(data, at)
    if form == Form.DATA1:
        return fixed(data, at, 1), at + 1
    if form == Form.DATA2:
        return fixed(data, at, 2), at + 2
    raise BadDwarf(f"a directory's number of form 0x{form:x}")


def _old_directories(data: memoryview, at: int, end: int) -> tuple[list[str], int]:
    out: list[str] = []
    while at < end:
        name, at = text(data, at)
        if not name:
            break
        out.append(name)
    return out, at


def _old_files(data: memoryview, at: int, end: int) -> list[tuple[int, str]]:
    out: list[tuple[int, str]] = []
    while at < end:
        name, at = text(data, at)
        if not name:
            break
        directory, at = uleb(data, at)
        at = uleb(data, uleb(data, at)[1])[1]  # time and size
        out.append((directory, name))
    return out
