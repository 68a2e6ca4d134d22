"""The time lines of all threads, and what keeps them short enough to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mixstack.merge.timeline import Timeline
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
        self._lines: dict[int, Timeline] = {}
        self.window_ns = 0  # 0: nothing had to be thinned

    def add(
        self, threads: Sequence[int], times_ns: Sequence[int], stack_ids: Sequence[int]
    ) -> None:
        """Take samples in order of time, as columns."""
        by_thread = sorted(range(len(threads)), key=threads.__getitem__)
        times_ns = [*map(times_ns.__getitem__, by_thread)]
        stack_ids = [*map(stack_ids.__getitem__, by_thread)]
        begin = 0
        for thread, samples in sorted(Counter(threads).items()):
            end = begin + samples
            line = self._lines.get(thread)
            if line is None:
                line = self._lines[thread] = Timeline(self._start_ns, self._period_ns)
            line.add(times_ns[begin:end], stack_ids[begin:end])
            begin = end
        while self._turns() > TURNS_MAX:
            self._thin(2 * self.window_ns or self._period_ns)

    def finish(self, end_ns: int, names: dict[int, str]) -> tuple[ThreadProfile, ...]:
        """The lines, filled up to `end_ns`, sorted by (pid, tid); `names` by thread."""
        for line in self._lines.values():
            line.finish(end_ns)
        if self.window_ns:
            self._thin(self.window_ns)
        return tuple(
            ThreadProfile(
                *self._thread_ids[thread],
                names[thread],
                self._start_ns,
                end_ns,
                line.stack_ids,
                line.durations_ns,
            )
            for thread, line in sorted(
                self._lines.items(), key=lambda entry: self._thread_ids[entry[0]]
            )
        )

    def _turns(self) -> int:
        return sum(map(len, self._lines.values()))

    def _thin(self, window_ns: int) -> None:
        self.window_ns = window_ns
        for line in self._lines.values():
            line.thin(window_ns)
