"""How much longer a target takes while it is profiled: beside bare runs of the same process.

Turns are interleaved, so that what else happens on the machine hits all alike.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
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
    """What a unit of work took."""

    cpu_s: float
    wall_s: float

    def relative_to(self, one: Took, other: Took) -> Took:
        """As multiples of the mean of two others."""
        return Took(
            2 * self.cpu_s / (one.cpu_s + other.cpu_s),
            2 * self.wall_s / (one.wall_s + other.wall_s),
        )


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
        f"CPython {version}, a program of calls, classes, generators and callbacks from C. Each "
        f"turn is divided by the mean of the bare turns before and after it; {repeats} rounds; a "
        f"turn is the best of {units} units of work. A stop by ptrace (py-spy) shows in the wall "
        "time only.",
    )
    ratios: dict[str, list[Took]] = {}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        bare = stack.enter_context(target(python, "work"))
        stubbed = stack.enter_context(target(python, "work", 0, "-X", "perf"))
        stack.callback(Path(f"/tmp/perf-{stubbed.pid}.map").unlink, missing_ok=True)
        best(stubbed, 2)
        before = best(bare, units)
        for _ in range(repeats):
            for title, profiled, attach in _profilers(bare, stubbed, Path(name)):
                with attach:
                    took = best(profiled, units)
                after_it = best(bare, units)
                ratios.setdefault(title, []).append(took.relative_to(before, after_it))
                before = after_it
    for title, found in ratios.items():
        cpu, wall = spread(t.cpu_s for t in found), spread(t.wall_s for t in found)
        out.add(title, _times(cpu), _goal(out, title, cpu), _times(wall))
    if py_spy() is None:
        out.add("py-spy", "not installed", "", "")
    return out


def _profilers(
    bare: Target, stubbed: Target, folder: Path
) -> Iterator[tuple[str, Target, AbstractContextManager[None]]]:
    """What is compared: its name, the process that works, and how to attach to it."""
    yield "none", bare, nullcontext()
    for rate in GOALS:
        yield f"mixstack, {rate} Hz", bare, recorded(bare.pid, rate, folder)
    yield "-X perf (nobody records)", stubbed, nullcontext()
    spy = py_spy()
    if spy is not None:
        yield "py-spy, 100 Hz", bare, spied(spy, bare.pid, folder, "-r", "100")
        yield (
            "py-spy --native, 100 Hz",
            bare,
            spied(spy, bare.pid, folder, "-r", "100", "--native"),
        )


def _goal(out: Section, title: str, ratio: Spread) -> str:
    for rate, limit in GOALS.items():
        if title == f"mixstack, {rate} Hz":
            return out.goal(f"slowdown, {rate} Hz", ratio.median, limit, "×", 3)
    return ""


def _times(ratio: Spread) -> str:
    return f"{ratio.median:.3f}× ({ratio.low:.3f}–{ratio.high:.3f})"
