"""How long `mixstack merge` takes, and how that grows, beside `perf script`, collapsed."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

from .report import Section
from .running import Usage, mixstack, run, target
from .synthetic import DISTINCT, write_capture

GOALS_S: Final = {1_000_000: 5.0, 10_000_000: 60.0}  # by samples
GOAL_MB: Final = 400
FORMATS: Final = ("speedscope", "collapsed")
COLLAPSE: Final = Path(__file__).with_name("collapse.py")
PERF_HZ: Final = 9999


class Peer(NamedTuple):
    """A recording by perf: its way to walk a stack, how many samples are wanted."""

    graph: str
    samples: int


class Measured(NamedTuple):
    samples: int
    wall_s: float
    cpu_s: float
    rss_mb: float
    data_bytes: int

    def growth(self, smaller: Measured | None) -> str:
        """Of time and memory since that one, whose samples are fewer."""
        if smaller is None:
            return ""
        more, longer = self.samples / smaller.samples, self.wall_s / smaller.wall_s
        return f"×{longer:.1f}, ×{self.rss_mb / smaller.rss_mb:.1f} for ×{more:.1f}"


def section(counts: Sequence[int], peers: Sequence[Peer], python: str) -> Section:
    out = Section(
        "Merge",
        (
            *("tool", "samples", "seconds", "goal", "peak RSS", "goal"),
            *("growth: time, memory", "bytes/sample"),
        ),
        f"mixstack: a synthetic capture at 999 Hz, {DISTINCT:,} distinct stacks of 40 frames in "
        "any order, 8 threads. perf: recordings of a program that computes, at "
        f"{PERF_HZ} Hz, for as long as so many samples take, through `perf script --no-inline` and "
        "a collapsing script of the benchmark's own (20 lines of Python); no other is part of it. "
        "Peak RSS: of the larger of the two.",
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        last: dict[str, Measured] = {}
        for count in counts:
            path = folder / "out.data"
            path.unlink(missing_ok=True)
            write_capture(path, count)
            for format_ in FORMATS:
                words = mixstack("merge", "-f", format_, "-o", str(folder / "out"), str(path))
                found = _measured(count, run(words), path)
                what = f"merge of {count:,} samples, {format_}"
                _show(out, f"merge -f {format_}", what, found, last, GOALS_S.get(count))
            path.unlink()
        for peer in peers:
            data = folder / "perf.data"
            samples = record_with_perf(python, peer, data)
            usage = run(["sh", "-c", _pipe(data, folder / "out")])
            tool = f"perf script, collapsed (--call-graph {peer.graph})"
            found = _measured(samples, usage, data)
            _show(out, tool, f"{tool}, {samples:,} samples", found, last, None)
            data.unlink()
    return out


def _measured(samples: int, usage: Usage, data: Path) -> Measured:
    return Measured(samples, *usage, data.stat().st_size)


def _show(
    out: Section,
    tool: str,
    what: str,
    found: Measured,
    last: dict[str, Measured],
    limit_s: float | None,
) -> None:
    out.values[what] = list(found)
    out.add(
        tool,
        f"{found.samples:,}",
        f"{found.wall_s:.1f} s, CPU {found.cpu_s:.1f} s",
        out.goal(what, found.wall_s, limit_s, " s", 1) if limit_s else "",
        f"{found.rss_mb:.0f} MB",
        out.goal(f"{what}, peak RSS", found.rss_mb, GOAL_MB, " MB", 0) if limit_s else "",
        found.growth(last.get(tool)),
        f"{found.data_bytes / found.samples:,.0f}",
    )
    last[tool] = found


def record_with_perf(python: str, peer: Peer, data: Path) -> int:
    """Record as many samples as are wanted, or a few less; how many they are."""
    cpus = os.cpu_count() or 1
    with ExitStack() as stack:
        pids = [str(stack.enter_context(target(python, "mixed")).pid) for _ in range(cpus)]
        command = ["perf", "record", "-q", "-e", "cpu-clock", "-F", str(PERF_HZ)]
        command += ["--call-graph", peer.graph, "-p", ",".join(pids), "-o", str(data)]
        # perf starts this once it samples
        command += ["--", "sleep", f"{peer.samples / (PERF_HZ * cpus):.2f}"]
        subprocess.run(command, stderr=subprocess.DEVNULL, check=True)
    counted = subprocess.run(
        ["perf", "script", "-F", "tid,time", "-G", "-i", str(data)], capture_output=True, check=True
    )
    return max(1, len(counted.stdout.splitlines()))


def _pipe(data: Path, output: Path) -> str:
    script = ["perf", "script", "--no-inline", "-F", "comm,tid,ip,sym,dso", "-i", str(data)]
    collapse = [sys.executable, str(COLLAPSE)]
    return f"{shlex.join(script)} 2>/dev/null | {shlex.join(collapse)} > {shlex.quote(str(output))}"
