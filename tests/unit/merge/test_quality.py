"""Where native walks died: of which samples it is said, and what."""

from __future__ import annotations

import pytest

from mixstack.merge.quality import Grade, Tally, find_stop
from mixstack.model import (
    ChainEnd,
    Fit,
    Frame,
    FrameKind,
    Losses,
    NativeEnd,
    NativeFrame,
    RawStack,
    Stop,
)

LIBRARY = Frame(FrameKind.NATIVE, "dot_kernel", "/lib/libblas.so")
ANONYMOUS = Frame(FrameKind.NATIVE, "[anon]", resolved=False)


def stack(end: NativeEnd, end_pc: int | None, why: NativeEnd | None = None) -> RawStack:
    return RawStack((), (), end, (), ChainEnd.ROOT, 0x7000, torn=False, end_pc=end_pc, end_why=why)


def name(frame: NativeFrame) -> Frame:
    return LIBRARY if frame.lookup_pc == 0x1000 else ANONYMOUS


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(stack(NativeEnd.ROOT, None), None, id="a whole walk"),
        pytest.param(stack(NativeEnd.TRUNCATED, None), None, id="cut by the frame limit only"),
        pytest.param(
            stack(NativeEnd.NO_RULE, 0x1000),
            Stop("/lib/libblas.so", NativeEnd.NO_RULE, False),
            id="cut in a file",
        ),
        pytest.param(
            stack(NativeEnd.NO_TABLE, 0x2000),
            Stop("[anon]", NativeEnd.NO_TABLE, False),
            id="cut in memory without a file",
        ),
        pytest.param(
            stack(NativeEnd.ROOT, 0x1000, NativeEnd.NO_TABLE),
            Stop("/lib/libblas.so", NativeEnd.NO_TABLE, True),
            id="started again",
        ),
        pytest.param(
            stack(NativeEnd.ROOT, 0x1000),
            Stop("/lib/libblas.so", None, True),
            id="started again, in a recording that does not say why it had to",
        ),
        pytest.param(
            stack(NativeEnd.TRUNCATED, 0x1000, NativeEnd.NO_RULE),
            Stop("/lib/libblas.so", NativeEnd.NO_RULE, True),
            id="started again, then cut by the frame limit",
        ),
        pytest.param(
            stack(NativeEnd.NO_RULE, 0x1000, NativeEnd.NO_MAPPING),
            Stop("/lib/libblas.so", NativeEnd.NO_MAPPING, False),
            id="cut, and its frame pointer led nowhere",
        ),
    ],
)
def test_a_stop(raw: RawStack, expected: Stop | None) -> None:
    assert find_stop(raw, name) == expected


def test_stops_are_counted_by_sample() -> None:
    tally = Tally()
    cut, whole = Stop("[anon]", NativeEnd.NO_TABLE, False), None
    for stop, samples in ((cut, 3), (whole, 5), (cut, 4)):
        grade = Grade(Fit.PARTIAL, False, False, unnamed=(), stop=stop)
        tally.add(grade, samples)
    quality = tally.quality(Losses(), complete=True)
    assert (quality.samples, quality.stops) == (12, {cut: 7})
