"""The functions of a file's symbol tables (System V ABI, 4), as pieces that do not overlap."""

from __future__ import annotations

import weakref
from array import array
from collections.abc import Sequence
from typing import NamedTuple

from mixstack.compiled.library import Lent, library


class Piece(NamedTuple):
    """The file's own addresses `[start, end)`, and where the name lies: table and offset in it."""

    start: int
    end: int
    table: int
    name_at: int


class FunctionTable:
    """Built with `add` and `finish`; each address belongs to the function that starts later.

    Of several that start together, what counts is the binding (global, weak, local), then fewer
    underscores in front, then the alphabet.
    """

    def __init__(self, code: Sequence[tuple[int, int]]) -> None:
        """code: where it lies, `[start, end)`, the file's own addresses. Raises NoProbe."""
        self._library = library()
        self._handle = self._library.ms_symbols_new()
        if not self._handle:
            raise MemoryError
        weakref.finalize(self, self._library.ms_symbols_free, self._handle)
        for start, end in code:
            self._library.ms_symbols_code(self._handle, start, end)
        self._lent: list[Lent] = []
        self._count = 0
        self._found = array("Q", bytes(32))

    def __len__(self) -> int:
        return self._count

    def add(
        self, table: memoryview, strings: memoryview, sections: Sequence[tuple[int, int]] = ()
    ) -> int:
        """Take a symbol table and its strings; its number.

        sections: `[start, end)` of this file, by their numbers: then a global function without a
        size reaches to the next known start, or its section's end, if there are local symbols. Of
        another file they are not known; and where local symbols were discarded, what follows may be
        a function that lost its name.
        """
        lent, names = Lent(table), Lent(strings)
        self._lent += [names]
        bounds = array("Q", [bound for section in sections for bound in section])
        number = self._library.ms_symbols_add(
            self._handle,
            lent.address,
            lent.size,
            names.address,
            names.size,
            bounds.buffer_info()[0],
            len(sections),
        )
        if number < 0:
            raise MemoryError
        return int(number)

    def finish(self) -> None:
        """After the last table."""
        self._count = self._library.ms_symbols_finish(self._handle)
        self._lent.clear()  # the names are compared no more
        if self._count < 0:
            raise MemoryError

    def find(self, vaddr: int) -> Piece | None:
        """The piece that covers the file's own address."""
        found = self._found
        if not 0 <= vaddr < 1 << 64:
            return None
        if not self._library.ms_symbols_find(self._handle, vaddr, found.buffer_info()[0]):
            return None
        return Piece._make(found)
