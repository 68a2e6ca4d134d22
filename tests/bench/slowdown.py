"""How much longer a target takes while it is profiled: beside bare runs of the same process.

Turns are interleaved, so that what else happens on the machine hits all alike.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from tests.live.harness import Target

from .report import Section, Spread, spread
from .running import after, attached, mixstack, py_spy, target

GOALS: Final = {99: 1.005, 999: 1.02}
_ATTACH_S: Final = 0.8  # py-spy does not tell when it samples
_START_S: Final = 0.3  # from the file's creation to the first sample, and then some
_LONG: Final = "3600"


class Took(NamedTuple):
    cpu_s: float
    wall_s: float


def unit(target: Target) -> Took:
    """One unit of the target's work."""
    process = target.process
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    cpu, wall = process.stdout.readline().split()
    return Took(float(cpu), float(wall))


def best(target: Target, units: int) -> Took:
    """The least disturbed of several units, by CPU and by wall time each."""
    took = [unit(target) for _ in range(units)]
    return Took(min(t.cpu_s for t in took), min(t.wall_s for t in took))


@contextmanager
def recorded(pid: int, rate_hz: int, folder: Path) -> Iterator[None]:
    output = folder / f"{rate_hz}.data"
    output.unlink(missing_ok=True)
    command = mixstack("record", "-p", str(pid), "-r", str(rate_hz), "-o", str(output))
    with attached(command, output.exists) as process:
        time.sleep(_START_S)
        yield
        assert process.poll() is None


@contextmanager
def spied(program: str, pid: int, folder: Path, *options: str) -> Iterator[None]:
    output = folder / "spied.txt"
    command = [program, "record", "-p", str(pid), "-d", _LONG, "-f", "raw", "-o", str(output)]
    with attached([*command, *options], after(_ATTACH_S)):
        yield


def section(python: str, version: str, *, repeats: int, units: int) -> Section:
    out = Section(
        "The target's slowdown",
        ("profiler", "CPU time", "goal", "wall time"),
        f"CPython {version}, a program of calls, classes, generators and callbacks from C. Its "
        f"times are divided by those of the bare turn before; {repeats} turns, in each the best of "
        f"{units} units of work. A stop by ptrace (py-spy) shows in the wall time only.",
    )
    cpu: dict[str, list[float]] = {}
    wall: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        bare = stack.enter_context(target(python, "work"))
        with_map = stack.enter_context(target(python, "work", 0, "-X", "perf"))
        stack.callback(Path(f"/tmp/perf-{with_map.pid}.map").unlink, missing_ok=True)
        spy = py_spy()
        for each in (bare, with_map):
            best(each, 2)

        def note(title: str, found: Took, base: Took) -> None:
            cpu.setdefault(title, []).append(found.cpu_s / base.cpu_s)
            wall.setdefault(title, []).append(found.wall_s / base.wall_s)

        for _ in range(repeats):
            note("none (a second bare turn)", best(bare, units), best(bare, units))
            for rate in GOALS:
                base = best(bare, units)
                with recorded(bare.pid, rate, folder):
                    note(f"mixstack, {rate} Hz", best(bare, units), base)
            note("-X perf (nobody records)", best(with_map, units), best(bare, units))
            if spy is not None:
                for title, options in (
                    ("py-spy, 100 Hz", ("-r", "100")),
                    ("py-spy --native, 100 Hz", ("-r", "100", "--native")),
                ):
                    base = best(bare, units)
                    with spied(spy, bare.pid, folder, *options):
                        note(title, best(bare, units), base)
    for title in cpu:
        ratio, wall_ratio = spread(cpu[title]), spread(wall[title])
        out.add(title, _times(ratio), _goal(out, title, ratio), _times(wall_ratio))
    if spy is None:
        out.add("py-spy", "not installed", "", "")
    return out


def _goal(out: Section, title: str, ratio: Spread) -> str:
    for rate, limit in GOALS.items():
        if title == f"mixstack, {rate} Hz":
            return out.goal(f"slowdown, {rate} Hz", ratio.median, limit, "×", 3)
    return ""


def _times(ratio: Spread) -> str:
    return f"{ratio.median:.3f}× ({ratio.low:.3f}–{ratio.high:.3f})"
