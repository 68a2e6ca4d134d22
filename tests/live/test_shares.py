"""What each function took, by its own clock, is what the profile says, as far as chance allows."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from unittest.mock import patch

import pytest

from mixstack.bpf.perf import CpuClock
from mixstack.model import Frame, FrameKind

from ..interpreters import SUPPORTED, Build
from .harness import Stack, record, running, stacks
from .shares import binomial_bounds, wrong_shares

PROGRAM = Path(__file__).with_name("shares_program.py")
RATE_HZ = 1999
CPU_S, LONGEST_S = 1.5, 30.0
LEAST_SAMPLES = 0.5 * CPU_S * RATE_HZ
IN_C = ("in_zlib", "in_hashlib")
CALLED_BACK = {"in_key": "sorting", "in_callback": "calling_back"}  # with C in between
RIGHT_PLACE = 0.98  # of the samples: entering and leaving are moments like any other
# A recording of 3000 samples tells a shift of this size from chance.
FALSIFIED = 0.06


@pytest.mark.live
@pytest.mark.parametrize("build", SUPPORTED)
def test_each_share_is_what_the_clock_says(build: Build, tmp_path: Path) -> None:
    counts, found, truth = _recorded(build, tmp_path)
    assert counts.total() >= LEAST_SAMPLES
    assert wrong_shares(counts, truth) == []
    for part in IN_C:
        inside = [stack for stack in found if _part(stack.frames, truth) == part]
        in_c = sum(_innermost_python(stack.frames) < len(stack.frames) - 1 for stack in inside)
        assert in_c >= RIGHT_PLACE * len(inside)
    for part, caller in CALLED_BACK.items():
        inside = [stack for stack in found if _part(stack.frames, truth) == part]
        through = sum(_through_c(stack.full, caller, part) for stack in inside)
        assert through >= RIGHT_PLACE * len(inside)

    for more, less in (("in_key", "in_zlib"), ("in_hashlib", "in_python")):
        shift = FALSIFIED * sum(truth.values())
        falsified = {**truth, more: truth[more] + shift, less: truth[less] - shift}
        assert {wrong.part for wrong in wrong_shares(counts, falsified)} & {more, less}


def _recorded(build: Build, folder: Path) -> tuple[Counter[str], list[Stack], dict[str, float]]:
    """Samples by part, all stacks, and the seconds of each part."""
    folder.chmod(0o755)
    truth, go = folder / "truth", folder / "go"

    def clock(program_fd: int, rate_hz: int) -> CpuClock:
        made = CpuClock(program_fd, rate_hz)
        go.touch()
        return made

    with (
        running(build.command(PROGRAM, str(CPU_S), truth, go)) as target,
        patch("mixstack.bpf.probe.CpuClock", clock),
    ):
        capture = record(target.pid, folder / "out.data", seconds=LONGEST_S, rate_hz=RATE_HZ)
    took = json.loads(truth.read_text(encoding="utf-8"))
    found = list(stacks(capture))
    parts = (_part(stack.frames, took) for stack in found)
    return Counter(part for part in parts if part is not None), found, took


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
