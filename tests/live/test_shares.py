"""What each function took, by its own clock, is what the profile says, as far as chance allows."""

from __future__ import annotations

import json
import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple
from unittest.mock import patch

import pytest

from mixstack.bpf.perf import Event, SamplingClock
from mixstack.model import Frame, FrameKind

from ..interpreters import SUPPORTED, Build
from .harness import Stack, record, running, stacks
from .shares import binomial_bounds, wrong_shares
from .test_grammar import most_of

PROGRAM = Path(__file__).with_name("shares_program.py")
RATE_HZ = 1999
CPU_S, LONGEST_S = 1.5, 30.0
ATTEMPTS = 4
LEAST_SAMPLES = 0.4 * CPU_S * RATE_HZ
IN_C = ("in_zlib", "in_hashlib")
CALLED_BACK = {"in_key": "sorting", "in_callback": "calling_back"}  # with C in between
ELSEWHERE = 0.02  # of the samples: entering and leaving are moments like any other
# A recording of 3000 samples tells a shift of this size from chance.
FALSIFIED = 0.06
# A call that took so many times as long as its part's median was kept from the CPU, by another
# process or by the machine's host: its clock may have gone on while nothing ran and nothing ticked.
UNDISTURBED = 1.3


class Call(NamedTuple):
    """One call of a part: begin and end on CLOCK_MONOTONIC, and its thread's CPU time."""

    part: str
    begin_ns: int
    end_ns: int
    cpu_s: float


@pytest.mark.live
@pytest.mark.alone
@pytest.mark.parametrize("build", SUPPORTED)
def test_each_share_is_what_the_clock_says(build: Build, tmp_path: Path) -> None:
    for attempt in range(ATTEMPTS):
        found, all_calls = _recorded(build, tmp_path / str(attempt))
        calls = _undisturbed(all_calls)
        truth: Counter[str] = Counter()
        for call in calls:
            truth[call.part] += call.cpu_s
        shown = [(_part(s.frames, truth), _call_at(s.sample.time_ns, calls)) for s in found]
        inside = [(part, call.part) for part, call in shown if call is not None]
        assert [pair for pair in inside if pair[0] not in (None, pair[1])] == []
        counts = Counter(part for part, _ in inside if part is not None)
        assert len(inside) - counts.total() <= most_of(len(inside), ELSEWHERE)
        if counts.total() >= LEAST_SAMPLES:
            break
    else:
        raise AssertionError("the machine was never quiet enough")
    assert wrong_shares(counts, truth) == []
    for part in IN_C:
        inside_it = [stack for stack in found if _part(stack.frames, truth) == part]
        in_c = sum(_innermost_python(stack.frames) < len(stack.frames) - 1 for stack in inside_it)
        assert len(inside_it) - in_c <= most_of(len(inside_it), ELSEWHERE)
    for part, caller in CALLED_BACK.items():
        inside_it = [stack for stack in found if _part(stack.frames, truth) == part]
        through = sum(_through_c(stack.full, caller, part) for stack in inside_it)
        assert len(inside_it) - through <= most_of(len(inside_it), ELSEWHERE)

    for more, less in (("in_key", "in_zlib"), ("in_hashlib", "in_python")):
        shift = min(FALSIFIED * truth.total(), truth[less])
        falsified = {**truth, more: truth[more] + shift, less: truth[less] - shift}
        assert {wrong.part for wrong in wrong_shares(counts, falsified)} & {more, less}


def _recorded(build: Build, folder: Path) -> tuple[list[Stack], list[Call]]:
    """All stacks, and all calls in order of time."""
    folder.mkdir()
    folder.chmod(0o755)
    folder.parent.chmod(0o755)
    truth, go = folder / "truth", folder / "go"

    def clock(program_fd: int, rate_hz: int, event: Event) -> SamplingClock:
        made = SamplingClock(program_fd, rate_hz, event)
        go.touch()
        return made

    with (
        running(build.command(PROGRAM, str(CPU_S), truth, go)) as target,
        patch("mixstack.bpf.probe.SamplingClock", clock),
    ):
        capture = record(target.pid, folder / "out.data", seconds=LONGEST_S, rate_hz=RATE_HZ)
    calls = [Call(*call) for call in json.loads(truth.read_text(encoding="utf-8"))]
    return list(stacks(capture)), calls


def _undisturbed(calls: Sequence[Call]) -> list[Call]:
    took: dict[str, list[int]] = {}
    for call in calls:
        took.setdefault(call.part, []).append(call.end_ns - call.begin_ns)
    most = {part: UNDISTURBED * median(times) for part, times in took.items()}
    return [call for call in calls if call.end_ns - call.begin_ns <= most[call.part]]


def _call_at(time_ns: int, calls: Sequence[Call]) -> Call | None:
    at = bisect_right(calls, time_ns, key=lambda call: call.begin_ns) - 1
    return calls[at] if at >= 0 and time_ns < calls[at].end_ns else None


def _part(frames: tuple[Frame, ...], parts: Mapping[str, float]) -> str | None:
    """The innermost function that is one of the parts."""
    python = (f for f in reversed(frames) if f.kind is FrameKind.PYTHON and f.name in parts)
    return next((f.name for f in python if f.file == str(PROGRAM)), None)


def _innermost_python(frames: tuple[Frame, ...]) -> int:
    return max(i for i, frame in enumerate(frames) if frame.kind is FrameKind.PYTHON)


def _through_c(frames: tuple[Frame, ...], outer: str, inner: str) -> bool:
    """Whether C calls the one from the other, evaluators not counted."""
    names = [frame.name for frame in frames]
    if outer not in names:
        return False
    between = frames[names.index(outer) : len(names) - names[::-1].index(inner)]
    return any(f.kind is FrameKind.NATIVE and "_PyEval" not in f.name for f in between)


def test_the_bounds_are_the_binomial_ones() -> None:
    # From the sums of 20! / (k! (20 - k)!) / 2^20: at most 2, and at most 3, in twenty tosses.
    assert binomial_bounds(20, 0.5, 2 * 211 / 2**20 + 1e-9) == (3, 17)
    assert binomial_bounds(20, 0.5, 2 * 211 / 2**20 - 1e-9) == (2, 18)
    assert binomial_bounds(10, 0.0, 0.01) == (0, 0)
    assert binomial_bounds(10, 1.0, 0.01) == (10, 10)


def test_chance_alone_is_hardly_ever_called_wrong() -> None:
    truth = {"a": 0.5, "b": 0.3, "c": 0.15, "d": 0.05}
    chance = random.Random(1)
    drawn = (Counter(chance.choices(list(truth), list(truth.values()), k=500)) for _ in range(300))
    assert sum(bool(wrong_shares(counts, truth)) for counts in drawn) <= 2


def test_a_part_that_is_never_seen_is_wrong() -> None:
    assert [w.part for w in wrong_shares({"a": 1000}, {"a": 0.98, "b": 0.02})] == ["a", "b"]
