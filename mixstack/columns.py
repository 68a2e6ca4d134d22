"""Samples as columns: a million objects would take seconds."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import NamedTuple

from mixstack.model import RawStack


class SampleColumns(NamedTuple):
    """All samples of a capture in order of time, as columns of one length.

    times_ns: CLOCK_MONOTONIC. threads: indices into `thread_ids`, of (pid, tid). sights: indices
    into `seen`, of thread name and stack; equal stacks are one object.
    """

    times_ns: array[int]
    threads: array[int]
    sights: array[int]
    thread_ids: Sequence[tuple[int, int]]
    seen: Sequence[tuple[str, RawStack]]
