"""How much longer a program takes while it is profiled: beside bare turns of the same process.

A turn is a fixed amount of work, timed inside the program. Profilers come one after the other,
round by round, with a bare turn between any two, so that what else happens here hits all alike.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from tests.live.harness import Target

from ..interpreters import Build
from .packages import programs, python
from .peers import Tool, command
from .report import Section, geometric_mean
from .running import after, attached, serving

WORKLOAD: Final = str(Path(__file__).with_name("workload.py"))
GOALS: Final = {99: 1.005, 999: 1.02}
_ATTACH_S: Final = 0.8  # peers do not tell when they sample
_START_S: Final = 0.8  # from the capture's creation to the first sample, and all names looked up
_CONTROL: Final = "bare again"


class Program(NamedTuple):
    """loops: turns of its work that take some 0.4 s, so that even at 99 Hz there are samples."""

    name: str
    loops: int
    idle: int = 0

    @property
    def title(self) -> str:
        return f"{self.name}, {self.idle} idle threads" if self.idle else self.name


PROGRAMS: Final = (
    Program("richards", 5),
    Program("deltablue", 90),
    Program("generators", 7),
    Program("raytrace", 1),
    Program("json_loads", 400),
    Program("regex_compile", 2),
    Program("sqlalchemy_declarative", 2),
    Program("async_tree", 1),
    Program("numpy", 80),
    Program("zlib", 350),
)
WITH_IDLE_THREADS: Final = tuple(Program("deltablue", 90, idle) for idle in (0, 50, 150))
OF_3_15: Final = (Program("richards", 5), Program("json_loads", 400), Program("deltablue", 90, 50))


class Profiler(NamedTuple):
    """tool: None if nobody records; perf: the program runs with -X perf."""

    title: str
    tool: Tool | None = None
    rate_hz: int = 0
    perf: bool = False


PROFILERS: Final = (
    Profiler(_CONTROL),
    Profiler("mixstack, 99 Hz", Tool.MIXSTACK, 99),
    Profiler("mixstack, 999 Hz", Tool.MIXSTACK, 999),
    Profiler("-X perf, nobody records", perf=True),
    Profiler("-X perf, perf record -g, 99 Hz", Tool.PERF_FP, 99, perf=True),
    Profiler("perf --call-graph dwarf, 99 Hz", Tool.PERF_DWARF, 99),
    Profiler("py-spy, 99 Hz", Tool.PY_SPY, 99),
    Profiler("py-spy --native, 99 Hz", Tool.PY_SPY_NATIVE, 99),
)
ON_3_15: Final = (
    Profiler(_CONTROL),
    Profiler("mixstack, 99 Hz", Tool.MIXSTACK, 99),
    Profiler("mixstack, 999 Hz", Tool.MIXSTACK, 999),
    Profiler("profiling.sampling, 99 Hz", Tool.SAMPLING, 99),
    Profiler("profiling.sampling, 999 Hz", Tool.SAMPLING, 999),
)


class Took(NamedTuple):
    """What a turn took."""

    cpu_s: float
    wall_s: float


class Times(NamedTuple):
    """Of one program under one profiler, as multiples of bare turns, and the single turns."""

    cpu: float
    wall: float
    turns: tuple[Took, ...]


def turn(target: Target) -> Took:
    """One turn of the target's work."""
    process = target.process
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    cpu, wall = process.stdout.readline().split()
    return Took(float(cpu), float(wall))


@contextmanager
def recorded(build: Build, pid: int, profiler: Profiler, folder: Path) -> Iterator[None]:
    """The profiler records, if it is one that does, while the block lasts."""
    if profiler.tool is None:
        yield
        return
    output = folder / "recorded"
    output.unlink(missing_ok=True)
    words = command(profiler.tool, build, pid, profiler.rate_hz, output)
    assert words is not None
    ours = profiler.tool is Tool.MIXSTACK
    with attached(words, output.exists if ours else after(_ATTACH_S)) as process:
        if ours:
            time.sleep(_START_S)
        yield
        assert process.poll() is None, f"{profiler.title} ended by itself"


