"""The numbers of docs/benchmarks.md: `python -m tests.bench.run [--quick] [--only SECTION]...`.

As root. Each section is written to bench/results when it ends, so a run may be stopped at any time;
one that was not run keeps its older numbers, with their own date and commit. The page is made of
the newest file there. A quick run goes into a file of its own, and leaves the page alone. A timing
is never a test: a missed goal is written down, and only a section that fails makes the exit code 1.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import mixstack

from ..interpreters import Build, all_builds
from . import merging, packages, probe_cost, recorder, slowdown, start_up, truth, unwind_tables
from .peers import versions
from .report import Origin, Results, Section

ROOT: Final = Path(__file__).parent.parent.parent
FOLDER: Final = ROOT / "bench" / "results"
PAGE: Final = ROOT / "docs" / "benchmarks.md"
QUICK: Final = "-quick"
# By which the page is ordered.
SECTIONS: Final = (
    "slowdown",
    "idle-threads",
    "slowdown-3.15",
    "truth",
    "probe",
    "attach",
    "recorder",
    "merge",
    "start-up",
    "tables",
)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, fewer cases")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="these sections alone")
    chosen = parser.parse_args(arguments)
    build = packages.measured()
    if os.geteuid() != 0 or build is None or not packages.python(build).exists():
        print("needs root, a CPython 3.12 or later, and make bench-packages", file=sys.stderr)
        return 2
    origin = _origin(build, chosen.quick)
    begin = time.monotonic()
    made = _sections(build, chosen.quick)
    results = latest(FOLDER, chosen.quick)
    path = FOLDER / f"{origin.date[:10]}{QUICK if chosen.quick else ''}.json"
    failed = []
    for name in chosen.only or made:
        if name not in made:
            print(f"{name}: no interpreter here has it", file=sys.stderr)
            continue
        try:
            section = made[name]()
        except Exception:  # the sections before it took half an hour
            traceback.print_exc()
            failed.append(name)
            continue
        print(section.markdown(), flush=True)
        for sentence in section.missed:
            print(f"missed: {sentence}", flush=True)
        print(f"{time.monotonic() - begin:.0f} s so far\n", flush=True)
        results.sections[name] = origin, section
        FOLDER.mkdir(parents=True, exist_ok=True)
        _replace(path, results.as_json())
        if not chosen.quick:
            _replace(PAGE, results.document(SECTIONS))
    page = "" if chosen.quick else f" and {PAGE.relative_to(ROOT)}"
    print(f"results: {path.relative_to(ROOT)}{page}")
    for name in failed:
        print(f"failed: {name}", file=sys.stderr)
    return 1 if failed else 0


def latest(folder: Path, quick: bool) -> Results:
    """Of the newest file of that kind: names are dates. Nothing if there is none."""
    found = [p for p in sorted(folder.glob("*.json")) if p.stem.endswith(QUICK) is quick]
    return Results.from_json(found[-1].read_text(encoding="utf-8")) if found else Results()


def _replace(path: Path, text: str) -> None:
    """At once: who stops the run finds the old file or the new one."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def _sections(build: Build, quick: bool) -> dict[str, Callable[[], Section]]:
    """build: what is measured where one interpreter is enough."""
    here = [b for b in all_builds() if b.tree is None and b.minor >= (3, 11)]
    newest = next((b for b in reversed(all_builds()) if b.minor >= (3, 15)), None)
    with_packages = packages.python(build)
    attach = [recorder.Attached(f"CPython {build.id}", build.executable, "mixed")]
    attach += [
        recorder.Attached(f"CPython {build.id} with {name}", str(with_packages), name)
        for name in ("numpy", "torch")
        if packages.has(with_packages, name)
    ]
    found: dict[str, Callable[[], Section]] = {
        "slowdown": lambda: slowdown.section(
            "The target's slowdown",
            build,
            slowdown.PROGRAMS[-1:] if quick else slowdown.PROGRAMS,
            slowdown.PROFILERS,
            rounds=1 if quick else 5,
            goals=True,
        ),
        "idle-threads": lambda: slowdown.section(
            "The target's slowdown, with idle threads",
            build,
            slowdown.WITH_IDLE_THREADS[1:2] if quick else slowdown.WITH_IDLE_THREADS,
            slowdown.PROFILERS,
            rounds=1 if quick else 5,
            goals=True,
        ),
        "truth": lambda: truth.section(
            truth.runs(build, newest), {999: 1.0} if quick else {99: 6.0, 999: 3.0}
        ),
        "probe": lambda: probe_cost.section(
            probe_cost.cases([build] if quick else here, quick),
            seconds=0.4 if quick else 1.5,
            repeats=1 if quick else 3,
        ),
        "attach": lambda: recorder.attach_section(
            attach[:1] if quick else attach, repeats=1 if quick else 5
        ),
        "recorder": lambda: (
            recorder.steady_section(
                build.executable,
                recorder.crowds()[::2],
                (999,),
                seconds=2,
            )
            if quick
            else recorder.steady_section(
                build.executable, recorder.crowds(), (99, 999, 9999), seconds=8
            )
        ),
        "merge": lambda: merging.section(
            (10_000, 100_000) if quick else (10_000, 100_000, 1_000_000, 10_000_000),
            [merging.Peer("fp", 10_000)]
            if quick
            else [
                merging.Peer("fp", 10_000),
                merging.Peer("fp", 100_000),
                merging.Peer("fp", 1_000_000),
                merging.Peer("dwarf", 1_000),
                merging.Peer("dwarf", 10_000),
            ],
            build.executable,
        ),
        "start-up": lambda: start_up.section(repeats=5 if quick else 15),
        "tables": lambda: unwind_tables.section(
            unwind_tables.files(build.executable, with_packages), repeats=2 if quick else 5
        ),
    }
    if newest is not None:
        found["slowdown-3.15"] = lambda: slowdown.section(
            "The target's slowdown, beside the standard library's profiler",
            newest,
            slowdown.OF_3_15[2:] if quick else slowdown.OF_3_15,
            slowdown.ON_3_15,
            rounds=1 if quick else 5,
        )
    return {name: found[name] for name in SECTIONS if name in found}


def _origin(build: Build, quick: bool) -> Origin:
    found = {"mixstack": mixstack.__version__, **versions()}
    for package in ("pyperformance", "numpy", "torch"):
        version = packages.version(packages.python(build), package)
        if version is not None:
            found[package] = version
    return Origin(
        f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M}",
        _commit(),
        f"{_cpu_model()}, {os.cpu_count()} CPUs, Linux {platform.release()}",
        found,
        quick,
    )


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    changed = " with changes" if git("status", "--porcelain", "mixstack") else ""
    return (git("rev-parse", "--short", "HEAD") or "unknown") + changed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
