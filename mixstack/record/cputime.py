"""The CPU time that a process has used: what the number of samples is measured against."""

from __future__ import annotations

import time

# clock_getcpuclockid(3), as the kernel's interface has it: the process' id, inverted, above three
# bits that say which time (CPUCLOCK_SCHED: to the nanosecond, of all threads, the ended included).
_PID_SHIFT, _SCHEDULED = 3, 2


def cpu_seconds(pid: int) -> float | None:
    """User and system time of all its threads in seconds, or None: no such process."""
    try:
        return time.clock_gettime(~pid << _PID_SHIFT | _SCHEDULED)
    except OSError:
        return None
