"""The table of docs/support.md: how well stacks join, per build: `python -m tests.bench.support`.

As root. Records the mixture of tests/live on every supported CPython of this machine, plain and in
the modes that it has, and writes the page. Exit code 1 if a build misses the goal.
"""

from __future__ import annotations

import datetime
import os
import platform
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from mixstack.model import Fit, NativeEnd

from ..interpreters import SUPPORTED, Build
from ..live.harness import record, running, stacks
from ..live.programs import program

ROOT: Final = Path(__file__).parent.parent.parent
PAGE: Final = ROOT / "docs" / "support.md"
BEGIN: Final = "<!-- begin: make support -->"
END: Final = "<!-- end: make support -->"
RATE_HZ: Final = 1999
SECONDS: Final = 5.0
GOAL: Final = 0.999
WHOLE: Final = (Fit.EXACT, Fit.RESYNCED, Fit.NATIVE_ONLY, Fit.COUNTED)


class Mode(NamedTuple):
    """A way to run an interpreter; `since`: the first minor version that has it."""

    name: str
    since: tuple[int, int]
    options: tuple[str, ...] = ()
    variable: tuple[str, str] | None = None


MODES: Final = (
    Mode("", (3, 8)),
    Mode("-X perf", (3, 12), ("-X", "perf")),
    Mode("-X perf_jit", (3, 13), ("-X", "perf_jit")),
    Mode("PYTHON_JIT=1", (3, 14), variable=("PYTHON_JIT", "1")),
)


class Row(NamedTuple):
    """One build in one mode: how its samples joined, and how many native walks met the root."""

    build: Build
    mode: Mode
    fits: Counter[Fit]
    rooted: int

    @property
    def share(self) -> float:
        """Of samples whose Python frames are all in their places."""
        return sum(self.fits[fit] for fit in WHOLE) / max(1, self.fits.total())

    def cells(self) -> tuple[str, ...]:
        total = self.fits.total()
        shown = (Fit.EXACT, Fit.RESYNCED, Fit.COUNTED, Fit.PARTIAL)
        missed = "" if self.share >= GOAL else " **missed**"
        return (
            f"CPython {self.build.id}",
            self.mode.name or "plain",
            f"{total:,}",
            *(_percent(self.fits[fit], total) for fit in shown),
            _percent(self.rooted, total),
            f"{100 * self.share:.2f} %{missed}",
        )


def main(_arguments: Sequence[str]) -> int:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for build, mode in _runs():
            rows.append(_record(build, mode, Path(folder) / "out.data"))
            print(" | ".join(rows[-1].cells()), flush=True)
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{_table(rows)}{END}{after}", encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
    return 1 if not rows or any(row.share < GOAL for row in rows) else 0


def _runs() -> Iterator[tuple[Build, Mode]]:
    for row in SUPPORTED:
        build = row.values[0]
        if build is not None:
            yield from ((build, mode) for mode in MODES if build.minor >= mode.since)


def _record(build: Build, mode: Mode, output: Path) -> Row:
    variables = dict([mode.variable]) if mode.variable else None
    command = build.command(*mode.options, program("mixture"), env=variables)
    with running(command) as target:
        capture = record(target.pid, output, seconds=SECONDS, rate_hz=RATE_HZ)
    fits: Counter[Fit] = Counter()
    rooted = 0
    for stack in stacks(capture):
        fits[stack.merged.fit] += 1
        rooted += stack.sample.stack.native_end is NativeEnd.ROOT
    return Row(build, mode, fits, rooted)


def _percent(part: int, total: int) -> str:
    if part in (0, total):
        return "0" if part == 0 else "100 %"
    return f"{100 * part / total:.2f} %"


def _table(rows: Sequence[Row]) -> str:
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
    header = ("build", "mode", "samples", "exact", "re-synced", "counted", "partial")
    header += ("native stack to the root", "joined (goal 99.9 %)")
    lines = [
        f"{date}, Linux {platform.release()}, {os.cpu_count()} CPUs, {RATE_HZ} Hz,"
        f" {SECONDS:g} s each.",
        "",
        "| " + " | ".join(header) + " |",
        "| " + " | ".join(["---"] * len(header)) + " |",
        *("| " + " | ".join(row.cells()) + " |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
