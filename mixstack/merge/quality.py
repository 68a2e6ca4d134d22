"""How far a profile can be trusted: one tally over all samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple

from mixstack.model import (
    Fit,
    Frame,
    FrameKind,
    Losses,
    NativeEnd,
    NativeFrame,
    Quality,
    RawStack,
    Step,
    Stop,
)

# Ends that come after a walk that died has started again.
_WENT_ON: Final = (NativeEnd.ROOT, NativeEnd.TRUNCATED, NativeEnd.TAIL_CALLS)


class Grade(NamedTuple):
    """What one joined and named stack adds to the quality, per sample.

    unnamed: its frames without a symbol, or whose code object could not be read. stop: where its
    native walk died, if it did.
    """

    fit: Fit
    native_truncated: bool
    python_truncated: bool
    unnamed: tuple[Frame, ...]
    stop: Stop | None


def find_stop(stack: RawStack, name: Callable[[NativeFrame], Frame]) -> Stop | None:
    """Where the native walk of a stack died, if it did; `name` gives a native frame its name."""
    if stack.end_pc is None:
        return None
    place = name(NativeFrame(stack.end_pc, 0, Step.LEAF))
    went_on = stack.native_end in _WENT_ON
    reason = stack.end_why if went_on else stack.end_why or stack.native_end
    return Stop(place.file or place.name, reason, went_on)


class Tally:
    """Counts samples by the grades of their stacks."""

    def __init__(self) -> None:
        self._fits: Counter[Fit] = Counter()
        self._native_truncated = 0
        self._python_truncated = 0
        self._stops: Counter[Stop] = Counter()
        self._unnamed: dict[FrameKind, Counter[Frame]] = {kind: Counter() for kind in FrameKind}

    def add(self, grade: Grade, samples: int) -> None:
        """Count `samples` samples of a stack."""
        self._fits[grade.fit] += samples
        self._native_truncated += samples * grade.native_truncated
        self._python_truncated += samples * grade.python_truncated
        if grade.stop is not None:
            self._stops[grade.stop] += samples
        for frame in grade.unnamed:
            self._unnamed[frame.kind][frame] += samples

    def quality(self, losses: Losses, complete: bool) -> Quality:
        """The sum; `losses` and `complete` are the capture's own."""
        return Quality(
            samples=self._fits.total(),
            fits={fit: self._fits[fit] for fit in Fit if self._fits[fit]},
            native_truncated=self._native_truncated,
            python_truncated=self._python_truncated,
            unresolved_frames=self._unnamed[FrameKind.NATIVE].total(),
            unresolved_distinct=len(self._unnamed[FrameKind.NATIVE]),
            unnamed_codes=self._unnamed[FrameKind.PYTHON].total(),
            stops=dict(self._stops),
            losses=losses,
            complete=complete,
        )
