"""Samples as the columns that a capture gives."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from mixstack.columns import Part, PlainStack, SampleColumns
from mixstack.model import ChainEnd, NativeEnd, RawStack, Sample, Step


class Seen:
    """What the samples saw; stacks that are one object are one."""

    def __init__(self) -> None:
        self.sights: list[tuple[str, RawStack]] = []

    def number(self, name: str, stack: RawStack) -> int:
        for number, (other_name, other) in enumerate(self.sights):
            if name == other_name and stack is other:
                return number
        self.sights.append((name, stack))
        return len(self.sights) - 1

    def name(self, sight: int) -> str:
        return self.sights[sight][0]

    def stack_number(self, sight: int) -> int:
        return id(self.sights[sight][1])

    def stack(self, sight: int) -> RawStack:
        return self.sights[sight][1]

    def plain(self, sight: int) -> PlainStack | None:
        return plain_stack(self.stack(sight))


def plain_stack(stack: RawStack) -> PlainStack | None:
    """The same stack, if it is plain."""
    leaf = len(stack.native) - 1
    steps = [frame.step for frame in stack.native]
    if (
        (stack.native_end, stack.chain_end) != (NativeEnd.ROOT, ChainEnd.ROOT)
        or steps != [Step.CALLER] * leaf + [Step.LEAF]
        or any(frame.incomplete for segment in stack.segments for frame in segment.frames)
        or stack.torn
        or stack.counted
        or stack.end_pc is not None
        or stack.stack_pointer is None
    ):
        return None
    return PlainStack(
        stack.kernel,
        tuple(frame.lookup_pc for frame in stack.native if frame.lookup_pc is not None),
        tuple(frame.cfa for frame in stack.native),
        stack.segments,
        stack.stack_pointer,
        stack.marker_span,
    )


def columns(samples: Sequence[Sample]) -> SampleColumns:
    """Samples in order of time."""
    threads: dict[tuple[int, int], int] = {}
    seen = Seen()
    part = Part(array("Q"), array("I"), array("I"))
    for s in samples:
        part.times_ns.append(s.time_ns)
        part.threads.append(threads.setdefault((s.pid, s.tid), len(threads)))
        part.sights.append(seen.number(s.thread_name, s.stack))
    return SampleColumns([part], list(threads), seen)
