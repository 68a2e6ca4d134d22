"""How long a command takes to begin, and how much each of them imports."""

from __future__ import annotations

import sys
from typing import Final

from tests.guard.measure import imports

from .report import Section, spread
from .running import mixstack, py_spy, run

GOAL_S: Final = 0.15


def section(*, repeats: int) -> Section:
    out = Section(
        "Start-up",
        ("command", "seconds", "goal", "modules beside the standard library's"),
        "Interleaved. An interpreter that does nothing is the floor of what is written in Python.",
    )
    commands = {
        "mixstack --help": mixstack("--help"),
        "python -c pass": [sys.executable, "-c", "pass"],
    }
    spy = py_spy()
    if spy is not None:
        commands["py-spy --help"] = [spy, "--help"]
    took: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(repeats):
        for name, command in commands.items():
            took[name].append(run(command).wall_s)
    modules = {name.removesuffix(": modules"): count for name, count in imports().items()}
    for name, times in took.items():
        found = spread(times)
        ours = name == "mixstack --help"
        goal = out.goal(name, found.median, GOAL_S, " s", 3) if ours else ""
        out.values[f"{name}: seconds"] = times
        out.add(name, found.show(" s", 3), goal, f"{modules['--help']:.0f}" if ours else "")
    for name in ("record", "merge"):
        out.add(f"mixstack {name}", "", "", f"{modules[name]:.0f}")
    return out
