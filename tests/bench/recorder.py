"""The recorder: attach to first sample, time to load the probe, CPU share, memory, bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

from mixstack.bpf.probe import Probe, Sizes
from mixstack.capture.reader import read_capture
from tests.live.harness import environment, until

from .report import Section, Spread, spread
from .running import cpu_ns, mixstack, peak_rss_mb, py_spy, run, target

GOAL_CACHED_S: Final = 0.3  # design: where the unwind tables are at hand
GOAL_COLD_S: Final = 1.0
GOAL_COLD_TORCH_S: Final = 4.0
GOAL_SHARE: Final = 0.5  # percent of a core at 99 Hz
GOAL_RSS_MB: Final = 60
GOAL_BYTES: Final = 64
_START_S: Final = 60.0  # at most, on a busy machine
_STEADY_AFTER_S: Final = 3.0
_USUAL: Final = Sizes(mappings=8192, pages=1 << 17, rows=1 << 21, ring_bytes=1 << 20)


def first_sample_s(pid: int, folder: Path) -> float:
    """From the start of the command to the time stamp of the first sample."""
    output = folder / "first.data"
    start = time.monotonic_ns()
    command = mixstack("record", "-p", str(pid), "-d", "0.3", "-r", "999", "-o", str(output))
    subprocess.run(command, check=True, capture_output=True, env=environment())
    return (next(read_capture(str(output)).samples()).time_ns - start) / 1e9


class Attached(NamedTuple):
    title: str
    python: str
    shape: str

    @property
    def goal_cold_s(self) -> float:
        return GOAL_COLD_TORCH_S if self.shape == "torch" else GOAL_COLD_S


def attach_section(wanted: Sequence[Attached], *, repeats: int) -> Section:
    out = Section(
        "Attach to first sample",
        (
            "target",
            "seconds",
            "goal for a cold start",
            "goal for any other",
            "py-spy dump --native",
        ),
        "From the start of the command, Python's own start included, to the first sample's time "
        "stamp. Nothing is kept from one start to the next, so each is a cold one. py-spy: until "
        "it has shown one stack.",
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for each in wanted:
            with target(each.python, each.shape) as started:
                first_sample_s(started.pid, folder)  # what it reads is in memory from then on
                times = [first_sample_s(started.pid, folder) for _ in range(repeats)]
                peer = _py_spy_dump(started.pid)
            out.values[f"attach, {each.title}: seconds"] = times
            found = spread(times)
            cold = out.goal(f"attach, {each.title}", found.median, each.goal_cold_s, " s")
            warm = out.goal(f"attach, {each.title}, again", found.median, GOAL_CACHED_S, " s")
            out.add(each.title, found.show(" s"), cold, warm, peer)
        load = probe_load()
        out.add("(loading the probe alone)", load.show(" s"), "", "", "")
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
    """share: percent of a core, second by second; bytes per sample; peak RSS in MB.

    per_cpu_s: samples that a second of the recorder's CPU time drains and writes.
    """

    share: Spread
    bytes_per_sample: float
    samples: int
    per_cpu_s: float
    rss_mb: float


def steady(whom: Sequence[str], rate_hz: int, seconds: float, folder: Path) -> Steady:
    """A recording, looked at from a while after its start until its end."""
    output = folder / "steady.data"
    output.unlink(missing_ok=True)
    process = subprocess.Popen(
        mixstack("record", *whom, "-r", str(rate_hz), "-o", str(output)),
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    try:
        until(output.exists, _START_S)
        time.sleep(_STEADY_AFTER_S)
        at, size, spent = time.monotonic_ns(), output.stat().st_size, cpu_ns(process.pid)
        shares = []
        while time.monotonic_ns() < at + seconds * 1e9:
            cpu, begin = cpu_ns(process.pid), time.monotonic_ns()
            time.sleep(1)
            shares.append((cpu_ns(process.pid) - cpu) / (time.monotonic_ns() - begin) * 100)
        spent, end = cpu_ns(process.pid) - spent, time.monotonic_ns()
        rss_mb = peak_rss_mb(process.pid)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()
    taken = [sample.time_ns for sample in read_capture(str(output)).samples()]
    samples = sum(at <= time_ns for time_ns in taken)
    drained = sum(at <= time_ns < end for time_ns in taken)
    grown = output.stat().st_size - size
    return Steady(spread(shares), grown / max(1, samples), samples, drained / (spent / 1e9), rss_mb)


class Crowd(NamedTuple):
    """Targets that are recorded at once: what they do, how many; all processes or just that one."""

    title: str
    shape: str
    depth: int = 0
    count: int = 1
    everything: bool = False


def crowds() -> list[Crowd]:
    cpus = os.cpu_count() or 1
    return [
        Crowd("mixed", "mixed"),
        Crowd("recursion through C", "through-c", 28),
        Crowd(f"record -a, mixed on each of {cpus} CPUs", "mixed", 0, cpus, True),
    ]


def steady_section(
    python: str, wanted: Sequence[Crowd], rates_hz: Sequence[int], *, seconds: float
) -> Section:
    out = Section(
        "The recorder",
        (
            *("target", "rate", "% of a core", "goal", "peak RSS", "goal", "bytes/sample", "goal"),
            *("samples/s", "samples per CPU second"),
        ),
        f"From {_STEADY_AFTER_S:.0f} s after the start, for {seconds:.0f} s, second by second. The "
        "highest second is that of the first sample in the kernel: the kernel's symbols are read. "
        "Samples per CPU second: what the recorder drains and writes in a second of its own CPU "
        "time, so how many a core of its own could follow.",
    )
    with tempfile.TemporaryDirectory() as name:
        for crowd in wanted:
            with ExitStack() as stack:
                started = [
                    stack.enter_context(target(python, crowd.shape, crowd.depth))
                    for _ in range(crowd.count)
                ]
                whom = ("-a",) if crowd.everything else ("-p", str(started[0].pid))
                for rate in rates_hz:
                    found = steady(whom, rate, seconds, Path(name))
                    _show(out, f"recorder, {crowd.title}, {rate} Hz", crowd, rate, found, seconds)
    return out


def _show(
    out: Section, what: str, crowd: Crowd, rate_hz: int, found: Steady, seconds: float
) -> None:
    share = size = rss = ""
    if rate_hz == 99:
        share = out.goal(f"{what}, share", found.share.median, GOAL_SHARE, " %")
    if rate_hz == 999:
        size = out.goal(f"{what}, size", found.bytes_per_sample, GOAL_BYTES, " B", 0)
    if rate_hz <= 999:
        rss = out.goal(f"{what}, peak RSS", found.rss_mb, GOAL_RSS_MB, " MB", 0)
    out.values[what] = [*found.share, *found[1:]]
    out.add(
        crowd.title,
        f"{rate_hz} Hz",
        found.share.show(),
        share,
        f"{found.rss_mb:.0f} MB",
        rss,
        f"{found.bytes_per_sample:.0f} ({found.samples} samples)",
        size,
        f"{found.samples / seconds:,.0f}",
        f"{found.per_cpu_s:,.0f}",
    )
