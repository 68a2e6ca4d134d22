"""Tables one behind the other in the probe's memory: searched there, they say what they said."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixstack.compiled.frames import index_pages
from mixstack.record.tables import Placed, TableSpace, within
from mixstack.unwind.rows import (
    Row,
    RowKind,
    UnwindTable,
    find_row,
    pack_row,
)


def table(pcs: list[int], size: int, depth: int = 8) -> UnwindTable:
    words = array("Q", [pack_row(Row(pc, RowKind.RSP, depth + 8 * i)) for i, pc in enumerate(pcs)])
    return UnwindTable(0, words.tobytes(), index_pages(words, size))


class Memory:
    """The probe's memory, as so many rows and pages."""

    def __init__(self, rows: int, pages: int) -> None:
        self.rows = bytearray(rows * 8)
        self.pages = bytearray(pages * 8)
        self.space = TableSpace(memoryview(self.rows), memoryview(self.pages))

    def row(self, placed: Placed, vaddr: int) -> Row | None:
        """Searched as the probe does: all rows, from the table's first page on."""
        pages = self.pages[placed.first_page * 8 : (placed.first_page + placed.pages) * 8]
        return find_row(UnwindTable(0, bytes(self.rows), bytes(pages)), vaddr)


def test_used_bytes() -> None:
    memory = Memory(10, 10)
    assert memory.space.used_bytes == 0
    memory.space.place(table([0, 5, 300], 512))
    assert memory.space.used_bytes == 3 * 8 + 2 * 8


@pytest.mark.parametrize(
    ("rows", "pages", "fits"),
    [
        pytest.param(6, 4, True, id="just fits"),
        pytest.param(5, 4, False, id="a row too few"),
        pytest.param(6, 3, False, id="a page too few"),
    ],
)
def test_a_full_space_takes_no_more(rows: int, pages: int, fits: bool) -> None:
    memory = Memory(rows, pages)
    first = table([0, 5, 300], 512)
    assert memory.space.place(first) == Placed(0, 2)
    before = bytes(memory.rows), bytes(memory.pages)
    assert memory.space.place(first) == (Placed(2, 2) if fits else None)
    if not fits:
        assert (bytes(memory.rows), bytes(memory.pages)) == before
        assert memory.space.used_bytes == 3 * 8 + 2 * 8
        assert memory.space.place(table([0], 256)) is not None or rows == 3 or pages == 2


pcs = st.sets(st.integers(1, 2047), max_size=12).map(lambda s: [0, *sorted(s)])


@given(st.lists(pcs, min_size=1, max_size=6))
def test_every_table_is_searched_where_it_lies(listed: list[list[int]]) -> None:
    memory = Memory(100, 48)
    tables = [table(pcs, 2048, 8 * (1 + i)) for i, pcs in enumerate(listed)]
    placed = [memory.space.place(t) for t in tables]
    for original, at in zip(tables, placed, strict=True):
        assert at is not None
        for vaddr in range(0, 2048, 7):
            assert memory.row(at, vaddr) == find_row(original, vaddr)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        pytest.param(1 << 20, (100, 400), id="enough"),
        pytest.param(8 * 500, (100, 400), id="just enough"),
        pytest.param(8 * 250, (50, 200), id="half of it: in proportion"),
        pytest.param(1, (1, 1), id="a map has at least one element"),
    ],
)
def test_the_tables_stay_within_a_bound(limit: int, expected: tuple[int, int]) -> None:
    assert within(limit, 100, 400) == expected
