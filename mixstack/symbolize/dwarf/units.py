"""Units of `.debug_info`: their headers, the values in their entries, and the code they cover.

DWARF 5, 7.5.1 (headers), 7.5.5 (values), 2.17.3 and 7.25 (ranges of addresses).
"""

from __future__ import annotations

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

_REFERENCE_SIZES: Final = {Form.REF1: 1, Form.REF2: 2, Form.REF4: 4, Form.REF8: 8}
_DATA_SIZES: Final = {
    Form.DATA1: 1, Form.DATA2: 2, Form.DATA4: 4, Form.DATA8: 8, Form.FLAG: 1,
}  # fmt: skip
_STRING_INDEX_SIZES: Final = {Form.STRX1: 1, Form.STRX2: 2, Form.STRX3: 3, Form.STRX4: 4}
_ADDRESS_INDEX_SIZES: Final = {Form.ADDRX1: 1, Form.ADDRX2: 2, Form.ADDRX3: 3, Form.ADDRX4: 4}


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

    def attributes(
        self, abbreviation: Abbreviation, at: int, wanted: frozenset[int]
    ) -> tuple[dict[int, Value], int]:
        """The wanted attributes of an entry whose values begin at `at`, and the offset behind."""
        info, shape = self.sections.info, self.shape
        out: dict[int, Value] = {}
        for attribute, form, implicit, step in abbreviation.attributes:
            if attribute in wanted:
                out[attribute], at = self._value(form, implicit, at)
            else:
                at = at + step if step >= 0 else skip(info, at, (step,), shape)
        return out, at

    def _value(self, form: int, implicit: int, at: int) -> tuple[Value, int]:
        info, shape = self.sections.info, self.shape
        if form == Form.ADDR:
            return Address(fixed(info, at, 8)), at + 8
        if form in _DATA_SIZES:
            size = _DATA_SIZES[form]
            return fixed(info, at, size), at + size
        if form in _REFERENCE_SIZES:
            size = _REFERENCE_SIZES[form]
            return Reference(self.start + fixed(info, at, size), False), at + size
        size = shape.offset_size
        if form == Form.STRP:
            return string_at(self.sections.str, fixed(info, at, size)), at + size
        if form == Form.LINE_STRP:
            return string_at(self.sections.line_str, fixed(info, at, size)), at + size
        if form == Form.SEC_OFFSET:
            return fixed(info, at, size), at + size
        if form in (Form.STRP_SUP, Form.GNU_STRP_ALT):
            return SharedText(fixed(info, at, size)), at + size
        if form == Form.GNU_REF_ALT:
            return Reference(fixed(info, at, size), True), at + size
        if form == Form.REF_ADDR:
            width = 8 if shape.version <= 2 else size
            return Reference(fixed(info, at, width), False), at + width
        if form == Form.IMPLICIT_CONST:
            return implicit, at
        if form == Form.FLAG_PRESENT:
            return 1, at
        if form == Form.STRING:
            return text(info, at)
        if form in _STRING_INDEX_SIZES:
            size = _STRING_INDEX_SIZES[form]
            return self._string_by_index(fixed(info, at, size)), at + size
        if form in _ADDRESS_INDEX_SIZES:
            size = _ADDRESS_INDEX_SIZES[form]
            return Address(self._address_by_index(fixed(info, at, size))), at + size
        if form == Form.REF_SUP4:
            return Reference(fixed(info, at, 4), True), at + 4
        if form == Form.REF_SUP8:
            return Reference(fixed(info, at, 8), True), at + 8
        if form == Form.SDATA:
            return sleb(info, at)
        return self._leb_value(form, at)

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
            return self._value(number, 0, end)
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
