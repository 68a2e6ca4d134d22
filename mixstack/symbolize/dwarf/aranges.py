"""Which unit covers an address, without a look at the units (DWARF 5, 6.1.2)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from mixstack.symbolize.dwarf.encoding import fixed, initial_length
from mixstack.symbolize.dwarf.sections import BadDwarf

_PAIR: Final = struct.Struct("<QQ")


def address_ranges(data: memoryview) -> Iterator[tuple[int, int, int]]:
    """(start, end, offset of the unit in `.debug_info`) of `.debug_aranges`. Raises BadDwarf."""
    at = 0
    while at < len(data):
        length, offset_size, header = initial_length(data, at)
        end = header + length
        if end > len(data):
            raise BadDwarf(f"the table of address ranges at {at} breaks off")
        unit = fixed(data, header + 2, offset_size)
        sizes = header + 2 + offset_size
        if (fixed(data, header, 2), fixed(data, sizes, 1), fixed(data, sizes + 1, 1)) == (2, 8, 0):
            # The pairs begin at a multiple of their size, counted from the table's start.
            first = at + -(-(sizes + 2 - at) // _PAIR.size) * _PAIR.size
            whole = data[first:end]
            for start, size in _PAIR.iter_unpack(whole[: len(whole) // _PAIR.size * _PAIR.size]):
                if size:
                    yield start, start + size, unit
        at = end
