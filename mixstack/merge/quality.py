"""How far a profile can be trusted: one tally over all samples."""

from __future__ import annotations

from collections import Counter

from mixstack.model import Fit, Frame, FrameKind, Losses, MergedStack, Quality


class Tally:
    """Counts joined and named samples; stacks may be added many at a time."""

    def __init__(self) -> None:
        self._fits: Counter[Fit] = Counter()
        self._native_truncated = 0
        self._python_truncated = 0
        self._unresolved: Counter[Frame] = Counter()
        self._unnamed_codes = 0

    def add(self, merged: MergedStack, frames: tuple[Frame, ...], samples: int) -> None:
        """Count `samples` samples of a stack; `frames` are all its frames, hidden ones included."""
        self._fits[merged.fit] += samples
        self._native_truncated += samples * merged.native_truncated
        self._python_truncated += samples * merged.python_truncated
        for frame in frames:
            if frame.resolved:
                continue
            if frame.kind is FrameKind.NATIVE:
                self._unresolved[frame] += samples
            elif frame.kind is FrameKind.PYTHON:
                self._unnamed_codes += samples

    def quality(self, losses: Losses, complete: bool) -> Quality:
        """The sum; `losses` and `complete` are the capture's own."""
        return Quality(
            samples=self._fits.total(),
            fits={fit: self._fits[fit] for fit in Fit if self._fits[fit]},
            native_truncated=self._native_truncated,
            python_truncated=self._python_truncated,
            unresolved_frames=self._unresolved.total(),
            unresolved_distinct=len(self._unresolved),
            unnamed_codes=self._unnamed_codes,
            losses=losses,
            complete=complete,
        )
