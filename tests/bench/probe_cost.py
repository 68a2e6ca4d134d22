"""What the probe costs, by the kernel's own clock: run_time_ns of the program per sample.

The kernel counts every tick on every CPU; ticks in other processes leave at once. What such an
early exit costs is measured by itself and taken off.
"""

from __future__ import annotations

import ctypes
import os
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final, NamedTuple

from mixstack.bpf.probe import Probe
from mixstack.bpf.wire import TAG_SHIFT, Counter, EntryKind, SampleHead
from mixstack.record.describe import Describer
from mixstack.record.follow import Follower
from mixstack.record.mapping_space import MappingSpace
from mixstack.record.modules import ModuleRegistry
from mixstack.record.options import RecordOptions
from mixstack.record.shared import Listener, Shared
from mixstack.record.sizing import mapped_files, sizes_for
from mixstack.record.tables import TableSpace
from mixstack.target.process import TargetProcess

from ..interpreters import Build
from .kernel_statistics import program_runs, statistics_on
from .read_floor import read_ns
from .report import Section, Spread, spread
from .running import target

GOAL_US: Final = 5.0
GOAL_PYTHON_NS: Final = 100
GOAL_NATIVE_NS: Final = 150
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


BASE: Final = Shape("15 native, 10 Python", "mixed", 0)
PYTHON: Final = tuple(Shape(f"{n} Python", "python", n - 4) for n in (10, 50, 100, 500))
NATIVE: Final = tuple(
    Shape(f"{n} native", "native", depth) for n, depth in ((15, 3), (60, 25), (200, 95))
)
THROUGH_C: Final = Shape("recursion through C, 30 deep", "through-c", 28)
RATES_HZ: Final = (99, 999, 4999, 9999)
LOADERS: Final = ("libbpf", "bcc")


class Case(NamedTuple):
    shape: Shape
    build: Build
    rate_hz: int = 999
    loader: str = "libbpf"


def cases(builds: Sequence[Build], quick: bool) -> list[Case]:
    """builds: the newest last, on which all is measured; on the others the usual stack is."""
    newest = builds[-1]
    found = [Case(BASE, newest, rate) for rate in RATES_HZ]
    found.append(Case(BASE, newest, 999, "bcc"))
    if quick:
        return [*found, *(Case(s, newest) for s in (*PYTHON[1:3], *NATIVE[:2]))]
    found += [Case(BASE, build) for build in builds[:-1]]
    deep = [*PYTHON, *NATIVE, THROUGH_C]
    return found + [Case(shape, newest, 999, loader) for loader in LOADERS for shape in deep]


def measure(pid: int, rate_hz: int, seconds: float, loader: str = "libbpf") -> Window:
    """Record a process for a while, with nothing but the probe and its tables."""
    process = TargetProcess.open(pid)
    registry = ModuleRegistry()
    for line in process.executable_maps():
        registry.find(process, line)
    options = RecordOptions(pid, (), os.devnull, seconds, rate_hz, buffer_mb=16)
    with ExitStack() as stack:
        probe = Probe(sizes_for(options, mapped_files([process])), loader)
        stack.callback(probe.close)
        describer = Describer(registry, TableSpace(probe.rows, probe.pages))
        listener = Listener(lambda _: None, lambda _: None, lambda _pid, _note: None, print, print)
        shared = Shared(probe, registry, describer, MappingSpace(probe.mappings), listener)
        follower = Follower(process, shared)
        follower.refresh(asked=True)
        probe.start(rate_hz)
        _drain(probe, _SETTLE_S)
        before = (probe.total(Counter.SAMPLES), *program_runs())
        samples = _drain(probe, seconds)
        after = (probe.total(Counter.SAMPLES), *program_runs())
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


def section(wanted: Sequence[Case], *, seconds: float, repeats: int) -> Section:
    out = Section(
        "The probe, per sample",
        (
            *("stack", "CPython", "rate", "loader", "native", "Python", "µs per sample", "goal"),
            *("floor, µs", "of the CPU"),
        ),
    )
    newest = wanted[0].build
    cost: dict[Case, tuple[float, Window]] = {}
    with statistics_on():
        exit_ns = early_exit_ns(newest.executable, seconds)
        floor_ns = read_ns(newest.executable, 4999, seconds)
        for case in wanted:
            each, window = _cost_us(case, exit_ns, seconds, repeats)
            name = f"{case.shape.name}, {case.build.id}, {case.rate_hz} Hz, {case.loader}"
            out.values[f"{name}: µs"] = list(each)
            cost[case] = each.median, window
            goal = ""
            if case.shape is BASE and case.rate_hz == 999 and case.loader == "libbpf":
                goal = out.goal(f"probe, {name}", each.median, GOAL_US, " µs", 1)
            out.add(
                case.shape.name,
                case.build.id,
                f"{case.rate_hz} Hz",
                case.loader,
                f"{window.native:.0f}",
                f"{window.python:.0f}",
                each.show(digits=1),
                goal,
                f"{window.python * floor_ns / 1000:.1f}",
                f"{each.median * case.rate_hz / 10_000:.2f} %",
            )
    out.note = (
        f"By the kernel's own run_time_ns. A tick in another process costs {exit_ns:.0f} ns; those "
        f"are taken off. Floor: one read of the process' memory for each Python frame, of its code "
        "object (frames themselves and the C stack are read a kilobyte at a time), "
        f"{floor_ns:.0f} ns each as measured by a program that does nothing else. "
        + _per_frame(out, newest, cost)
    )
    return out


def _cost_us(case: Case, exit_ns: float, seconds: float, repeats: int) -> tuple[Spread, Window]:
    with target(case.build.executable, case.shape.shape, case.shape.depth) as started:
        longer = seconds * (3 if case.rate_hz < 999 else 1)
        found = [measure(started.pid, case.rate_hz, longer, case.loader) for _ in range(repeats)]
    windows = [window for window in found if window.samples]
    if not windows:
        raise RuntimeError(f"{case}: no sample was taken")
    each = spread((w.run_ns - (w.runs - w.samples) * exit_ns) / w.samples / 1000 for w in windows)
    return each, windows[0]


def _per_frame(out: Section, build: Build, cost: dict[Case, tuple[float, Window]]) -> str:
    """What a frame more costs, from the second and the third depth of each kind."""

    def between(few: Shape, many: Shape) -> tuple[float, float, float] | None:
        if Case(few, build) not in cost or Case(many, build) not in cost:
            return None
        (us, window), (more_us, more) = cost[Case(few, build)], cost[Case(many, build)]
        return more_us - us, more.python - window.python, more.native - window.native

    python = between(*PYTHON[1:3])
    native = between(*NATIVE[:2])
    if python is None or native is None:
        return ""
    if python[1] <= 0 or native[2] <= 0:
        return "The cost of one more frame is not known: the stacks were cut."
    python_ns = python[0] * 1000 / python[1]
    native_ns = (native[0] * 1000 - native[1] * python_ns) / native[2]
    goals = (
        out.goal("probe, one more Python frame", python_ns, GOAL_PYTHON_NS, " ns", 0),
        out.goal("probe, one more native frame", native_ns, GOAL_NATIVE_NS, " ns", 0),
    )
    return (
        f"One more Python frame: {python_ns:.0f} ns (goal {goals[0]}); one more native frame: "
        f"{native_ns:.0f} ns (goal {goals[1]})."
    )
