"""The columns of many samples, in order of time, the most of them on disk."""

from __future__ import annotations

import os
import weakref
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import accumulate, chain, islice
from operator import le
from typing import Final, NamedTuple

# Samples that are put in order at once, and such runs that are kept in memory: some 25 MB.
_RUN: Final = 1 << 17
_IN_MEMORY: Final = 10


class Run(NamedTuple):
    """Samples as columns of one length; see `mixstack.columns.Part`."""

    times_ns: array[int]
    threads: array[int]
    cpus: array[int]
    sights: array[int]

    def cut(self, at: int) -> tuple[Run, Run]:
        """The first `at` samples, and the others."""
        return Run(*(column[:at] for column in self)), Run(*(column[at:] for column in self))

    def joined(self, later: Run) -> Run:
        return Run(*(one + other for one, other in zip(self, later, strict=True)))

    def in_order(self) -> Run:
        """The same in order of time; those of the same nanosecond stay as they are."""
        times = self.times_ns
        if all(map(le, times, islice(times, 1, None))):
            return self
        order = sorted(range(len(times)), key=times.__getitem__)
        return Run(*(array(column.typecode, map(column.__getitem__, order)) for column in self))

    def merged(self, later: Run) -> Run:
        """Both in order of time; each is."""
        if not self.times_ns:
            return later
        overlap, rest = later.cut(bisect_right(later.times_ns, self.times_ns[-1]))
        return self.joined(overlap).in_order().joined(rest)


def _empty() -> Run:
    return Run(array("Q"), array("I"), array("I"), array("I"))


class SampleRuns:
    """Samples as they come, kept in runs, each of them in order of time."""

    def __init__(self) -> None:
        self._open = _empty()
        self._firsts_ns: list[int] = []  # of each closed run
        self._samples = 0  # of all closed runs
        self._in_memory: dict[int, Run] = {}  # closed runs by their numbers
        self._disk = _Disk()

    def __len__(self) -> int:
        return self._samples + len(self._open.times_ns)

    def open_run(self) -> Run:
        """The columns to append to; to be asked for anew after some thousand samples."""
        if len(self._open.times_ns) >= _RUN:
            self._close(self._open.in_order())
            self._open = _empty()
        return self._open

    def in_time_order(self) -> Iterator[Run]:
        """All samples in order of time; those of the same nanosecond as they came.

        Runs overlap but a little: a sample waits only while a later run has an earlier one.
        """
        last = self._open.in_order()
        firsts_ns = chain(last.times_ns[:1], reversed(self._firsts_ns[1:]))
        later_ns = [*accumulate(firsts_ns, min)][::-1]  # of runs 1, 2, ... and all behind them
        waiting = _empty()
        for number in range(len(self._firsts_ns)):
            waiting = waiting.merged(self._closed(number))
            if number < len(later_ns):
                ready, waiting = waiting.cut(bisect_left(waiting.times_ns, later_ns[number]))
                yield ready
        yield waiting.merged(last)

    def _close(self, run: Run) -> None:
        number = len(self._firsts_ns)
        self._firsts_ns.append(run.times_ns[0])
        self._samples += len(run.times_ns)
        if number < _IN_MEMORY or not self._disk.put(number, run):
            self._in_memory[number] = run

    def _closed(self, number: int) -> Run:
        run = self._in_memory.get(number)
        return self._disk.get(number) if run is None else run


class _Disk:
    """Runs in a file without a name, which is gone with this object."""

    def __init__(self) -> None:
        self._fd: int | None = None
        self._end = 0
        self._places: dict[int, tuple[int, int]] = {}  # offset, samples

    def put(self, number: int, run: Run) -> bool:
        """Whether there was room for it."""
        try:
            if self._fd is None:
                self._fd = self._create()
            data = b"".join(run)
            if os.pwrite(self._fd, data, self._end) < len(data):
                return False
        except OSError:
            return False
        self._places[number] = self._end, len(run.times_ns)
        self._end += len(data)
        return True

    def get(self, number: int) -> Run:
        assert self._fd is not None
        offset, samples = self._places[number]
        run = _empty()
        for column in run:
            size = samples * column.itemsize
            column.frombytes(os.pread(self._fd, size, offset))
            offset += size
        return run

    def _create(self) -> int:
        from tempfile import TemporaryFile  # takes longer to import than small captures to read

        with TemporaryFile() as file:
            fd = os.dup(file.fileno())
        weakref.finalize(self, os.close, fd)
        return fd