def measure(
    build: Build, program: Program, profilers: Sequence[Profiler], rounds: int
) -> dict[str, Times]:
    """By the profiler's title."""
    words = (WORKLOAD, str(programs()), program.name, str(program.loops), str(program.idle))
    bare_turns: list[Took] = []
    turns: list[tuple[str, Took]] = []  # each lies between two bare ones
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        bare = stack.enter_context(serving(start(build, *words)))
        turn(bare)  # what happens once in a process is no part of it
        stubs = bare
        if any(profiler.perf for profiler in profilers):
            stubs = stack.enter_context(serving(start(build, "-X", "perf", *words)))
            stack.callback(Path(f"/tmp/perf-{stubs.pid}.map").unlink, missing_ok=True)
            turn(stubs)
        for number in range(rounds):
            shift = number % len(profilers)  # none always follows the same one
            for profiler in (*profilers[shift:], *profilers[:shift]):
                bare_turns.append(turn(bare))
                target = stubs if profiler.perf else bare
                with recorded(build, target.pid, profiler, Path(name)):
                    turns.append((profiler.title, turn(target)))
        bare_turns.append(turn(bare))
    return {profiler.title: times(profiler.title, turns, bare_turns) for profiler in profilers}


def times(title: str, turns: Sequence[tuple[str, Took]], bare: Sequence[Took]) -> Times:
    """A profiler's turns, each beside the two bare ones around it: what drifts is in all three."""
    cpu, wall, found = [], [], []
    for (of, took), (before, behind) in zip(turns, pairwise(bare), strict=True):
        if of == title:
            cpu.append(took.cpu_s / statistics.mean((before.cpu_s, behind.cpu_s)))
            wall.append(took.wall_s / statistics.mean((before.wall_s, behind.wall_s)))
            found.append(took)
    return Times(statistics.median(cpu), statistics.median(wall), tuple(found))


def start(build: Build, *words: str) -> list[str]:
    """The interpreter with the packages, where there is one: in a tree there is none."""
    return build.command(*words) if build.tree else [str(python(build)), *words]


def section(
    title: str,
    build: Build,
    programs_: Sequence[Program],
    profilers: Sequence[Profiler],
    *,
    rounds: int,
    goals: bool = False,
) -> Section:
    """A row of CPU time and one of wall time for each profiler. goals: the means have one."""
    out = Section(
        title,
        ("profiler", "time", *(program.title for program in programs_), "mean", "goal"),
        f"CPython {build.id}. A turn is the same work each time, by the program's own clocks. The "
        "time of a turn under the profiler is divided by that of the two bare turns around it; the "
        f"median of {rounds} is shown, and the geometric mean. "
        f'"{_CONTROL}" is the noise: bare turns '
        "in a profiler's place. A stop by ptrace (py-spy) shows in the wall time only.",
    )
    here = [p for p in profilers if p.tool is None or command(p.tool, build, 1, 1, Path())]
    found = {program.title: measure(build, program, here, rounds) for program in programs_}
    for profiler in here:
        for which in ("CPU", "wall"):
            ratios = []
            for name, of_program in found.items():
                times = of_program[profiler.title]
                ratios.append(times.cpu if which == "CPU" else times.wall)
                out.values[f"{profiler.title}: {name}: {which} seconds"] = [
                    took.cpu_s if which == "CPU" else took.wall_s for took in times.turns
                ]
            mean = geometric_mean(ratios)
            goal = ""
            if goals and profiler.tool is Tool.MIXSTACK and which == "CPU":
                limit = GOALS[profiler.rate_hz]
                goal = out.goal(f"{title.lower()}, {profiler.title}", mean, limit, "×", 3)
            cells = (f"{ratio:.3f}×" for ratio in (*ratios, mean))
            out.add(profiler.title, which, *cells, goal)
    return out
