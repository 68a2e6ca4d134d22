"""Samples as the columns that a capture gives."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from mixstack.capture.stacks import COMM, FLAGS, STACK_AT
from mixstack.columns import Part, SampleColumns
from mixstack.model import RawStack, Sample
from tests.encode import encode_sample


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

    def raw(self, sight: int) -> bytes:
        return raw(self.stack(sight))


def raw(stack: RawStack) -> bytes:
    """The stack as it lies in a record, without the thread's name, and its flags, if any."""
    record = encode_sample(Sample(0, 1, 1, 0, "", stack))
    flags = record[4] & FLAGS
    key = record[STACK_AT:]
    return key[: COMM.start] + key[COMM.stop :] + (bytes((flags,)) if flags else b"")


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
