"""How DWARF writes numbers, strings and abbreviations (DWARF 5, 7.5.3, 7.5.5, 7.6)."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final, NamedTuple

from mixstack.symbolize.dwarf.codes import Attribute, Form, Tag
from mixstack.symbolize.dwarf.sections import BadDwarf

_LEB_MAX: Final = 10  # bytes of a 64-bit number
_LONGEST_TEXT: Final = 1 << 16

LOCATION: Final = frozenset((Attribute.LOW_PC, Attribute.HIGH_PC, Attribute.RANGES))

# What stands in `Abbreviation.steps` for a part whose size is in the data.
LEB, BLOCK, BLOCK1, BLOCK2, BLOCK4, TEXT, INDIRECT = -1, -2, -3, -4, -5, -6, -7

_SIZES: Final = {
    Form.DATA1: 1, Form.REF1: 1, Form.FLAG: 1, Form.STRX1: 1, Form.ADDRX1: 1,
    Form.DATA2: 2, Form.REF2: 2, Form.STRX2: 2, Form.ADDRX2: 2,
    Form.STRX3: 3, Form.ADDRX3: 3,
    Form.DATA4: 4, Form.REF4: 4, Form.STRX4: 4, Form.ADDRX4: 4, Form.REF_SUP4: 4,
    Form.DATA8: 8, Form.REF8: 8, Form.REF_SIG8: 8, Form.REF_SUP8: 8, Form.DATA16: 16,
    Form.FLAG_PRESENT: 0, Form.IMPLICIT_CONST: 0,
}  # fmt: skip
_OFFSETS: Final = frozenset(
    (Form.STRP, Form.SEC_OFFSET, Form.STRP_SUP, Form.LINE_STRP, Form.GNU_REF_ALT, Form.GNU_STRP_ALT)
)
_VARIABLE: Final = {
    Form.SDATA: LEB, Form.UDATA: LEB, Form.REF_UDATA: LEB, Form.STRX: LEB, Form.ADDRX: LEB,
    Form.LOCLISTX: LEB, Form.RNGLISTX: LEB, Form.GNU_ADDR_INDEX: LEB, Form.GNU_STR_INDEX: LEB,
    Form.BLOCK: BLOCK, Form.EXPRLOC: BLOCK, Form.BLOCK1: BLOCK1, Form.BLOCK2: BLOCK2,
    Form.BLOCK4: BLOCK4, Form.STRING: TEXT, Form.INDIRECT: INDIRECT,
}  # fmt: skip


class Shape(NamedTuple):
    """What the sizes in a unit depend on: its version, and the bytes of an offset (4 or 8)."""

    version: int
    offset_size: int


class Abbreviation(NamedTuple):
    """A kind of entry. `attributes`: (attribute, form, value of an implicit constant, step).

    steps: how to get behind an entry: bytes to skip, or one of the negative marks above; of
    neighbours that are bytes, one is made.
    sibling: the same, to its DW_AT_sibling, if that has four bytes, else None.
    located: it says where its code is.
    record: all values at once, where each has 0, 1, 2, 4 or 8 bytes, else None; in `places` stands
    (attribute, form, index in the record or None, value of an implicit constant).
    """

    tag: int
    children: bool
    attributes: tuple[tuple[int, int, int, int], ...]
    steps: tuple[int, ...]
    sibling: tuple[int, ...] | None
    located: bool
    record: struct.Struct | None
    places: tuple[tuple[int, int, int | None, int], ...]


def uleb(data: memoryview, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number and the offset behind it. Raises BadDwarf."""
    if at < len(data) and data[at] < 0x80:  # nearly always
        return data[at], at + 1
    value = shift = 0
    for byte in data[at : at + _LEB_MAX]:
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise BadDwarf(f"no LEB128 number at {at}")


