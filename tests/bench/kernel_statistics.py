"""The kernel's own account of BPF programs: how often they ran, and for how long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_STATS: Final = Path("/proc/sys/kernel/bpf_stats_enabled")


@contextmanager
def statistics_on() -> Iterator[None]:
    """The kernel measures BPF programs while this lasts."""
    before = _STATS.read_text()
    _STATS.write_text("1")
    try:
        yield
    finally:
        _STATS.write_text(before)


def program_runs() -> tuple[int, int]:
    """(run_cnt, run_time_ns) of the programs that this process has open: proc(5), fdinfo."""
    totals = [0, 0]
    for path in Path("/proc/self/fdinfo").iterdir():
        try:
            text = path.read_text()
        except OSError:
            continue
        found = dict(line.split(":\t") for line in text.splitlines() if ":\t" in line)
        if "prog_id" in found:
            totals[0] += int(found.get("run_cnt", 0))
            totals[1] += int(found.get("run_time_ns", 0))
    return totals[0], totals[1]
