"""What each tool says of a program whose CPU shares are known, beside threads that only wait."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from tests.live.harness import environment, running

from ..interpreters import Build
from .peers import Counted, Kind, Tool, command, read
from .report import Section

PROGRAM: Final = Path(__file__).with_name("busy_and_idle.py")
SHARES: Final = Path(__file__).parent.parent / "live" / "shares_program.py"
IDLE: Final = "idle_in_"  # how the functions of the idle threads begin
GOAL_LOST: Final = 1.0  # percent: begin and end of the program are no part of the truth
_ENOUGH: Final = 2000  # samples: below, a start or an end between two ticks is much
_ATTACH_S: Final = 2.0
_LATE_S: Final = 90.0  # py-spy falls behind, and samples on after the program


class Run(NamedTuple):
    """A tool on an interpreter with these options; what it is called in the table."""

    title: str
    build: Build
    tool: Tool
    options: tuple[str, ...] = ()


class Judged(NamedTuple):
    """error: the largest difference of a part's share, in percent of all; None: no Python names.

    due: how many samples the parts' CPU time makes; busy: those that were in a part, or for a tool
    without Python names all. idle: samples of threads that only waited. native: frames per sample
    of C, and how many of them have a name.
    """

    error: float | None
    due: float
    busy: int
    idle: int
    native: float
    named: float

    @property
    def lost(self) -> float:
        """Percent of the samples that were due."""
        return 100 * (1 - self.busy / self.due)


def judge(stacks: Iterable[Counted], truth: dict[str, float], rate_hz: int) -> Judged:
    """truth: CPU seconds by part."""
    parts: Counter[str] = Counter()
    kinds: Counter[Kind] = Counter()
    samples = idle = python = 0
    for frames, count in stacks:
        names = [frame.name.rpartition(".")[2] for frame in frames if frame.kind is Kind.PYTHON]
        samples += count
        python += count * bool(names)
        if any(name.startswith(IDLE) for name in names):
            idle += count
            continue
        part = next((name for name in reversed(names) if name in truth), None)
        if part is not None:
            parts[part] += count
        for frame in frames:
            kinds[frame.kind] += count
    seconds, busy = sum(truth.values()), parts.total()
    error = None
    if busy:
        shares = {part: took / seconds for part, took in truth.items()}
        error = max(abs(100 * (parts[part] / busy - share)) for part, share in shares.items())
    native = kinds[Kind.NATIVE] + kinds[Kind.NAMELESS]
    return Judged(
        error,
        rate_hz * seconds,
        busy if python else samples,
        idle,
        native / max(1, samples - idle),
        kinds[Kind.NATIVE] / max(1, native),
    )


def recorded(run: Run, rate_hz: int, seconds: float, folder: Path) -> Judged:
    """One recording of the whole program, from before its work begins until it ends."""
    truth, go, output = folder / "truth", folder / "go", folder / "recorded"
    for path in (truth, go, output):
        path.unlink(missing_ok=True)
    program = run.build.command(*run.options, PROGRAM, SHARES, str(seconds), truth, go)
    with running(program) as target:
        words = command(run.tool, run.build, target.pid, rate_hz, output)
        assert words is not None
        recorder = subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()
        )
        try:
            time.sleep(_ATTACH_S)
            assert recorder.poll() is None, f"{run.title} ended before it began"
            go.touch()
            target.process.wait(20 * seconds)
            recorder.wait(_LATE_S)
        finally:
            recorder.kill()
            recorder.wait()
        calls: Counter[str] = Counter()
        for part, _begin, _end, took in json.loads(truth.read_text(encoding="utf-8")):
            calls[part] += took
        try:
            return judge(read(run.tool, output), dict(calls), rate_hz)
        finally:
            Path(f"/tmp/perf-{target.pid}.map").unlink(missing_ok=True)


def runs(build: Build, newest: Build | None) -> list[Run]:
    """newest: one with the standard library's profiler."""
    stubs = ("-X", "perf")
    found = [
        Run("mixstack", build, Tool.MIXSTACK),
        Run("py-spy", build, Tool.PY_SPY),
        Run("py-spy --native", build, Tool.PY_SPY_NATIVE),
        Run("perf record -g, -X perf", build, Tool.PERF_FP, stubs),
        Run("perf --call-graph dwarf", build, Tool.PERF_DWARF),
        Run("perf --call-graph dwarf, -X perf", build, Tool.PERF_DWARF, stubs),
    ]
    if newest is not None:
        found += [
            Run("mixstack", newest, Tool.MIXSTACK),
            Run("profiling.sampling", newest, Tool.SAMPLING),
        ]
    return [run for run in found if command(run.tool, run.build, 1, 1, Path())]


def section(wanted: list[Run], rates_hz: dict[int, float]) -> Section:
    """rates_hz: with the CPU seconds that the program works for."""
    out = Section(
        "Truth",
        (
            *("tool", "CPython", "rate", "largest error of a share", "samples", "lost"),
            *("idle counted as busy", "native frames per sample", "of these with a name"),
        ),
        "A program whose parts (Python, generators, recursion, zlib, OpenSSL, callbacks through C) "
        "take their own CPU time, and 12 threads that wait: in a lock, a sleep, a read, a select. "
        "Samples: of those that the CPU time of the parts makes at this rate. Lost below zero: "
        "more than that were counted. Chance alone gives an error of about 1 % at 1,000 samples.",
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        for rate_hz, seconds in rates_hz.items():
            for run in wanted:
                found = recorded(run, rate_hz, seconds, folder)
                goal = ""
                if run.tool is Tool.MIXSTACK and found.due >= _ENOUGH:
                    what = f"truth, CPython {run.build.id}, {rate_hz} Hz, lost"
                    goal = " " + out.goal(what, found.lost, GOAL_LOST, " %")
                error = "no Python names" if found.error is None else f"{found.error:.1f} %"
                out.values[f"{run.title}, {run.build.id}, {rate_hz} Hz"] = [
                    -1.0 if found.error is None else found.error,
                    *map(float, found[1:]),
                ]
                out.add(
                    run.title,
                    run.build.id,
                    f"{rate_hz} Hz",
                    error,
                    f"{found.busy:,} of {found.due:,.0f}",
                    f"{found.lost:.1f} %{goal}",
                    f"{found.idle:,}",
                    f"{found.native:.1f}",
                    f"{100 * found.named:.0f} %",
                )
    return out