def sleb(data: memoryview, at: int) -> tuple[int, int]:
    """A signed LEB128 number and the offset behind it. Raises BadDwarf."""
    if at < len(data) and data[at] < 0x80:
        byte = data[at]
        return byte if byte < 0x40 else byte - 0x80, at + 1
    value, end = uleb(data, at)
    bits = 7 * (end - at)
    return (value - (1 << bits) if value >> (bits - 1) else value), end


def fixed(data: memoryview, at: int, size: int) -> int:
    """An unsigned number of `size` bytes. Raises BadDwarf where the data ends before."""
    piece = data[at : at + size]
    if len(piece) != size:
        raise BadDwarf(f"the data breaks off at {at}")
    return int.from_bytes(piece, "little")


def text(data: memoryview, at: int) -> tuple[str, int]:
    """A string that ends with a NUL, and the offset behind it. Raises BadDwarf."""
    size = 128
    while size <= _LONGEST_TEXT:
        piece = bytes(data[at : at + size])
        end = piece.find(0)
        if end >= 0:
            return piece[:end].decode("utf-8", "surrogateescape"), at + end + 1
        if len(piece) < size:
            break
        size *= 4
    raise BadDwarf(f"a string at {at} has no end")


def initial_length(data: memoryview, at: int) -> tuple[int, int, int]:
    """(length, bytes of an offset, offset behind it) of a unit (7.4). Raises BadDwarf."""
    length = fixed(data, at, 4)
    if length < 0xFFFFFFF0:
        return length, 4, at + 4
    if length != 0xFFFFFFFF:
        raise BadDwarf(f"a reserved length at {at}")
    return fixed(data, at + 4, 8), 8, at + 12


def skip(data: memoryview, at: int, steps: tuple[int, ...], shape: Shape) -> int:
    """The offset behind parts of an entry. Raises BadDwarf.

    Most of a unit is skipped, so numbers of one byte, as nearly all are, are read in place.
    """
    try:
        for step in steps:
            if step >= 0:
                at += step
            elif step == LEB:
                at = at + 1 if data[at] < 0x80 else uleb(data, at)[1]
            elif step == BLOCK:
                size = data[at]
                if size < 0x80:
                    at += 1 + size
                else:
                    size, at = uleb(data, at)
                    at += size
            else:
                at = _skip_rare(data, at, step, shape)
    except IndexError:
        raise BadDwarf(f"the data breaks off at {at}") from None
    return at


def _skip_rare(data: memoryview, at: int, step: int, shape: Shape) -> int:
    if step == TEXT:
        return text(data, at)[1]
    if step == INDIRECT:
        form, at = uleb(data, at)
        if form in (Form.INDIRECT, Form.IMPLICIT_CONST):
            raise BadDwarf(f"a form at {at} refers to itself")
        return skip(data, at, (step_of(form, shape),), shape)
    width = {BLOCK1: 1, BLOCK2: 2, BLOCK4: 4}[step]
    return at + width + fixed(data, at, width)


def step_of(form: int, shape: Shape) -> int:
    """The step over a value of this form: its bytes, or a mark. Raises BadDwarf."""
    size = _SIZES.get(form)
    if size is not None:
        return size
    if form in _OFFSETS:
        return shape.offset_size
    if form == Form.ADDR:
        return 8
    if form == Form.REF_ADDR:
        return 8 if shape.version <= 2 else shape.offset_size
    variable = _VARIABLE.get(form)
    if variable is None:
        raise BadDwarf(f"form 0x{form:x} is unknown")
    return variable


