"""The recorder: attach to first sample, time to load the probe, CPU share, memory, bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

from mixstack.bpf.probe import Probe, Sizes
from mixstack.capture.reader import read_capture
from tests.live.harness import environment

from .report import Section, Spread, spread
from .running import cpu_ns, mixstack, peak_rss_mb, py_spy, run, target

GOAL_CACHED_S: Final = 0.3
GOAL_COLD_S: Final = 1.0
GOAL_SHARE: Final = 0.5  # percent of a core at 99 Hz
GOAL_RSS_MB: Final = 60
GOAL_BYTES: Final = 64
_STEADY_AFTER_S: Final = 3.0
_USUAL: Final = Sizes(mappings=8192, pages=1 << 17, rows=1 << 21, ring_bytes=1 << 20)


def first_sample_s(pid: int, folder: Path, cache: Path) -> float:
    """From the start of the command to the time stamp of the first sample."""
    output = folder / "first.data"
    start = time.monotonic_ns()
    command = mixstack("record", "-p", str(pid), "-d", "0.3", "-r", "999", "-o", str(output))
    run(command, XDG_CACHE_HOME=str(cache))
    return (next(read_capture(str(output)).samples()).time_ns - start) / 1e9


def attach_section(pythons: dict[str, str], shapes: dict[str, str], *, repeats: int) -> Section:
    """pythons, shapes: by the name of the target, its interpreter and what it does."""
    out = Section(
        "Attach to first sample",
        ("target", "tables", "seconds", "goal", "py-spy dump --native"),
        "From the start of the command, Python's own start included, to the first sample's time "
        "stamp. py-spy: until it has shown one stack.",
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for title, python in pythons.items():
            with target(python, shapes[title]) as started:
                warm = folder / "warm"
                first_sample_s(started.pid, folder, warm)
                cold, cached = [], []
                for turn in range(repeats):
                    cold.append(first_sample_s(started.pid, folder, folder / f"{title}-{turn}"))
                    cached.append(first_sample_s(started.pid, folder, warm))
                peer = _py_spy_dump(started.pid)
            for tables, times, limit in (
                ("cold", spread(cold), GOAL_COLD_S),
                ("cached", spread(cached), GOAL_CACHED_S),
            ):
                goal = out.goal(f"attach, {title}, tables {tables}", times.median, limit, " s")
                out.add(title, tables, times.show(" s"), goal, peer)
        load = probe_load()
        out.add("(loading the probe alone)", "", load.show(" s"), "", "")
    return out


def _py_spy_dump(pid: int) -> str:
    program = py_spy()
    if program is None:
        return "not installed"
    try:
        return f"{run([program, 'dump', '--native', '-p', str(pid)]).wall_s:.2f} s"
    except RuntimeError:
        return "failed"


def probe_load() -> Spread:
    """Seconds to load the probe and to map its memory."""
    times = []
    for _ in range(5):
        start = time.monotonic()
        Probe(_USUAL).close()
        times.append(time.monotonic() - start)
    return spread(times)


class Steady(NamedTuple):
    """share: percent of a core, second by second; bytes per sample; samples; peak RSS in MB."""

    share: Spread
    bytes_per_sample: float
    samples: int
    rss_mb: float


def steady(pid: int, rate_hz: int, seconds: float, folder: Path) -> Steady:
    """A recording, looked at from a while after its start until its end."""
    output = folder / "steady.data"
    process = subprocess.Popen(
        mixstack("record", "-p", str(pid), "-r", str(rate_hz), "-o", str(output)),
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    time.sleep(_STEADY_AFTER_S)
    at, size = time.monotonic_ns(), output.stat().st_size
    shares = []
    while time.monotonic_ns() < at + seconds * 1e9:
        cpu, begin = cpu_ns(process.pid), time.monotonic_ns()
        time.sleep(1)
        shares.append((cpu_ns(process.pid) - cpu) / (time.monotonic_ns() - begin) * 100)
    rss_mb = peak_rss_mb(process.pid)
    os.kill(process.pid, signal.SIGINT)
    process.wait()
    samples = sum(sample.time_ns >= at for sample in read_capture(str(output)).samples())
    grown = output.stat().st_size - size
    return Steady(spread(shares), grown / max(1, samples), samples, rss_mb)


def steady_section(python: str, shapes: dict[str, int], *, seconds: float) -> Section:
    """shapes: what the targets do, with their depths."""
    out = Section(
        "The recorder",
        ("target", "rate", "% of a core", "goal", "peak RSS", "goal", "bytes/sample", "goal"),
        f"From {_STEADY_AFTER_S:.0f} s after the start, for {seconds:.0f} s, second by second. The "
        "highest second is that of the first sample in the kernel: the kernel's symbols are read.",
    )
    with tempfile.TemporaryDirectory() as name:
        for shape, depth in shapes.items():
            with target(python, shape, depth) as started:
                for rate in (99, 999):
                    found = steady(started.pid, rate, seconds, Path(name))
                    what = f"recorder, {shape}, {rate} Hz"
                    limited = rate == 99
                    out.add(
                        shape,
                        f"{rate} Hz",
                        found.share.show(),
                        out.goal(f"{what}, share", found.share.median, GOAL_SHARE, " %")
                        if limited
                        else "",
                        f"{found.rss_mb:.0f} MB",
                        out.goal(f"{what}, peak RSS", found.rss_mb, GOAL_RSS_MB, " MB", 0),
                        f"{found.bytes_per_sample:.0f} ({found.samples} samples)",
                        out.goal(f"{what}, size", found.bytes_per_sample, GOAL_BYTES, " B", 0)
                        if not limited
                        else "",
                    )
    return out
