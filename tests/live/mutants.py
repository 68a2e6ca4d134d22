"""Wrong versions of a legal stack: the mistakes that a bad join would make."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from mixstack.model import Frame, FrameKind


class Mutant(NamedTuple):
    """`how`: what was done, with the index of the frame it was done to."""

    how: tuple[str, int]
    frames: tuple[Frame, ...]


def mutants(frames: Sequence[Frame]) -> Iterator[Mutant]:
    """Outermost first, plumbing removed. A mutant always differs from the stack it came from."""
    frames = tuple(frames)
    python = [i for i, frame in enumerate(frames) if frame.kind is FrameKind.PYTHON]
    for outer, inner in pairwise(python):
        between = frames[outer + 1 : inner]
        if frames[outer][:3] != frames[inner][:3]:
            swapped = (*frames[:outer], frames[inner], *between, frames[outer])
            yield Mutant(("exchanged", inner), swapped + frames[inner + 1 :])
        if between:
            early = (*frames[: outer + 1], frames[inner], *between, *frames[inner + 1 :])
            yield Mutant(("one slot too far out", inner), early)
            yield Mutant(("native parents dropped", inner), frames[: outer + 1] + frames[inner:])
            late = (*frames[:outer], *between, frames[outer], *frames[inner:])
            yield Mutant(("one slot too far in", outer), late)
    for index in python[:-1]:
        yield Mutant(("lost", index), frames[:index] + frames[index + 1 :])
