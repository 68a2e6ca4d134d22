"""Overlapping ranges by address: compared with looking at all of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mixstack.jit.index import ADDRESS_END, RangeIndex

_PAGE = 4096
RANGES = st.tuples(
    st.integers(1, 40 * _PAGE), st.one_of(st.integers(1, 3 * _PAGE), st.integers(1, 100 * _PAGE))
)


@given(ranges=st.lists(RANGES, max_size=30), addresses=st.lists(st.integers(0, 140 * _PAGE)))
def test_all_that_cover_an_address_in_order(
    ranges: list[tuple[int, int]], addresses: list[int]
) -> None:
    index = RangeIndex(100)
    assert all(index.add(*each) for each in ranges)
    for address in addresses:
        expected = [n for n, (start, size) in enumerate(ranges) if start <= address < start + size]
        assert index.covering(address) == expected
    for number, (start, size) in enumerate(ranges):
        assert index.range(number) == (start, start + size)


@given(ranges=st.lists(RANGES, min_size=1, max_size=20), since=st.integers(0, 20))
def test_the_pages_that_were_touched(ranges: list[tuple[int, int]], since: int) -> None:
    index = RangeIndex(100)
    for each in ranges:
        index.add(*each)
    touched = set(index.pages_since(since))
    for start, size in ranges[since:]:
        assert -1 in touched or {start // _PAGE, (start + size - 1) // _PAGE} <= touched


def test_what_is_no_range() -> None:
    index = RangeIndex(10)
    for start, size in ((0, 1), (1, 0), (ADDRESS_END, 1), (1, ADDRESS_END), (1 << 63, 1 << 63)):
        assert not index.add(start, size)
    assert len(index) == 0


def test_it_is_bounded() -> None:
    index = RangeIndex(2)
    assert [index.add(n, 1) for n in (1, 2, 3)] == [True, True, False]
    assert index.full


def test_of_a_page_with_too_many_ranges_nothing_is_known() -> None:
    index = RangeIndex(1 << 20)
    for _ in range(1024):
        assert index.add(_PAGE, 1)
    assert len(index.covering(_PAGE)) == 1024
    for _ in range(10_000):
        index.add(_PAGE, 2)
    assert index.covering(_PAGE) == []
    assert sum(map(len, index._pages.values())) < 2000


def test_large_ranges_are_bounded() -> None:
    index = RangeIndex(1 << 20)
    added = sum(index.add(1, 1 << 40) for _ in range(10_000))
    assert added == len(index.covering(5)) == 256
