"""The numbers of docs/benchmarks.md: `python -m tests.bench.run [--quick] [SECTION...]`, as root.

Prints each section as it is done, and writes all of them to bench/results. Only a whole run,
neither quick nor of single sections, writes the page. A timing is never a test: a missed goal is
written down, the exit code stays 0.
"""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ..interpreters import Build, all_builds
from . import merging, probe_cost, recorder, slowdown, unwind_tables
from .report import Section, as_json, document

ROOT: Final = Path(__file__).parent.parent.parent
RESULTS: Final = ROOT / "bench" / "results"  # of this machine alone: not committed
PAGE: Final = ROOT / "docs" / "benchmarks.md"
MINORS: Final = ((3, 11), (3, 12), (3, 13))


def main(arguments: list[str]) -> int:
    quick = "--quick" in arguments
    wanted = [argument for argument in arguments if argument != "--quick"]
    builds = [b for b in all_builds() if b.minor in MINORS and b.tree is None]
    if os.geteuid() != 0 or not builds:
        print("needs root, and a CPython 3.11, 3.12 or 3.13", file=sys.stderr)
        return 2
    begin = time.monotonic()
    head = _head(quick)
    print(head, flush=True)
    sections = []
    for name, make in _sections(builds, quick).items():
        if wanted and name not in wanted:
            continue
        section = make()
        sections.append(section)
        print(section.markdown(), flush=True)
        for sentence in section.missed:
            print(f"missed: {sentence}", flush=True)
    print(f"\n{time.monotonic() - begin:.0f} s in all")
    RESULTS.mkdir(parents=True, exist_ok=True)
    result = RESULTS / f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%dT%H%M%S}.json"
    result.write_text(as_json(head, sections), encoding="utf-8")
    print(f"wrote {result.relative_to(ROOT)}")
    if not quick and not wanted:
        PAGE.write_text(document(head, sections), encoding="utf-8")
        print(f"wrote {PAGE.relative_to(ROOT)}")
    return 0


def _sections(builds: list[Build], quick: bool) -> dict[str, Callable[[], Section]]:
    newest = builds[-1]
    middle = next((b for b in reversed(builds) if b.trampoline), newest)
    all_pythons = [(build.id, build.executable) for build in builds]
    attach = {f"CPython {newest.id}": newest.executable}
    shapes = {f"CPython {newest.id}": "mixed"}
    numpy = next((b for b in reversed(builds) if _has_numpy(b)), None)
    if numpy is not None:
        attach[f"CPython {numpy.id} with numpy"] = numpy.executable
        shapes[f"CPython {numpy.id} with numpy"] = "numpy"
    files = unwind_tables.files((numpy or newest).executable)
    return {
        "probe": lambda: probe_cost.section(
            all_pythons[-1:] if quick else all_pythons,
            seconds=0.7 if quick else 1.5,
            repeats=1 if quick else 2,
        ),
        "attach": lambda: recorder.attach_section(attach, shapes, repeats=2 if quick else 5),
        "recorder": lambda: recorder.steady_section(
            newest.executable,
            {"mixed": 0} if quick else {"mixed": 0, "through-c": 28},
            seconds=3 if quick else 8,
        ),
        "slowdown": lambda: slowdown.section(
            middle.executable, middle.id, repeats=2 if quick else 5, units=2 if quick else 3
        ),
        "merge": lambda: merging.section(
            (10_000,) if quick else (10_000, 100_000, 1_000_000, 10_000_000)
        ),
        "tables": lambda: unwind_tables.section(files, repeats=2 if quick else 5),
    }


def _has_numpy(build: Build) -> bool:
    asked = [build.executable, "-c", "import numpy"]
    return subprocess.run(asked, capture_output=True).returncode == 0


def _head(quick: bool) -> str:
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
    return "\n".join(
        (
            "# Benchmarks",
            "",
            "Written by `make bench`; do not edit. Each value is a median, with the smallest and "
            "the largest in brackets. Ratios and peers are taken in the same run.",
            "",
            f"- machine: {_cpu_model()}, {os.cpu_count()} CPUs, Linux {platform.release()}",
            f"- load when it began: {os.getloadavg()[0]:.1f}",
            f"- date: {date}; commit: {_commit()}" + ("; quick" if quick else ""),
            "",
        )
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
