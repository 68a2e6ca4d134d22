"""Units of `.debug_info`: their headers, the values in their entries, and the code they cover.

DWARF 5, 7.5.1 (headers), 7.5.5 (values), 2.17.3 and 7.25 (ranges of addresses).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from mixstack.symbolize.dwarf.codes import Attribute, Form
from mixstack.symbolize.dwarf.encoding import (
    Abbreviation,
    Abbreviations,
    Shape,
    fixed,
    initial_length,
    skip,
    sleb,
    step_of,
    text,
    uleb,
)
from mixstack.symbolize.dwarf.sections import BadDwarf, DebugSections

_DW_UT_COMPILE, _DW_UT_PARTIAL, _DW_UT_SKELETON = 0x01, 0x03, 0x04
_VERSIONS: Final = range(2, 6)
_MOST_RANGES: Final = 1 << 20  # of one unit, in all lists read for it together
_LAST_ADDRESS: Final = (1 << 64) - 1

_DW_RLE_END, _DW_RLE_BASE_ADDRESSX, _DW_RLE_STARTX_ENDX, _DW_RLE_STARTX_LENGTH = 0, 1, 2, 3
_DW_RLE_OFFSET_PAIR, _DW_RLE_BASE_ADDRESS, _DW_RLE_START_END, _DW_RLE_START_LENGTH = 4, 5, 6, 7

_PLAIN: Final = frozenset(
    (
        Form.DATA1,
        Form.DATA2,
        Form.DATA4,
        Form.DATA8,
        Form.FLAG,
        Form.FLAG_PRESENT,
        Form.IMPLICIT_CONST,
        Form.SEC_OFFSET,
    )
)
_REFERENCES: Final = frozenset((Form.REF1, Form.REF2, Form.REF4, Form.REF8))
_SHARED_REFERENCES: Final = frozenset((Form.GNU_REF_ALT, Form.REF_SUP4, Form.REF_SUP8))
_STRING_INDICES: Final = frozenset((Form.STRX1, Form.STRX2, Form.STRX3, Form.STRX4))
_ADDRESS_INDICES: Final = frozenset((Form.ADDRX1, Form.ADDRX2, Form.ADDRX3, Form.ADDRX4))


class Reference(NamedTuple):
    """An entry's offset in `.debug_info`, of the file itself or of the one that it shares."""

    offset: int
    shared: bool


class Address(NamedTuple):
    """An address, told from a plain number: DW_AT_high_pc may be either."""

    value: int


class RangeIndex(NamedTuple):
    """A list of ranges by its number."""

    value: int


class SharedText(NamedTuple):
    """A string by its offset in the file that this one shares."""

    offset: int


Value = int | str | Reference | Address | RangeIndex | SharedText | None


