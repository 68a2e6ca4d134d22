"""Where a C stack begins that a library made: for the native walk the thread's root is there.

greenlet runs all C stacks of a thread in one place, and copies them out and in. Outside of the
function that begins a new one lie the frames of whichever was there before, often overwritten.
"""

from __future__ import annotations

from array import array
from typing import Final

from mixstack.elf import Elf
from mixstack.elf_names import find_symbols
from mixstack.unwind.rows import KIND_SHIFT, PC_MASK, RowKind, UnwindTable

BEGINS: Final = (
    b"_ZN8greenlet12UserGreenlet15inner_bootstrapEP9_greenletP7_object",  # greenlet 2 and later
)


def with_roots(table: UnwindTable, elf: Elf) -> UnwindTable:
    """The table of this file, in which the functions that begin a C stack are roots."""
    symbols = find_symbols(elf, BEGINS)
    if not symbols:
        return table
    rows = array("Q")
    rows.frombytes(table.rows)
    for symbol in symbols.values():
        first = symbol.address - table.base
        for i, row in enumerate(rows):
            if first <= row & PC_MASK < first + symbol.size:
                rows[i] = row & PC_MASK | RowKind.ROOT << KIND_SHIFT
    return UnwindTable(table.base, rows.tobytes(), table.pages)
