"""How far a profile can be trusted: one tally over all samples."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from mixstack.model import Fit, Frame, FrameKind, Losses, Quality


class Grade(NamedTuple):
    """What one joined and named stack adds to the quality, per sample.

    unnamed: its frames without a symbol, or whose code object could not be read.
    """

    fit: Fit
    native_truncated: bool
    python_truncated: bool
    unnamed: tuple[Frame, ...]


class Tally:
    """Counts samples by the grades of their stacks."""

    def __init__(self) -> None:
        self._fits: Counter[Fit] = Counter()
        self._native_truncated = 0
        self._python_truncated = 0
        self._unnamed: dict[FrameKind, Counter[Frame]] = {kind: Counter() for kind in FrameKind}

    def add(self, grade: Grade, samples: int) -> None:
        """Count `samples` samples of a stack."""
        self._fits[grade.fit] += samples
        self._native_truncated += samples * grade.native_truncated
        self._python_truncated += samples * grade.python_truncated
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
            losses=losses,
            complete=complete,
        )
