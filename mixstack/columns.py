"""Samples as columns: a million objects would take seconds."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from mixstack.model import RawStack


class Sights(Protocol):
    """What was seen: a stack, under a thread's name; numbered as they came."""

    def name(self, sight: int) -> str:
        """The thread's name."""
        ...

    def stack_number(self, sight: int) -> int:
        """Equal for sights of one stack."""
        ...

    def stack(self, sight: int) -> RawStack:
        """The stack; made anew each time, so that nobody keeps them all."""
        ...

    def raw(self, sight: int) -> bytes:
        """The stack as `compiled.joins` takes it."""
        ...


class Part(NamedTuple):
    """Some samples in order of time, as columns of one length.

    times_ns: CLOCK_MONOTONIC. threads: indices into `SampleColumns.thread_ids`. sights: numbers of
    `SampleColumns.seen`.
    """

    times_ns: array[int]
    threads: array[int]
    sights: array[int]


class SampleColumns(NamedTuple):
    """All samples of a capture, part by part in order of time; parts can be asked for once.

    thread_ids: (pid, tid) by thread.
    """

    parts: Iterable[Part]
    thread_ids: Sequence[tuple[int, int]]
    seen: Sights