class Abbreviations:
    """A table of abbreviations, read as far as it is asked for: tables are long, and of most units
    only the first entry matters."""

    def __init__(self, data: memoryview, at: int, shape: Shape) -> None:
        self._data = data
        self._at: int | None = at
        self._shape = shape
        self.known: dict[int, Abbreviation] = {}
        # Of those that stand alone, have one size, and are no function or call: their bytes.
        self.leaves: dict[int, int] = {}
        # Of those that have children, but no code: where DW_AT_sibling is, if always there. And of
        # those among them that are functions, declared or abstract: no code is inside of one
        # (DWARF 5, 3.3.8.1).
        self.jumps: dict[int, int] = {}
        self.codeless: dict[int, int] = {}

    def find(self, code: int) -> Abbreviation:
        """The abbreviation of a code. Raises BadDwarf where there is none."""
        while code not in self.known:
            if self._at is None:
                raise BadDwarf(f"abbreviation {code} is not in the table")
            self._read_next()
        return self.known[code]

    def _read_next(self) -> None:
        at = self._at
        assert at is not None
        self._at = None  # what is broken is not tried again
        code, at = uleb(self._data, at)
        if not code:
            return
        for size in _PIECES:
            piece = bytes(self._data[at : at + size])
            end = piece.find(b"\0\0")
            if end >= 0:
                break
        # The last constant may be 0, and the end one byte further on.
        abbreviation, length = _abbreviation(piece[: end + 3], self._shape)
        self.known.setdefault(code, abbreviation)
        steps = abbreviation.steps or (0,)
        plain = abbreviation.tag not in (Tag.SUBPROGRAM, Tag.INLINED_SUBROUTINE)
        if plain and not abbreviation.children and len(steps) == 1 and steps[0] >= 0:
            self.leaves.setdefault(code, steps[0])
        sibling = abbreviation.sibling
        function = abbreviation.tag == Tag.SUBPROGRAM
        if sibling is not None and len(sibling) < 2 and not (function and abbreviation.located):
            where = sibling[0] if sibling else 0
            if where >= 0:
                self.jumps.setdefault(code, where)
                if function:
                    self.codeless.setdefault(code, where)
        self._at = at + length


_PIECES: Final = (128, 1 << 12)  # bytes of an abbreviation: nearly all, the longest possible


@lru_cache(maxsize=1 << 12)
def _abbreviation(raw: bytes, shape: Shape) -> tuple[Abbreviation, int]:
    """The abbreviation that these bytes begin with, and how many it has. Raises BadDwarf.

    Remembered, as the units of a file have tables of their own with the same things in them.
    """
    data = memoryview(raw)
    tag, at = uleb(data, 0)
    children = bool(fixed(data, at, 1))
    at += 1
    attributes: list[tuple[int, int, int, int]] = []
    steps: list[int] = []
    sibling = None
    while True:
        attribute, at = uleb(data, at)
        form, at = uleb(data, at)
        if not attribute and not form:
            break
        implicit = 0
        if form == Form.IMPLICIT_CONST:
            implicit, at = sleb(data, at)
        step = step_of(form, shape)
        attributes.append((attribute, form, implicit, step))
        if attribute == Attribute.SIBLING and form == Form.REF4 and children:
            sibling = tuple(steps)
        if step >= 0 and steps and steps[-1] >= 0:
            steps[-1] += step
        else:
            steps.append(step)
    located = any(attribute in LOCATION for attribute, *_ in attributes)
    record, places = _record(attributes)
    return (
        Abbreviation(
            tag, children, tuple(attributes), tuple(steps), sibling, located, record, places
        ),
        at,
    )


_CODES: Final = {1: "B", 2: "H", 4: "I", 8: "Q"}


def _record(
    attributes: list[tuple[int, int, int, int]],
) -> tuple[struct.Struct | None, tuple[tuple[int, int, int | None, int], ...]]:
    """`record` and `places` of an abbreviation with these attributes."""
    layout = "<"
    places: list[tuple[int, int, int | None, int]] = []
    for attribute, form, implicit, step in attributes:
        if step == 0:
            places.append((attribute, form, None, implicit))
        elif step in _CODES:
            places.append((attribute, form, len(layout) - 1, 0))
            layout += _CODES[step]
        else:
            return None, ()
    return struct.Struct(layout), tuple(places)
