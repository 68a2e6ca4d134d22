"""From the moments at which a thread was sampled to how long it spent in what."""

from __future__ import annotations

from array import array

OFF_CPU = 0  # the id of the empty stack


class Timeline:
    """The time line of one thread, built up sample by sample in order of time (ns).

    A sample lasts until the next one, if that comes within 1.5 periods; else the thread left the
    CPU: the sample lasts one period, and the rest of the gap is spent in the empty stack.
    thread_name: the caller's to keep.
    """

    def __init__(self, start_ns: int, period_ns: int) -> None:
        self._period_ns = period_ns
        self._patience_ns = period_ns * 3 // 2
        self._id = OFF_CPU  # what the thread has been in since `_since_ns`, seen last at `_last_ns`
        self._since_ns = start_ns
        self._last_ns = start_ns
        self.thread_name = ""
        self.stack_ids = array("I")
        self.durations_ns = array("Q")

    def add(self, time_ns: int, stack_id: int) -> None:
        """The thread was seen in `stack_id`; a moment before the last one counts as that one."""
        if time_ns - self._last_ns > self._patience_ns:
            self._switch(OFF_CPU, self._last_ns + self._period_ns)
        elif time_ns < self._last_ns:
            time_ns = self._last_ns
        if stack_id != self._id:
            self._switch(stack_id, time_ns)
        self._last_ns = time_ns

    def finish(self, end_ns: int) -> None:
        """Fill the line up to `end_ns`, which is not before the last sample."""
        if end_ns - self._last_ns > self._period_ns:
            self._switch(OFF_CPU, self._last_ns + self._period_ns)
        self._close(end_ns)

    def _switch(self, stack_id: int, time_ns: int) -> None:
        if stack_id != self._id:
            self._close(time_ns)
            self._id = stack_id
            self._since_ns = time_ns

    def _close(self, time_ns: int) -> None:
        duration_ns = time_ns - self._since_ns
        if duration_ns == 0:
            return
        if self.stack_ids and self.stack_ids[-1] == self._id:
            self.durations_ns[-1] += duration_ns
        else:
            self.stack_ids.append(self._id)
            self.durations_ns.append(duration_ns)