class Unit:
    """A compilation unit or a part of one. Made by `units`; offsets are those of `.debug_info`."""

    def __init__(
        self, sections: DebugSections, shape: Shape, start: int, first: int, end: int, abbrev: int
    ) -> None:
        self.sections = sections
        self.shape = shape
        self.start = start
        self.first = first
        self.end = end
        self.abbreviations = Abbreviations(sections.abbrev, abbrev, shape)
        self.base = 0  # of addresses in range lists: DW_AT_low_pc of the unit
        # Where a table's header ends if nothing is said of it (7.26, 7.27).
        self._string_offsets = shape.offset_size * 2
        self._addresses = 8
        self._range_lists = 0
        self._ranges_left = _MOST_RANGES
        self.root = self._read_root()

    def _read_root(self) -> dict[int, Value]:
        """The attributes of the unit's own entry; the bases first, as others need them."""
        code, at = uleb(self.sections.info, self.first)
        abbreviation = self.abbreviations.find(code)
        self.tag = abbreviation.tag
        self.children = abbreviation.children
        values, self.first_child = self.attributes(abbreviation, at, _BASES)
        for name, value in values.items():
            if isinstance(value, int):
                if name == Attribute.STR_OFFSETS_BASE:
                    self._string_offsets = value
                elif name == Attribute.ADDR_BASE:
                    self._addresses = value
                else:
                    self._range_lists = value
        root, _ = self.attributes(abbreviation, at, _OF_UNIT)
        low = root.get(Attribute.LOW_PC)
        if isinstance(low, Address):
            self.base = low.value
        return root

    def sibling(self, at: int, steps: tuple[int, ...]) -> int:
        """What DW_AT_sibling of an entry says, which lies so many `steps` behind its code."""
        where = skip(self.sections.info, at, steps, self.shape)
        return self.start + int.from_bytes(self.sections.info[where : where + 4], "little")

    def attributes(
        self, abbreviation: Abbreviation, at: int, wanted: frozenset[int]
    ) -> tuple[dict[int, Value], int]:
        """The wanted attributes of an entry whose values begin at `at`, and the offset behind."""
        info, shape = self.sections.info, self.shape
        out: dict[int, Value] = {}
        record = abbreviation.record
        if record is not None:
            try:
                raw = record.unpack_from(info, at)
            except struct.error:
                raise BadDwarf(f"the data breaks off at {at}") from None
            for attribute, form, index, implicit in abbreviation.places:
                if attribute in wanted:
                    known = self._empty(form, implicit) if index is None else raw[index]
                    out[attribute] = known if form in _PLAIN else self._converted(form, known)
            return out, at + record.size
        for attribute, form, implicit, step in abbreviation.attributes:
            if attribute in wanted:
                out[attribute], at = self._value(form, implicit, step, at)
            else:
                at = at + step if step >= 0 else skip(info, at, (step,), shape)
        return out, at

    def _value(self, form: int, implicit: int, step: int, at: int) -> tuple[Value, int]:
        if step == 0:
            return self._empty(form, implicit), at
        if step > 0:
            return self._converted(form, fixed(self.sections.info, at, step)), at + step
        if form == Form.STRING:
            return text(self.sections.info, at)
        if form == Form.SDATA:
            return sleb(self.sections.info, at)
        return self._leb_value(form, at)

    @staticmethod
    def _empty(form: int, implicit: int) -> int:
        """The value of a form that has no bytes in the entry."""
        return 1 if form == Form.FLAG_PRESENT else implicit

    def _converted(self, form: int, raw: int) -> Value:
        """What the number means that a form of a fixed size holds; None if nobody asks for it."""
        if form in _PLAIN:
            return raw
        if form == Form.ADDR:
            return Address(raw)
        if form in _REFERENCES:
            return Reference(self.start + raw, False)
        if form == Form.STRP:
            return string_at(self.sections.str, raw)
        if form == Form.LINE_STRP:
            return string_at(self.sections.line_str, raw)
        if form == Form.REF_ADDR:
            return Reference(raw, False)
        if form in _SHARED_REFERENCES:
            return Reference(raw, True)
        if form in (Form.STRP_SUP, Form.GNU_STRP_ALT):
            return SharedText(raw)
        if form in _STRING_INDICES:
            return self._string_by_index(raw)
        if form in _ADDRESS_INDICES:
            return Address(self._address_by_index(raw))
        return None

    def _leb_value(self, form: int, at: int) -> tuple[Value, int]:
        info = self.sections.info
        if form not in _LEB_FORMS:
            return None, skip(info, at, (step_of(form, self.shape),), self.shape)
        number, end = uleb(info, at)
        if form == Form.UDATA:
            return number, end
        if form == Form.REF_UDATA:
            return Reference(self.start + number, False), end
        if form == Form.STRX:
            return self._string_by_index(number), end
        if form == Form.RNGLISTX:
            return RangeIndex(number), end
        if form == Form.INDIRECT:
            if number in (Form.INDIRECT, Form.IMPLICIT_CONST):
                raise BadDwarf(f"a form at {at} refers to itself")
            return self._value(number, 0, step_of(number, self.shape), end)
        return Address(self._address_by_index(number)), end

    def _string_by_index(self, index: int) -> str | None:
        size = self.shape.offset_size
        at = self._string_offsets + index * size
        return string_at(self.sections.str, fixed(self.sections.str_offsets, at, size))

    def _address_by_index(self, index: int) -> int:
        return fixed(self.sections.addr, self._addresses + index * 8, 8)

    # --- the addresses that an entry covers ---------------------------------------------------

    def ranges_of(self, values: dict[int, Value]) -> list[tuple[int, int]]:
        """`[start, end)` of the code of an entry with these attributes. Raises BadDwarf."""
        low, high = values.get(Attribute.LOW_PC), values.get(Attribute.HIGH_PC)
        listed = values.get(Attribute.RANGES)
        if listed is not None:
            found = list(self._listed(listed))
        elif isinstance(low, Address) and high is not None:
            end = high.value if isinstance(high, Address) else high
            if not isinstance(end, int):
                return []
            found = [(low.value, end if isinstance(high, Address) else low.value + end)]
        else:
            return []
        return [(start, end) for start, end in found if start < end <= _LAST_ADDRESS]

    def _listed(self, value: Value) -> Iterator[tuple[int, int]]:
        if isinstance(value, RangeIndex):
            size = self.shape.offset_size
            base = self._range_lists
            at = base + fixed(self.sections.rnglists, base + value.value * size, size)
            return self._range_list(at)
        if not isinstance(value, int):
            return iter(())
        return self._range_list(value) if self.shape.version >= 5 else self._old_range_list(value)

    def _count_range(self) -> None:
        self._ranges_left -= 1
        if self._ranges_left < 0:
            raise BadDwarf("a unit has more ranges than can be meant")

    def _old_range_list(self, at: int) -> Iterator[tuple[int, int]]:
        base, data = self.base, self.sections.ranges
        while True:
            self._count_range()
            start, end = fixed(data, at, 8), fixed(data, at + 8, 8)
            at += 16
            if start == end == 0:
                return
            if start == _LAST_ADDRESS:
                base = end
            else:
                yield base + start, base + end

    def _range_list(self, at: int) -> Iterator[tuple[int, int]]:
        base, data = self.base, self.sections.rnglists
        while True:
            self._count_range()
            kind = fixed(data, at, 1)
            at += 1
            if kind == _DW_RLE_END:
                return
            if kind in (_DW_RLE_BASE_ADDRESS, _DW_RLE_START_END, _DW_RLE_START_LENGTH):
                first, at = fixed(data, at, 8), at + 8
            else:
                first, at = uleb(data, at)
            if kind == _DW_RLE_BASE_ADDRESS:
                base = first
            elif kind == _DW_RLE_BASE_ADDRESSX:
                base = self._address_by_index(first)
            elif kind == _DW_RLE_START_END:
                yield first, fixed(data, at, 8)
                at += 8
            elif kind in _RANGES_OF_TWO_NUMBERS:
                second, at = uleb(data, at)
                if kind == _DW_RLE_OFFSET_PAIR:
                    yield base + first, base + second
                    continue
                if kind != _DW_RLE_START_LENGTH:
                    first = self._address_by_index(first)
                ends = kind == _DW_RLE_STARTX_ENDX
                yield first, self._address_by_index(second) if ends else first + second
            else:
                raise BadDwarf(f"a range of unknown kind {kind}")


