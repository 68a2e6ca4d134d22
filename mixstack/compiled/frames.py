"""Call frame information (LSB 5.0, 10.6; DWARF 5, 6.4) as FDEs, and as rows for the probe."""

from __future__ import annotations

import mmap
import weakref
from array import array
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from mixstack.bpf.wire import PAGE_SHIFT, PAGE_SIZE
from mixstack.compiled.library import Lent, library

_PRIVATE: Final = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS


class FrameSection(NamedTuple):
    """The bytes of `.eh_frame`, or with `debug` of a `.debug_frame`; and the section's own address.

    A `.debug_frame` is one of 32-bit DWARF, as all files have it.
    """

    data: bytes | memoryview
    vaddr: int
    debug: bool = False


class Fde(NamedTuple):
    """Where it speaks of the code: `[start, start + size)`, the file's own addresses."""

    start: int
    size: int


class Frames:
    """The FDEs of a file, sorted by start, then by size; those of the second section where the
    first is silent.

    What cannot be understood is left out. Linear in the sections' size: a CIE counts only where the
    walk from entry to entry passes it, so no byte is read as part of many entries.
    """

    def __init__(self, sections: Iterable[FrameSection]) -> None:
        """Up to two sections. Raises NoProbe."""
        self._library = library()
        self._handle = self._library.ms_frames_new()
        if not self._handle:
            raise MemoryError
        weakref.finalize(self, self._library.ms_frames_free, self._handle)
        self._lent: list[Lent] = []
        for data, vaddr, debug in sections:
            lent = Lent(data)
            self._lent.append(lent)
            if self._library.ms_frames_add(self._handle, lent.address, lent.size, vaddr, debug):
                raise MemoryError

    def __len__(self) -> int:
        return int(self._library.ms_frames_count(self._handle))

    def __iter__(self) -> Iterator[Fde]:
        ranges = array("Q", bytes(16 * len(self)))
        self._library.ms_frames_ranges(self._handle, ranges.buffer_info()[0])
        return map(Fde._make, zip(ranges[::2], ranges[1::2], strict=True))

    def rows(self, base: int, end: int, code: Iterable[tuple[int, memoryview]] = ()) -> memoryview:
        """Packed rows (u64) for the code at [base, end), sorted by pc, the first at pc 0 = base.

        Where no FDE speaks there is a row of kind NONE; two neighbours never have the same rule. An
        FDE is cut where the next one starts: who starts later knows the place better.

        code: pieces of it, each with its own address. Where a CFA counts from a register that a
        function must restore, what is called there tells where the register is saved (slots.c).
        """
        lent = [(vaddr, Lent(data)) for vaddr, data in code]
        pieces = array("Q", [word for at, each in lent for word in (each.address, each.size, at)])
        # Hardly any of the room for the most that there can be is used: it must not be cleared.
        room = mmap.mmap(-1, self._library.ms_frames_room(self._handle), _PRIVATE)
        rows = Lent(room)
        count = self._library.ms_frames_rows(
            self._handle, pieces.buffer_info()[0], len(lent), base, end, rows.address
        )
        if count < 0:
            raise MemoryError
        return memoryview(room)[: 8 * count]


def index_pages(rows: array[int] | memoryview, size: int) -> bytearray:
    """The page index over packed rows (sorted, the first at pc 0) for `size` bytes of code."""
    count = (size + PAGE_SIZE - 1) >> PAGE_SHIFT
    pages = bytearray(8 * count)
    lent, to = Lent(rows), Lent(pages)
    library().ms_index_pages(lent.address, lent.size // 8, to.address, count)
    return pages


def shifted_pages(pages: bytes | bytearray, rows: int) -> bytearray:
    """The page index of a table that has so many rows before it."""
    shifted = bytearray(len(pages))
    lent, to = Lent(pages), Lent(shifted)
    library().ms_shift_pages(lent.address, lent.size // 8, rows, to.address)
    return shifted
