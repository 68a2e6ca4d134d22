"""Samples as columns: a million objects would take seconds."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from mixstack.model import RawStack, Segment


class PlainStack(NamedTuple):
    """A stack that was walked to both ends, native frames as columns; outermost first.

    All its native frames but the last, the leaf, are callers, found by unwind tables; all its
    Python frames are complete. addresses: of native frames, to look up. The other fields are as in
    `RawStack`.
    """

    kernel: tuple[int, ...]
    addresses: tuple[int, ...]
    cfas: tuple[int, ...]
    segments: tuple[Segment, ...]
    stack_pointer: int
    marker_span: int | None


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

    def plain(self, sight: int) -> PlainStack | None:
        """The same, if it is plain; quicker: nearly all are."""
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