_RANGES_OF_TWO_NUMBERS: Final = frozenset(
    (_DW_RLE_STARTX_ENDX, _DW_RLE_STARTX_LENGTH, _DW_RLE_OFFSET_PAIR, _DW_RLE_START_LENGTH)
)
_LEB_FORMS: Final = frozenset(
    (
        Form.UDATA,
        Form.REF_UDATA,
        Form.STRX,
        Form.RNGLISTX,
        Form.INDIRECT,
        Form.ADDRX,
        Form.GNU_ADDR_INDEX,
    )
)
_BASES: Final = frozenset(
    (Attribute.STR_OFFSETS_BASE, Attribute.ADDR_BASE, Attribute.RNGLISTS_BASE)
)
_OF_UNIT: Final = frozenset(
    (
        Attribute.NAME,
        Attribute.COMP_DIR,
        Attribute.STMT_LIST,
        Attribute.LOW_PC,
        Attribute.HIGH_PC,
        Attribute.RANGES,
    )
)


def unit_starts(sections: DebugSections) -> Iterator[int]:
    """Where the units begin, in the file's order. Raises BadDwarf where they break off."""
    info, at = sections.info, 0
    while at < len(info):
        length, _, header = initial_length(info, at)
        if header + length > len(info):
            raise BadDwarf(f"the unit at {at} breaks off")
        yield at
        at = header + length


def read_unit(sections: DebugSections, start: int) -> Unit | None:
    """The unit that begins at an offset of `.debug_info`. Raises BadDwarf.

    None for one of types, of another version than we know, or with addresses of another size.
    """
    info = sections.info
    length, offset_size, at = initial_length(info, start)
    end = at + length
    shape = Shape(fixed(info, at, 2), offset_size)
    at += 2
    if shape.version not in _VERSIONS:
        return None
    if shape.version < 5:
        abbrev, at = fixed(info, at, offset_size), at + offset_size
        address_size, at = fixed(info, at, 1), at + 1
    else:
        kind, address_size = fixed(info, at, 1), fixed(info, at + 1, 1)
        abbrev, at = fixed(info, at + 2, offset_size), at + 2 + offset_size
        if kind == _DW_UT_SKELETON:
            at += 8
        elif kind not in (_DW_UT_COMPILE, _DW_UT_PARTIAL):
            return None
    return Unit(sections, shape, start, at, end, abbrev) if address_size == 8 else None


def string_at(data: memoryview, at: int) -> str | None:
    """The string at an offset, or None."""
    try:
        return text(data, at)[0]
    except BadDwarf:
        return None
