"""The name of an address at a moment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixstack.jit.model import JitSource, JitSymbol
from mixstack.jit.names import JitNames

PID = 7


def said(
    name: str | None,
    after_ns: int = 0,
    by_ns: int | None = None,
    *,
    at: tuple[int, int] = (0x1000, 0x1100),
    source: JitSource = JitSource.MAP,
    order: int = 0,
) -> JitSymbol:
    by_ns = after_ns if by_ns is None else by_ns
    return JitSymbol(PID, source, order, *at, name, after_ns, by_ns)


def name_at(symbols: list[JitSymbol], time_ns: int, address: int = 0x1080) -> str | None:
    names = JitNames({PID: tuple(symbols)})
    found = names.find(PID, names.epoch(PID, time_ns), address)
    return None if found is None else found.name


DUMP, MAP, DEBUGGER = JitSource.DUMP, JitSource.MAP, JitSource.DEBUGGER


@pytest.mark.parametrize(
    ("symbols", "time_ns", "name"),
    [
        pytest.param([said("f", 100)], 100, "f", id="from then on"),
        pytest.param([said("f", 100)], 5, "f", id="and before: names come a little after the code"),
        pytest.param([said("f", 100), said("g", 200)], 150, "f", id="before the memory's next use"),
        pytest.param([said("f", 100), said("g", 200)], 200, "g", id="from its next use on"),
        pytest.param([said("f", 0, 100), said("g", 200, 300)], 200, "f", id="before the window"),
        pytest.param([said("f", 0, 100), said("g", 200, 300)], 250, None, id="in the window"),
        pytest.param([said("f", 0, 100), said("g", 200, 300)], 300, "g", id="behind the window"),
        pytest.param([said("f", 0, 100), said("f", 200, 300)], 250, "f", id="the same again"),
        pytest.param([said("f", 0, 100), said("g", 0, 100)], 100, "g", id="both before we looked"),
        pytest.param([said("f", 0, 100), said("g", 0, 100)], 50, None, id="while both were said"),
        pytest.param([said("f", 100), said(None, 200)], 150, "f", id="while it was there"),
        pytest.param([said("f", 100), said(None, 200)], 250, None, id="when it is gone"),
        pytest.param([said("f", 100), said(None, 200), said("g", 300)], 300, "g", id="used again"),
        pytest.param(
            [said("f", 100), said("g", 200, at=(0x1070, 0x1090))], 250, "g", id="a part of it"
        ),
        pytest.param(
            [said("f", 100), said("g", 200, at=(0x1000, 0x1080))], 250, "f", id="another part"
        ),
        pytest.param(
            [said("map", 300), said("dump", 100, source=DUMP)], 400, "dump", id="a dump has times"
        ),
        pytest.param(
            [said("dump", 100, source=DUMP), said(None, 200, source=DEBUGGER)],
            400,
            "dump",
            id="where one source knows nothing the next is asked",
        ),
    ],
)
def test_the_name_at_a_moment(symbols: list[JitSymbol], time_ns: int, name: str | None) -> None:
    assert name_at(symbols, time_ns) == name


def test_no_other_process_and_no_other_address() -> None:
    names = JitNames({PID: (said("f"),)})
    assert names.find(PID + 1, 0, 0x1080) is None
    assert names.find(PID, 0, 0x1100) is None
    assert names.epoch(PID + 1, 5) == 0


def test_without_overlaps_there_is_one_epoch() -> None:
    symbols = tuple(said(f"f{n}", n, at=(n * 16, n * 16 + 16)) for n in range(1, 1000))
    assert JitNames({PID: symbols}).epoch(PID, 1 << 60) == 0


SYMBOLS = st.lists(
    st.builds(
        lambda name, start, size, after, wide: said(
            name, after, after + wide, at=(start, start + size)
        ),
        st.sampled_from([None, "f", "g"]),
        st.integers(1, 40),
        st.integers(1, 20),
        st.integers(0, 50),
        st.integers(0, 5),
    ),
    max_size=8,
)


@given(symbols=SYMBOLS, time_ns=st.integers(0, 60), address=st.integers(1, 60))
def test_an_epoch_is_as_good_as_the_moment(
    symbols: list[JitSymbol], time_ns: int, address: int
) -> None:
    """Asked with one epoch for each moment, the answers are the same."""
    symbols = sorted(symbols, key=lambda s: s.by_ns)
    covering = [s for s in symbols if s.start <= address < s.end]
    possible = [s.name for s in covering if s.after_ns < time_ns < s.by_ns]
    possible += [s.name for s in covering if s.by_ns <= time_ns][-1:]
    if not possible:
        possible = [s.name for s in covering[:1]]
    expected = possible[0] if len(set(possible)) == 1 else None
    assert name_at(symbols, time_ns, address) == expected
