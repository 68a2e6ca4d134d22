"""The probe's memory for unwind tables: what is where, and what no longer fits."""

from __future__ import annotations

from typing import NamedTuple

from mixstack.bpf.memory import Memory
from mixstack.compiled.frames import shifted_pages
from mixstack.unwind.rows import UnwindTable


class Placed(NamedTuple):
    """Where a table lies in the probe: its first page entry and how many there are."""

    first_page: int
    pages: int


def within(limit: int, pages: int, rows: int) -> tuple[int, int]:
    """(pages, rows), of 8 bytes each, brought down in proportion so that they fit `limit` bytes."""
    wanted = (pages + rows) * 8
    if wanted <= limit:
        return pages, rows
    return max(1, pages * limit // wanted), max(1, rows * limit // wanted)


class TableSpace:
    """Places tables one behind the other in the probe's rows and pages (bytes, writable)."""

    def __init__(self, rows: Memory, pages: Memory) -> None:
        self._rows = rows
        self._pages = pages
        self._row_end = 0  # elements in use
        self._page_end = 0

    @property
    def used_bytes(self) -> int:
        return self._row_end * 8 + self._page_end * 8

    def place(self, table: UnwindTable) -> Placed | None:
        """Copy a table into the probe; None if it does not fit any more."""
        rows, pages = len(table.rows) // 8, len(table.pages) // 8
        if (self._row_end + rows) * 8 > len(self._rows):
            return None
        if (self._page_end + pages) * 8 > len(self._pages):
            return None
        self._rows[self._row_end * 8 : (self._row_end + rows) * 8] = table.rows
        entries = shifted_pages(table.pages, self._row_end)
        self._pages[self._page_end * 8 : (self._page_end + pages) * 8] = entries
        placed = Placed(self._page_end, pages)
        self._row_end += rows
        self._page_end += pages
        return placed
