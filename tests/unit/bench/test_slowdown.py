"""The slowdown of a turn is judged by the bare turns around it."""

from __future__ import annotations

import pytest

from ...bench.slowdown import Took, times


def test_a_machine_that_gets_slower_is_not_the_profiler() -> None:
    speeds = [1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]  # of bare and profiled turns in turn
    bare = [Took(speed, 2 * speed) for speed in speeds[::2]]
    turns = [("ours", Took(1.5, 3.0)), ("theirs", Took(2.5 * 1.2, 5.0)), ("ours", Took(3.5, 14.0))]
    ours, theirs = times("ours", turns, bare), times("theirs", turns, bare)
    assert (ours.cpu, ours.wall) == pytest.approx((1.0, 1.5))
    assert (theirs.cpu, theirs.wall) == pytest.approx((1.2, 1.0))
    assert ours.turns == (Took(1.5, 3.0), Took(3.5, 14.0))
