"""The row format, the page index, and the search."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixstack.compiled.frames import index_pages
from mixstack.unwind.rows import (
    CFA_LIMIT,
    PC_MASK,
    RBP_AT_RBP,
    RBP_LIMIT,
    Row,
    RowKind,
    UnwindTable,
    find_gap,
    find_row,
    pack_row,
    unpack_row,
)


def eighths(least: int, most: int) -> st.SearchStrategy[int]:
    """Multiples of 8, given as numbers of words."""
    return st.integers(least, most).map(lambda words: words * 8)


LINEAR = eighths(-CFA_LIMIT, CFA_LIMIT - 1)
# What bits 32 to 47 hold, by kind; of all other kinds a plain offset.
NUMBERS: dict[RowKind, dict[str, st.SearchStrategy[int]]] = {
    RowKind.PLT: {"cfa_offset": st.integers(-CFA_LIMIT, CFA_LIMIT - 1)},
    RowKind.RSP_DEREF: {"cfa_offset": eighths(-1024, 1023), "addend": eighths(0, 31)},
    RowKind.RBP_DEREF: {"cfa_offset": eighths(-1024, 1023), "addend": eighths(0, 31)},
    RowKind.REGISTER: {
        "cfa_offset": eighths(0, 31),
        "register": st.integers(0, 15),
        "slot": eighths(0, 127),
    },
}
saved = (
    st.none()
    | st.just(RBP_AT_RBP)
    | st.integers(1 - RBP_LIMIT, RBP_LIMIT - 1).filter(bool).map(lambda n: n * 8)
)
rows = st.sampled_from(RowKind).flatmap(
    lambda kind: st.fixed_dictionaries(
        {
            "pc": st.integers(0, PC_MASK),
            "kind": st.just(kind),
            "rbp": saved,
            **NUMBERS.get(kind, {"cfa_offset": LINEAR}),
        }
    ).map(lambda numbers: Row(**numbers))
)


@given(rows)
def test_packing_and_unpacking_gives_the_same_row(row: Row) -> None:
    word = pack_row(row)
    assert 0 <= word < 1 << 64
    assert unpack_row(word) == row


@pytest.mark.parametrize(
    ("row", "word"),
    [
        pytest.param(Row(0, RowKind.NONE), 0, id="a gap at pc 0"),
        pytest.param(Row(0x1234, RowKind.RSP, 8), 0x1000_0001_0000_1234, id="after a call"),
        pytest.param(Row(1, RowKind.RBP, 16, -16), 0x2FFE_0002_0000_0001, id="after push rbp"),
        pytest.param(Row(0, RowKind.RSP, -8), 0x1000_FFFF_0000_0000, id="below the stack pointer"),
        pytest.param(Row(0, RowKind.PLT, 11), 0x5000_000B_0000_0000, id="PLT: not divided by 8"),
        pytest.param(
            Row(0, RowKind.RBP_DEREF, -8, RBP_AT_RBP), 0x3800_07FF_0000_0000, id="realigned"
        ),
        pytest.param(
            Row(0, RowKind.RSP_DEREF, 48, addend=56), 0x4000_3806_0000_0000, id="kept, and addend"
        ),
        pytest.param(
            Row(0, RowKind.REGISTER, 24, register=3), 0x8000_3003_0000_0000, id="rbx + 24"
        ),
        pytest.param(
            Row(0, RowKind.REGISTER, 248, -16, register=15, slot=1016),
            0x8FFE_FFFF_0000_0000,
            id="r15, and where the called function saves it",
        ),
        pytest.param(Row(PC_MASK, RowKind.ROOT), 0x6000_0000_FFFF_FFFF, id="root at the last pc"),
    ],
)
def test_a_row_has_the_layout_of_the_header(row: Row, word: int) -> None:
    assert pack_row(row) == word


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(Row(-1, RowKind.RSP, 8), id="pc below 0"),
        pytest.param(Row(1 << 32, RowKind.RSP, 8), id="pc above 32 bits"),
        pytest.param(Row(0, RowKind.RSP, 12), id="CFA not a multiple of 8"),
        pytest.param(Row(0, RowKind.RSP, 8 * CFA_LIMIT), id="CFA too far"),
        pytest.param(Row(0, RowKind.RSP, -8 * CFA_LIMIT - 8), id="CFA too far below"),
        pytest.param(Row(0, RowKind.RSP_DEREF, 8192), id="kept too far"),
        pytest.param(Row(0, RowKind.RBP_DEREF, 0, addend=256), id="addend too large"),
        pytest.param(Row(0, RowKind.RBP_DEREF, 0, addend=4), id="addend not a multiple of 8"),
        pytest.param(Row(0, RowKind.REGISTER, -8), id="below a register"),
        pytest.param(Row(0, RowKind.REGISTER, 8, register=16), id="no general register"),
        pytest.param(Row(0, RowKind.REGISTER, 8, slot=1024), id="saved too far"),
        pytest.param(Row(0, RowKind.RSP, 8, -12), id="rbp not a multiple of 8"),
        pytest.param(Row(0, RowKind.RSP, 8, 0), id="rbp at the CFA: 0 means unchanged"),
        pytest.param(Row(0, RowKind.RSP, 8, 8 * RBP_LIMIT), id="rbp too far"),
        pytest.param(Row(0, RowKind.RSP, 8, -8 * RBP_LIMIT - 8), id="rbp too far below"),
    ],
)
def test_what_does_not_fit_is_refused(row: Row) -> None:
    with pytest.raises(ValueError, match=r"Row|multiple of 8"):
        pack_row(row)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="15"):
        unpack_row(15 << 60)


SIZE = 4 * 256 + 100
# Rows crowd at the edges of pages, where an index goes wrong.
places = st.sets(
    st.integers(0, SIZE - 1) | st.sampled_from([0, 1, 255, 256, 257, 511, 512, 768, 1024]),
    max_size=60,
)


def table_of(pcs: list[int], base: int = 0x4000) -> UnwindTable:
    packed = array("Q", [pack_row(Row(pc, RowKind.RSP, 8 + 8 * i)) for i, pc in enumerate(pcs)])
    return UnwindTable(base, packed.tobytes(), index_pages(packed, SIZE))


@given(places)
def test_the_search_finds_what_a_linear_scan_finds(inner: set[int]) -> None:
    pcs = sorted(inner | {0})
    table = table_of(pcs)
    probes = {pc + d for pc in pcs for d in (-1, 0, 1)} | {0, 255, 256, 1023, 1024, SIZE - 1}
    for pc in (p for p in probes if 0 <= p < SIZE):
        row = find_row(table, 0x4000 + pc)
        assert row is not None
        assert row.pc == max(p for p in pcs if p <= pc)


@given(places)
def test_the_index_counts_each_row_once(inner: set[int]) -> None:
    pcs = sorted(inner | {0})
    index = array("I", table_of(pcs).pages)
    for page in range(5):
        start = page * 256
        assert pcs[index[2 * page]] == max(p for p in pcs if p <= start)
        assert index[2 * page + 1] == sum(start < p < start + 256 for p in pcs)


@pytest.mark.parametrize("vaddr", [0, 0x3FFF, 0x4000 + 5 * 256, 1 << 63])
def test_outside_of_the_table_there_is_no_row(vaddr: int) -> None:
    assert find_row(table_of([0]), vaddr) is None


def test_a_gap_reaches_from_rule_to_rule() -> None:
    none, rule = RowKind.NONE, RowKind.RSP
    rows = [
        Row(0, none),
        Row(0x10, rule, 8),
        Row(0x20, none),
        Row(0x300, rule, 16),
        Row(0x310, none),
    ]
    words = array("Q", map(pack_row, rows))
    table = UnwindTable(0x1000, words.tobytes(), index_pages(words, 0x320))
    assert find_gap(table, 0x1000) == find_gap(table, 0x100F) == (0x1000, 0x1010)
    assert find_gap(table, 0x1010) is None
    assert find_gap(table, 0x1020) == find_gap(table, 0x12FF) == (0x1020, 0x1300)
    assert find_gap(table, 0x130F) is None
    assert find_gap(table, 0x1310) == find_gap(table, 0x9000) == (0x1310, 0x1000 + PC_MASK)
    assert find_gap(table, 0xFFF) == (0, 0x1000)
