"""How samples become durations."""

from __future__ import annotations

from array import array
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixstack.compiled.lines import Lines

PERIOD = 100
START = 1000

# name, samples as (time, stack), end, the line as (stack, duration)
ROWS = [
    ("no samples", [], 1500, []),
    ("before the first sample the thread is off", [(1300, 7)], 1400, [(0, 300), (7, 100)]),
    ("a first sample soon after the start", [(1010, 7)], 1110, [(0, 10), (7, 100)]),
    ("the next sample ends the one before", [(1000, 7), (1090, 8)], 1190, [(7, 90), (8, 100)]),
    ("equal stacks in a row are one", [(1000, 7), (1100, 7), (1200, 7)], 1300, [(7, 300)]),
    ("a gap of 1.5 periods is none", [(1000, 7), (1150, 8)], 1250, [(7, 150), (8, 100)]),
    (
        "a longer gap is time off the CPU",
        [(1000, 7), (1151, 8)],
        1251,
        [(7, 100), (0, 51), (8, 100)],
    ),
    (
        "also between equal stacks",
        [(1000, 7), (1200, 7)],
        1300,
        [(7, 100), (0, 100), (7, 100)],
    ),
    ("the last sample lasts one period", [(1000, 7)], 1500, [(7, 100), (0, 400)]),
    ("or until the end", [(1000, 7)], 1030, [(7, 30)]),
    ("the last sample at the very end", [(1000, 7), (1100, 8)], 1100, [(7, 100)]),
    ("two samples at one moment: the later counts", [(1000, 7), (1000, 8)], 1100, [(8, 100)]),
    (
        "a flicker of no duration does not split a stack",
        [(1000, 7), (1050, 8), (1050, 7)],
        1150,
        [(7, 150)],
    ),
    ("a clock that went back", [(1000, 7), (1050, 8), (1040, 9)], 1150, [(7, 50), (9, 100)]),
    ("a sample from before the start", [(900, 7)], 1100, [(7, 100)]),
    ("a sample whose stack is empty", [(1000, 7), (1100, 0)], 1200, [(7, 100), (0, 100)]),
]


def add(lines: Lines, samples: list[tuple[int, int]]) -> int:
    """As samples of thread 1, between those of two others."""
    threads, times, stack_ids = array("I"), array("Q"), array("I")
    for time_ns, stack_id in samples:
        threads.extend((0, 1, 2))
        times.extend((time_ns,) * 3)
        stack_ids.extend((9, stack_id, 9))
    return lines.add(threads, times, stack_ids)


def turns(lines: Lines) -> list[tuple[int, int]]:
    found = lines.of(1)
    return [] if found is None else list(zip(*found, strict=True))


def line(samples: list[tuple[int, int]], end: int) -> list[tuple[int, int]]:
    lines = Lines(START, PERIOD)
    half = len(samples) // 2  # in two goes: what is between them is kept
    add(lines, samples[:half])
    add(lines, samples[half:])
    lines.finish(end)
    return turns(lines)


def test_a_thread_that_was_never_sampled_has_no_line() -> None:
    lines = Lines(START, PERIOD)
    assert lines.add(array("I", [2]), array("Q", [START]), array("I", [7])) == 0
    lines.finish(START + 1)
    assert [lines.of(thread) is not None for thread in range(4)] == [False, False, True, False]


@pytest.mark.parametrize(
    ("samples", "end", "expected"), [r[1:] for r in ROWS], ids=[r[0] for r in ROWS]
)
def test_line(samples: list[tuple[int, int]], end: int, expected: list[tuple[int, int]]) -> None:
    assert line(samples, end) == expected


SAMPLES = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3)), max_size=40)


@given(steps=SAMPLES, rest=st.integers(0, 300))
def test_durations_add_up_and_neighbours_differ(steps: list[tuple[int, int]], rest: int) -> None:
    samples, now = [], START
    for step, stack in steps:
        now += step
        samples.append((now, stack))
    got = line(samples, now + rest)
    assert sum(duration for _, duration in got) == (now + rest - START if samples else 0)
    assert all(duration > 0 for _, duration in got)
    assert all(one[0] != other[0] for one, other in pairwise(got))


@given(steps=st.lists(st.tuples(st.integers(1, 400), st.integers(1, 3)), max_size=40))
def test_what_the_line_says_of_a_sample_is_what_was_seen(steps: list[tuple[int, int]]) -> None:
    samples, now = [], START
    for step, stack in steps:
        now += step
        samples.append((now, stack))
    at, seen = START, {}
    for stack, duration in line(samples, now + 1):
        seen.update((t, stack) for t, _ in samples if at <= t < at + duration)
        at += duration
    assert seen == dict(samples)


@given(steps=st.lists(st.tuples(st.integers(0, 160), st.integers(0, 2)), max_size=12))
def test_in_one_go_or_one_by_one(steps: list[tuple[int, int]]) -> None:
    samples, now = [], START
    for step, stack in steps:
        now += step
        samples.append((now, stack))
    lines = Lines(START, PERIOD)
    for sample in samples:
        add(lines, [sample])
    lines.finish(now)
    assert turns(lines) == line(samples, now)


# window, what the samples say (one per period), the line after that
THINNED = [
    ("within a window equal stacks are one", 400, [7, 8, 7, 8], [(7, 200), (8, 200)]),
    ("windows stay in order", 200, [7, 8, 8, 7], [(7, 100), (8, 200), (7, 100)]),
    ("time off the CPU as well", 500, [7, 0, 7, 0, 8], [(7, 200), (0, 200), (8, 100)]),
    ("a turn counts where it begins", 200, [7, 8, 8, 8, 7], [(7, 100), (8, 300), (7, 100)]),
]


@pytest.mark.parametrize(
    ("window", "stacks", "expected"), [r[1:] for r in THINNED], ids=[r[0] for r in THINNED]
)
def test_thinned(window: int, stacks: list[int], expected: list[tuple[int, int]]) -> None:
    lines = Lines(START, PERIOD)
    add(lines, [(START + i * PERIOD, stack) for i, stack in enumerate(stacks)])
    lines.finish(START + len(stacks) * PERIOD)
    assert lines.thin(window) == len(expected) + 2  # one of each of the others
    assert turns(lines) == expected


@given(steps=SAMPLES, window=st.integers(1, 2000))
def test_thinning_moves_turns_and_loses_nothing(steps: list[tuple[int, int]], window: int) -> None:
    samples, now = [], START
    for step, stack in steps:
        now += step
        samples.append((now, stack))
    lines = Lines(START, PERIOD)
    add(lines, samples)
    lines.finish(now)
    before, turns_before = Counter[int](), turns(lines)
    for stack, duration in turns_before:
        before[stack] += duration
    lines.thin(window)
    after = Counter[int]()
    for stack, duration in turns(lines):
        after[stack] += duration
    assert after == before
    assert len(turns(lines)) <= len(turns_before)
