"""The table of docs/native.md: how many native stacks reach the thread's root, program by program.

`python -m tests.bench.native_targets [PYTHON [WORDS...]]`, as root. PYTHON (this one) runs the
programs; those whose packages it has not are left out, and that is said. WORDS: only the programs
whose names contain one. Each row is written when its program has run, in place of its last one; the
rows of other programs stay as they are. Exit code 1 if a program misses the goal.
"""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from posixpath import basename
from typing import Final, NamedTuple

from mixstack.capture.reader import Capture
from mixstack.merge.quality import find_stop
from mixstack.model import NativeEnd, NativeFrame, NativeItem, Stop
from mixstack.record.children import child_pids
from mixstack.symbolize.names import Namer

from ..live.harness import record, running
from .native_programs import PROGRAMS, NativeProgram, build, chosen

ROOT: Final = Path(__file__).parent.parent.parent
PAGE: Final = ROOT / "docs" / "native.md"
BEGIN: Final = "<!-- begin: python -m tests.bench.native_targets -->"
END: Final = "<!-- end: python -m tests.bench.native_targets -->"
RATE_HZ: Final = 1999
SECONDS: Final = 3.0
LEARNING_S: Final = 1.0  # until then code without rules is met for the first time
GOAL: Final = 0.999


class Row(NamedTuple):
    """One program: its samples; those whose walk reached the root, by rules alone or after a new
    start; and where and why the others, and those that started again, had to stop.

    later: the samples after LEARNING_S; later_reached: those of them that reached the root.
    """

    name: str
    samples: int
    whole: int
    again: int
    later: int
    later_reached: int
    stops: Counter[Stop]

    @property
    def share(self) -> float:
        return (self.whole + self.again) / max(1, self.samples)


def main(arguments: Sequence[str]) -> int:
    python = arguments[0] if arguments else sys.executable
    shares = []
    for program in chosen(python, arguments[1:]):
        row = _run(python, program)
        line = _line(row, python)
        print(line, flush=True)
        _write(row.name, line)
        shares.append(row.share)
    return 1 if not shares or min(shares) < GOAL else 0


def _run(python: str, program: NativeProgram) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        with running(build(python, program, Path(folder))) as target:
            (pid,) = child_pids(target.pid) if program.child else (target.pid,)
            capture = record(pid, Path(folder) / "out.data", seconds=SECONDS, rate_hz=RATE_HZ)
        return count(program.name, capture)


def count(name: str, capture: Capture) -> Row:
    namer = Namer(capture)
    samples = whole = again = later = later_reached = 0
    stops: Counter[Stop] = Counter()
    learned_ns = capture.recording.start_ns + int(LEARNING_S * 1e9)
    for sample in capture.samples():
        samples += 1
        reached = sample.stack.native_end in (NativeEnd.ROOT, NativeEnd.EXITING)
        whole += reached and sample.stack.end_pc is None
        again += reached and sample.stack.end_pc is not None
        if sample.time_ns >= learned_ns:
            later += 1
            later_reached += reached

        def named(frame: NativeFrame, pid: int = sample.pid, time_ns: int = sample.time_ns):
            return namer.frame(pid, time_ns, NativeItem(frame, evaluator=False))

        stop = find_stop(sample.stack, named)
        if stop is not None:
            stops[stop] += 1
        elif not reached:
            stops[Stop("the stack's depth", sample.stack.native_end, went_on=False)] += 1
    return Row(name, samples, whole, again, later, later_reached, stops)


def _line(row: Row, python: str) -> str:
    version = subprocess.run([python, "-V"], check=True, capture_output=True, text=True).stdout
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
    missed = "" if row.share >= GOAL else " **missed**"
    reasons = [
        f"{basename(stop.place)}: {_percent(n, row.samples)}"
        f" {'unknown' if stop.reason is None else stop.reason.name.lower().replace('_', ' ')}"
        f"{', started again' if stop.went_on else ''}"
        for stop, n in row.stops.most_common(4)
    ]
    cells = (
        row.name,
        f"{row.samples:,}",
        _percent(row.whole, row.samples),
        _percent(row.again, row.samples),
        f"{100 * row.share:.2f} %{missed}",
        _percent(row.later_reached, row.later),
        "; ".join(reasons),
        f"{date}, {version.split()[1]}",
    )
    return "| " + " | ".join(cells) + " |"


def _percent(part: int, total: int) -> str:
    if part in (0, total):
        return "0" if part == 0 else "100 %"
    return f"{100 * part / total:.2f} %"


def _write(name: str, line: str) -> None:
    """Put a program's row into the page, in the order of the programs."""
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    table, _, after = rest.partition(END)
    lines = [old for old in table.splitlines() if old.startswith("| ")][2:]
    rows = {old.split(" | ")[0].removeprefix("| "): old for old in lines} | {name: line}
    header = ("program", "samples", "by rules alone", "started again", "to the root (goal 99.9 %)")
    header += (f"after {LEARNING_S:g} s", "where it stopped", "date, Python")
    told = [
        f"Linux {platform.release()}, {os.cpu_count()} CPUs, {RATE_HZ} Hz, {SECONDS:g} s each.",
        "",
        "| " + " | ".join(header) + " |",
        "| " + " | ".join(["---"] * len(header)) + " |",
        *(rows[program.name] for program in PROGRAMS if program.name in rows),
    ]
    PAGE.write_text(f"{before}{BEGIN}\n" + "\n".join(told) + f"\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
