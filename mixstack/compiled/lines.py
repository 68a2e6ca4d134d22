"""From the moments at which threads were sampled to how long they spent in what."""

from __future__ import annotations

import weakref
from array import array

from mixstack.compiled.library import library


class Lines:
    """A time line per thread, of turns: how long it was in one stack. All times in ns.

    A sample lasts until the thread's next one, if that comes within 1.5 periods; else the thread
    left the CPU: the sample lasts one period, and the rest of the gap is spent in stack 0.
    """

    def __init__(self, start_ns: int, period_ns: int) -> None:
        """All lines begin at `start_ns`."""
        self._library = library()
        self._handle = self._library.ms_lines_new(start_ns, period_ns)
        if not self._handle:
            raise MemoryError
        weakref.finalize(self, self._library.ms_lines_free, self._handle)
        self._stack_ids = 0

    def add(self, threads: array[int], times_ns: array[int], stack_ids: array[int]) -> int:
        """Take samples in order of time, as columns of u32, u64, u32; how many turns there are.

        A sample whose time is before its thread's last counts as of that moment.
        """
        self._stack_ids = max(self._stack_ids, max(stack_ids, default=0) + 1)
        columns = [column.buffer_info()[0] for column in (threads, times_ns, stack_ids)]
        return self._known(self._library.ms_lines_add(self._handle, *columns, len(threads)))

    def finish(self, end_ns: int) -> None:
        """Fill the lines up to `end_ns`, which is not before the last sample."""
        if not self._library.ms_lines_finish(self._handle, end_ns):
            raise MemoryError

    def thin(self, window_ns: int) -> int:
        """Make equal stacks within windows of that length one; how many turns are left.

        A turn counts where it begins; the first turns of a window's stacks stay in order.
        """
        return self._known(self._library.ms_lines_thin(self._handle, window_ns, self._stack_ids))

    def of(self, thread: int) -> tuple[array[int], array[int]] | None:
        """Stack ids (u32) and durations (u64) of a thread's turns; None: it was never sampled."""
        count = self._library.ms_lines_turns(self._handle, thread, None, None)
        if count < 0:
            return None
        stack_ids, durations_ns = array("I", bytes(4 * count)), array("Q", bytes(8 * count))
        self._library.ms_lines_turns(
            self._handle, thread, stack_ids.buffer_info()[0], durations_ns.buffer_info()[0]
        )
        return stack_ids, durations_ns

    def _known(self, count: int) -> int:
        if count < 0:
            raise MemoryError
        return count
