"""From the moments at which a thread was sampled to how long it spent in what."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import chain, compress, count
from operator import ne, sub

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

    def add(self, times_ns: Sequence[int], stack_ids: Sequence[int]) -> None:
        """The thread was seen at times in stacks; a time before the last counts as that one."""
        if not times_ns:
            return
        gaps_ns = [*map(sub, times_ns, chain((self._last_ns,), times_ns))]
        if self._period_ns > 0 and min(gaps_ns) > 0:
            late = [*compress(count(), map(self._patience_ns.__lt__, gaps_ns))]
            if late:
                ends_ns = [times_ns[i] - gaps_ns[i] + self._period_ns for i in late]
                times_ns = _inserted(times_ns, late, ends_ns)
                stack_ids = _inserted(stack_ids, late, [OFF_CPU] * len(late))
            self._add_unbroken(times_ns, stack_ids)
        else:
            for time_ns, stack_id in zip(times_ns, stack_ids, strict=True):
                self._add_one(time_ns, stack_id)

    def _add_unbroken(self, times_ns: Sequence[int], stack_ids: Sequence[int]) -> None:
        """All at once: time off the CPU is among the stacks, and each lasts until the next."""
        changed = [*map(ne, stack_ids, chain((self._id,), stack_ids))]
        ends_ns = [*compress(times_ns, changed)]
        turns = [self._id, *compress(stack_ids, changed)]
        self._last_ns = times_ns[-1]
        if not ends_ns:
            return
        self._close(turns[0], ends_ns[0] - self._since_ns)
        self.stack_ids.fromlist(turns[1:-1])
        self.durations_ns.fromlist([*map(sub, ends_ns[1:], ends_ns)])
        self._id, self._since_ns = turns[-1], ends_ns[-1]

    def _add_one(self, time_ns: int, stack_id: int) -> None:
        if time_ns - self._last_ns > self._patience_ns:
            if self._id != OFF_CPU:
                off_ns = self._last_ns + self._period_ns
                self._close(self._id, off_ns - self._since_ns)
                self._id, self._since_ns = OFF_CPU, off_ns
        elif time_ns < self._last_ns:
            time_ns = self._last_ns
        if stack_id != self._id:
            self._close(self._id, time_ns - self._since_ns)
            self._id, self._since_ns = stack_id, time_ns
        self._last_ns = time_ns

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
        """Close a turn for each of these stacks; only the first can be the one before it too."""
        if spent:
            first = next(iter(spent))
            self._close(first, spent.pop(first))
        if spent:
            self.stack_ids.extend(spent)
            self.durations_ns.extend(spent.values())
            spent.clear()

    def _close(self, stack_id: int, duration_ns: int) -> None:
        if duration_ns == 0:
            return
        if self.stack_ids and self.stack_ids[-1] == stack_id:
            self.durations_ns[-1] += duration_ns
        else:
            self.stack_ids.append(stack_id)
            self.durations_ns.append(duration_ns)


def _inserted(values: Sequence[int], before: Sequence[int], others: Sequence[int]) -> list[int]:
    """The values with another one before each of those at the given places."""
    out: list[int] = []
    begin = 0
    for at, other in zip(before, others, strict=True):
        out += values[begin:at]
        out.append(other)
        begin = at
    out += values[begin:]
    return out
