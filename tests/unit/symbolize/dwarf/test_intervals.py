"""Ranges that overlap, as disjoint pieces: against plain search."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixstack.symbolize.dwarf.intervals import Intervals

ROWS = [
    ("nothing", [], 5, None),
    ("first address", [(5, 8, 1)], 5, 1),
    ("last address", [(5, 8, 1)], 7, 1),
    ("behind", [(5, 8, 1)], 8, None),
    ("empty", [(5, 5, 1)], 5, None),
    ("the wrong way round", [(8, 5, 1)], 6, None),
    ("behind the last address", [(5, 1 << 64, 1)], 6, None),
    ("inner", [(0, 10, 1), (4, 6, 2)], 5, 2),
    ("behind the inner", [(0, 10, 1), (4, 6, 2)], 6, 1),
    ("the same range twice", [(0, 10, 1), (0, 10, 2)], 3, 2),
    ("given first, begins later", [(4, 10, 1), (0, 10, 2)], 5, 2),
]


@pytest.mark.parametrize(
    ("given_", "address", "expected"), [r[1:] for r in ROWS], ids=[r[0] for r in ROWS]
)
def test_row(given_: list[tuple[int, int, int]], address: int, expected: int | None) -> None:
    assert Intervals(given_).find(address) == expected


small = st.integers(0, 24)


@given(st.lists(st.tuples(small, small, st.integers(0, 3)), max_size=12))
def test_the_last_that_covers_counts(ranges: list[tuple[int, int, int]]) -> None:
    intervals = Intervals(ranges)
    for address in range(26):
        covering = [value for start, end, value in ranges if start <= address < end]
        assert intervals.find(address) == (covering[-1] if covering else None)
