"""From the moments at which a thread was sampled to how long it spent in what."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

OFF_CPU = 0  # the id of the empty stack


class Timeline:
    """The time line of one thread, built up from its samples in order of time (ns).

    A sample lasts until the next one, if that comes within 1.5 periods; else the thread left the
    CPU: the sample lasts one period, and the rest of the gap is spent in the empty stack.
    """

    def __init__(self, start_ns: int, period_ns: int) -> None:
        self._period_ns = period_ns
        self._patience_ns = period_ns * 3 // 2
        self._id = OFF_CPU  # what the thread has been in since `_since_ns`, seen last at `_last_ns`
        self._since_ns = start_ns
        self._last_ns = start_ns
        self.stack_ids = array("I")
        self.durations_ns = array("Q")

    def __len__(self) -> int:
        return len(self.stack_ids)

    def add(self, samples: Iterable[tuple[int, int]]) -> None:
        """The thread was seen at a time in a stack; one before the last counts as at that one."""
        last_ns, since_ns, current = self._last_ns, self._since_ns, self._id
        patience_ns = self._patience_ns
        stack_ids, durations_ns = self.stack_ids, self.durations_ns
        closed = stack_ids[-1] if stack_ids else None
        for time_ns, stack_id in samples:
            if time_ns - last_ns > patience_ns:
                if current != OFF_CPU:
                    off_ns = last_ns + self._period_ns
                    self._close(current, off_ns - since_ns)
                    closed = stack_ids[-1]
                    current, since_ns = OFF_CPU, off_ns
            elif time_ns < last_ns:
                time_ns = last_ns
            if stack_id != current:
                # As `_close` has it, without a call for each sample.
                if current == closed:
                    durations_ns[-1] += time_ns - since_ns
                elif time_ns > since_ns:
                    stack_ids.append(current)
                    durations_ns.append(time_ns - since_ns)
                    closed = current
                current, since_ns = stack_id, time_ns
            last_ns = time_ns
        self._last_ns, self._since_ns, self._id = last_ns, since_ns, current

    def finish(self, end_ns: int) -> None:
        """Fill the line up to `end_ns`, which is not before the last sample."""
        if end_ns - self._last_ns > self._period_ns and self._id != OFF_CPU:
            off_ns = self._last_ns + self._period_ns
            self._close(self._id, off_ns - self._since_ns)
            self._id, self._since_ns = OFF_CPU, off_ns
        self._close(self._id, end_ns - self._since_ns)

    def thin(self, window_ns: int) -> None:
        """Make equal stacks within windows of that length one; in order of their first turns."""
        stack_ids, durations_ns = self.stack_ids, self.durations_ns
        self.stack_ids, self.durations_ns = array("I"), array("Q")
        spent: dict[int, int] = {}
        end_ns = now_ns = 0
        for stack_id, duration_ns in zip(stack_ids, durations_ns, strict=True):
            if now_ns >= end_ns:
                self._close_all(spent)
                end_ns = now_ns - now_ns % window_ns + window_ns
            spent[stack_id] = spent.get(stack_id, 0) + duration_ns
            now_ns += duration_ns
        self._close_all(spent)

    def _close_all(self, spent: dict[int, int]) -> None:
        for stack_id, duration_ns in spent.items():
            self._close(stack_id, duration_ns)
        spent.clear()

    def _close(self, stack_id: int, duration_ns: int) -> None:
        if duration_ns == 0:
            return
        if self.stack_ids and self.stack_ids[-1] == stack_id:
            self.durations_ns[-1] += duration_ns
        else:
            self.stack_ids.append(stack_id)
            self.durations_ns.append(duration_ns)
