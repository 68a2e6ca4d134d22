"""The CPU time that a process has used: what the number of samples is measured against."""

from __future__ import annotations

import os


def cpu_seconds(pid: int) -> float | None:
    """User and system time of all its threads in seconds (proc(5), stat, 14 and 15), or None."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            fields = f.read().rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None
