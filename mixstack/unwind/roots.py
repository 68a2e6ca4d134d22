"""Where a C stack begins that a library made: for the native walk the thread's root is there.

greenlet runs all C stacks of a thread in one place, and copies them out and in. Outside of the
function that begins a new one lie the frames of whichever was there before, often overwritten.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Final

from mixstack.bpf.wire import PAGE_SHIFT
from mixstack.compiled.frames import index_pages
from mixstack.elf import Elf
from mixstack.elf_names import find_symbols
from mixstack.unwind.rows import KIND_SHIFT, PC_MASK, RowKind, UnwindTable

BEGINS: Final = (
    b"_ZN8greenlet12UserGreenlet15inner_bootstrapEP9_greenletP7_object",  # greenlet 2 and later
)
_NAMES_MAX: Final = 1 << 22  # bytes: greenlet has 100 kB; those of torch take a tenth of a second
_ROOT: Final = RowKind.ROOT << KIND_SHIFT


def with_roots(table: UnwindTable, elf: Elf) -> UnwindTable:
    """The table of this file, in which the functions that begin a C stack are roots."""
    names = [elf.section(name) for name in (".dynstr", ".strtab")]
    if any(section is not None and len(section.data) > _NAMES_MAX for section in names):
        return table
    symbols = find_symbols(elf, BEGINS).values()
    functions = [(s.address - table.base, s.address - table.base + s.size) for s in symbols]
    return with_root_ranges(table, functions) if functions else table


def with_root_ranges(table: UnwindTable, ranges: Iterable[tuple[int, int]]) -> UnwindTable:
    """The table with one row of kind ROOT for each `[start, end)`, bytes from the base.

    A row may have held on both sides of either edge: neighbours with the same rule are one row.
    """
    size = len(table.pages) // 8 << PAGE_SHIFT
    rows = array("Q")
    rows.frombytes(table.rows)
    for start, end in ranges:
        if not 0 <= start < end <= size:
            continue
        first = bisect_left(rows, start, key=_pc)
        behind = bisect_right(rows, end, key=_pc)
        after = rows[behind - 1] & ~PC_MASK | end
        rows[first:behind] = array("Q", [_ROOT | start, after])
    return UnwindTable(table.base, rows.tobytes(), index_pages(rows, size))


def _pc(row: int) -> int:
    return row & PC_MASK
