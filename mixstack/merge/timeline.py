"""From the moments at which a thread was sampled to how long it spent in what."""

from __future__ import annotations

from array import array

OFF_CPU = 0  # the id of the empty stack


class Timeline:
    """The time line of one thread, built up sample by sample in order of time (ns).

    A sample lasts until the next one, if that comes within 1.5 periods; else the thread left the
    CPU: the sample lasts one period, and the rest of the gap is spent in the empty stack.
    """

    def __init__(self, start_ns: int, period_ns: int) -> None:
        self._period_ns = period_ns
        self._last_ns = start_ns
        self._last_id = OFF_CPU
        self.stack_ids = array("I")
        self.durations_ns = array("Q")

    def add(self, time_ns: int, stack_id: int) -> None:
        """The thread was seen in `stack_id`; a moment before the last one counts as that one."""
        self._spend(max(time_ns - self._last_ns, 0), limit_ns=self._period_ns * 3 // 2)
        self._last_ns = max(time_ns, self._last_ns)
        self._last_id = stack_id

    def finish(self, end_ns: int) -> None:
        """Fill the line up to `end_ns`, which is not before the last sample."""
        self._spend(end_ns - self._last_ns, limit_ns=self._period_ns)
        self._last_ns = end_ns
        self._last_id = OFF_CPU

    def _spend(self, gap_ns: int, limit_ns: int) -> None:
        lasts = gap_ns if gap_ns <= limit_ns else self._period_ns
        self._append(self._last_id, lasts)
        self._append(OFF_CPU, gap_ns - lasts)

    def _append(self, stack_id: int, duration_ns: int) -> None:
        if duration_ns == 0:
            return
        if self.stack_ids and self.stack_ids[-1] == stack_id:
            self.durations_ns[-1] += duration_ns
        else:
            self.stack_ids.append(stack_id)
            self.durations_ns.append(duration_ns)
