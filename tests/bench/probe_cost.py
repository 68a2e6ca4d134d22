"""What the probe costs, by the kernel's own clock: run_time_ns of the program per sample.

The kernel counts every tick on every CPU; ticks in other processes leave at once. What such an
early exit costs is measured by itself and taken off.
"""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

from mixstack.bpf.probe import Probe, Sizes
from mixstack.bpf.wire import TAG_SHIFT, Counter, EntryKind, SampleHead
from mixstack.record.describe import Describer
from mixstack.record.follow import MAPPINGS_MAX, Follower
from mixstack.record.mapping_space import MappingSpace
from mixstack.record.modules import ModuleRegistry
from mixstack.record.session import cache_folder
from mixstack.record.shared import Listener, Shared
from mixstack.record.tables import TableSpace
from mixstack.target.process import TargetProcess

from .report import Section, spread
from .running import target

GOAL_US: Final = 7.0
_STATS: Final = Path("/proc/sys/kernel/bpf_stats_enabled")
_SETTLE_S: Final = 0.3
_HEAD: Final = ctypes.sizeof(SampleHead)


class Window(NamedTuple):
    """A stretch of recording: samples, runs of the program, their time, mean frames per sample."""

    samples: int
    runs: int
    run_ns: int
    native: float
    python: float


class Shape(NamedTuple):
    name: str
    shape: str
    depth: int


BASE: Final = Shape("about 15 native, 10 Python", "mixed", 0)
DEEP: Final = (
    Shape("50 Python frames", "python", 46),
    Shape("200 Python frames", "python", 196),
    Shape("recursion through C, 30 deep", "through-c", 28),
    Shape("100 native frames", "native", 45),
)


@contextmanager
def statistics_on() -> Iterator[None]:
    """The kernel measures BPF programs while this lasts."""
    before = _STATS.read_text()
    _STATS.write_text("1")
    try:
        yield
    finally:
        _STATS.write_text(before)


def measure(pid: int, rate_hz: int, seconds: float) -> Window:
    """Record a process for a while, with nothing but the probe and its tables."""
    process = TargetProcess.open(pid)
    registry = ModuleRegistry(cache_folder())
    for line in process.executable_maps():
        registry.find(process, line)
    rows, pages = registry.table_sizes()
    with ExitStack() as stack:
        probe = Probe(Sizes(MAPPINGS_MAX, pages + (1 << 16), rows + (1 << 20), 1 << 24))
        stack.callback(probe.close)
        describer = Describer(registry, TableSpace(probe.rows, probe.pages))
        listener = Listener(lambda _: None, lambda _: None, lambda _pid, _note: None, print, print)
        shared = Shared(probe, registry, describer, MappingSpace(probe.mappings), listener)
        follower = Follower(process, shared)
        follower.refresh(asked=True)
        probe.start(rate_hz)
        _drain(probe, _SETTLE_S)
        before = (probe.total(Counter.SAMPLES), *_program_runs())
        samples = _drain(probe, seconds)
        after = (probe.total(Counter.SAMPLES), *_program_runs())
    counts, runs, run_ns = (b - a for a, b in zip(before, after, strict=True))
    native, python = _mean_frames(samples)
    return Window(counts, runs, run_ns, native, python)


def _drain(probe: Probe, seconds: float) -> bytes:
    end = time.monotonic() + seconds
    drained = []
    while time.monotonic() < end:
        time.sleep(0.05)
        drained.append(probe.drain().samples)
    return b"".join(drained)


def _program_runs() -> tuple[int, int]:
    """(run_cnt, run_time_ns) of the program of this process that ran: proc(5), fdinfo."""
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


def _mean_frames(samples: bytes) -> tuple[float, float]:
    native, python = [], []
    at = 0
    while at < len(samples) and len(native) < 2000:
        head = SampleHead.from_buffer_copy(samples, at)
        words = memoryview(samples)[at + _HEAD + 8 * head.n_kernel :][: 16 * head.n_chain].cast("Q")
        tags = (word >> TAG_SHIFT for word in words[::2])
        python.append(sum(tag != EntryKind.MARKER for tag in tags))
        native.append(head.n_native)
        at += _HEAD + 8 * head.n_kernel + 16 * (head.n_chain + head.n_native)
    return (statistics.mean(native), statistics.mean(python)) if native else (0.0, 0.0)


def early_exit_ns(python: str, seconds: float) -> float:
    """A tick in a process that is not recorded."""
    with target(python, "idle") as idle, target(python, "mixed"):
        window = measure(idle.pid, 4999, seconds)
    return window.run_ns / max(1, window.runs)


def section(pythons: list[tuple[str, str]], *, seconds: float, repeats: int) -> Section:
    """pythons: (version, executable), the newest last."""
    out = Section(
        "The probe, per sample",
        ("target", "CPython", "rate", "native", "Python", "µs per sample", "goal", "of the CPU"),
    )
    newest, python = pythons[-1]
    cases = chain(
        ((BASE, newest, python, rate) for rate in (99, 999, 4999)),
        ((BASE, version, other, 999) for version, other in pythons[:-1]),
        ((shape, newest, python, 999) for shape in DEEP),
    )
    cost: dict[Shape, tuple[float, Window]] = {}
    with statistics_on():
        exit_ns = early_exit_ns(python, seconds)
        for shape, version, executable, rate in cases:
            with target(executable, shape.shape, shape.depth) as started:
                longer = seconds * (3 if rate < 999 else 1)
                windows = [measure(started.pid, rate, longer) for _ in range(repeats)]
            windows = [w for w in windows if w.samples]
            if not windows:
                raise RuntimeError(f"{shape.name}, CPython {version}: no sample was taken")
            each = spread(
                (w.run_ns - (w.runs - w.samples) * exit_ns) / w.samples / 1000 for w in windows
            )
            goal = ""
            if shape is BASE and rate == 999:
                goal = out.goal(f"probe, {shape.name}, {version}", each.median, GOAL_US, " µs", 1)
            if version == newest and rate == 999:
                cost[shape] = each.median, windows[0]
            share = f"{each.median * rate / 10_000:.2f} %"
            frames = (f"{windows[0].native:.0f}", f"{windows[0].python:.0f}")
            out.add(shape.name, version, f"{rate} Hz", *frames, each.show(digits=1), goal, share)
    out.note = (
        f"By the kernel's own run_time_ns. A tick in another process costs {exit_ns:.0f} ns; those "
        "are taken off. " + _per_frame(cost)
    )
    return out


def _per_frame(cost: dict[Shape, tuple[float, Window]]) -> str:
    base_us, base = cost[BASE]
    few, many, _, native = (cost[shape] for shape in DEEP)
    if many[1].python <= few[1].python or native[1].native <= base.native:
        return "The cost of one more frame is not known: the stacks were cut."
    python_ns = (many[0] - few[0]) * 1000 / (many[1].python - few[1].python)
    extra_python = (native[1].python - base.python) * python_ns
    native_ns = ((native[0] - base_us) * 1000 - extra_python) / (native[1].native - base.native)
    return f"One more Python frame: {python_ns:.0f} ns; one more native frame: {native_ns:.0f} ns."
