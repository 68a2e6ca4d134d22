"""The time lines of all threads, and what keeps them short enough to look at."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from mixstack.compiled.lines import Lines
from mixstack.model import ThreadProfile

# Turns of all threads together. As a speedscope file these are some hundred megabytes, and more
# than that no browser opens.
TURNS_MAX = 1 << 21


class Timelines:
    """A time line per thread, in order of time (ns), all from `start_ns` on.

    Where they get too long, equal stacks within windows become one, and the windows grow until that
    is enough: durations stay exact, and memory grows with the stacks and not with the samples.
    thread_ids: (pid, tid) by the threads' numbers.
    """

    def __init__(
        self, thread_ids: Sequence[tuple[int, int]], start_ns: int, period_ns: int
    ) -> None:
        self._thread_ids = thread_ids
        self._start_ns = start_ns
        self._period_ns = period_ns
        self._lines = Lines(start_ns, period_ns)
        self.window_ns = 0  # 0: nothing had to be thinned

    def add(self, threads: array[int], times_ns: array[int], stack_ids: array[int]) -> None:
        """Take samples in order of time, as columns."""
        turns = self._lines.add(threads, times_ns, stack_ids)
        while turns > TURNS_MAX:
            self.window_ns = 2 * self.window_ns or max(1, self._period_ns)
            turns = self._lines.thin(self.window_ns)

    def finish(self, end_ns: int, names: dict[int, str]) -> tuple[ThreadProfile, ...]:
        """The lines, filled up to `end_ns`, sorted by (pid, tid); `names` by thread."""
        self._lines.finish(end_ns)
        if self.window_ns:
            self._lines.thin(self.window_ns)
        found = {thread: self._lines.of(thread) for thread in range(len(self._thread_ids))}
        return tuple(
            ThreadProfile(
                *self._thread_ids[thread], names[thread], self._start_ns, end_ns, *columns
            )
            for thread, columns in sorted(
                found.items(), key=lambda entry: self._thread_ids[entry[0]]
            )
            if columns is not None
        )
