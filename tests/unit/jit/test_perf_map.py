"""Lines of perf map files, however they arrive."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixstack.jit.perf_map import NAME_MAX, MapEntry, MapParser


@pytest.mark.parametrize(
    ("data", "entries", "bad"),
    [
        pytest.param(b"1000 20 f\n", [(0x1000, 0x20, b"f")], 0, id="a line"),
        pytest.param(b"0x1000 0X20 f\n", [(0x1000, 0x20, b"f")], 0, id="numbers with 0x"),
        pytest.param(b"ABC def f\n", [(0xABC, 0xDEF, b"f")], 0, id="both cases"),
        pytest.param(
            b"10 2 py::f:my app.py \n", [(0x10, 2, b"py::f:my app.py ")], 0, id="blanks in the name"
        ),
        pytest.param(b"10 2 \xff\xfe\n", [(0x10, 2, b"\xff\xfe")], 0, id="no UTF-8"),
        pytest.param(b"10 2 f", [], 0, id="a line that is not whole yet"),
        pytest.param(b"10 2\n", [], 1, id="no name"),
        pytest.param(b"10 2 \n", [], 1, id="an empty name"),
        pytest.param(b"\n", [], 1, id="an empty line"),
        pytest.param(b"x 10 f\n2g 1 x\n", [], 2, id="no numbers"),
        pytest.param(b"-10 2 f\n", [], 1, id="a negative number"),
        pytest.param(b"10000000000000000 2 f\n", [], 1, id="more than 64 bits"),
        pytest.param(b"10 2 f10 2\n10 2 g\n", [(0x10, 2, b"f10 2"), (0x10, 2, b"g")], 0, id="torn"),
        pytest.param(b"10 2 %s\n20 2 g\n" % (b"x" * 5000), [(0x20, 2, b"g")], 1, id="a long name"),
        pytest.param(
            b"10 2 %s\n" % (b"x" * NAME_MAX),
            [(0x10, 2, b"x" * NAME_MAX)],
            0,
            id="as long as it may",
        ),
    ],
)
def test_lines(data: bytes, entries: list[tuple[int, int, bytes]], bad: int) -> None:
    parser = MapParser()
    assert parser.feed(data) == entries
    assert parser.bad == bad


def test_a_line_without_an_end_is_not_kept() -> None:
    parser = MapParser()
    for _ in range(100):
        assert parser.feed(b"x" * 10_000) == []
        assert len(parser._rest) < 10_000
    assert parser.feed(b"x\n10 2 f\n") == [MapEntry(0x10, 2, b"f")]
    assert parser.bad == 1


def test_what_begins_inside_of_a_line() -> None:
    assert MapParser(inside=True).feed(b"0 2 cut\n10 2 f\n") == [MapEntry(0x10, 2, b"f")]


LINES = st.lists(
    st.sampled_from([b"10 2 f\n", b"20 fff a name\n", b"bad\n", b"\n", b"30 1 \xff\n", b"4 1 end"])
)


@given(lines=LINES, cuts=st.lists(st.integers(0, 200)))
def test_where_the_pieces_are_cut_does_not_matter(lines: list[bytes], cuts: list[int]) -> None:
    data = b"".join(lines)
    whole, parts = MapParser(), MapParser()
    expected = whole.feed(data)
    found: list[MapEntry] = []
    ends = sorted(min(cut, len(data)) for cut in cuts)
    for start, end in zip([0, *ends], [*ends, len(data)], strict=True):
        found += parts.feed(data[start:end])
    assert (found, parts.bad) == (expected, whole.bad)


def test_fuzzed() -> None:
    source = random.Random(4)
    alphabet = b"0123456789abcdefxX \n\t\0-\xff"
    for _ in range(2000):
        data = bytes(source.choice(alphabet) for _ in range(source.randrange(200)))
        parser = MapParser()
        for entry in parser.feed(data) + parser.feed(b"\n7f00 10 f\n"):
            assert 0 <= entry.start < 1 << 64
            assert 0 <= entry.size < 1 << 64
            assert entry.name
            assert b"\n" not in entry.name
        assert entry == (0x7F00, 0x10, b"f")
