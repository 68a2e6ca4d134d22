"""The trampoline oracle at length: `python -m tests.bench.trampoline_oracle [SAMPLES]`, as root.

Records the mixture under `-X perf` on every CPython that has it, until SAMPLES (1,000,000 over all)
samples were compared, the same number on each, and prints the counts. Exit code 1 if anything
disagreed.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path

from ..interpreters import Build, supported
from ..live.harness import record, running, show, stacks
from ..live.programs import program
from ..live.trampoline import WRONG, Outcome, compare_all, told_to_perf

RATE_HZ = 4999
SECONDS = 5.0


def main(arguments: list[str]) -> int:
    rows = supported(lambda build: build.trampoline)
    builds: list[Build] = [row.values[0] for row in rows if row.values[0] is not None]
    wanted = -(-(int(arguments[0]) if arguments else 1_000_000) // max(1, len(builds)))
    samples = wrong = 0
    for build in builds:
        outcomes: Counter[Outcome] = Counter()
        fits: Counter[str] = Counter()
        while fits.total() < wanted:
            with tempfile.TemporaryDirectory() as folder:
                _one_recording(build, Path(folder), outcomes, fits)
        print(f"CPython {build.id}: {fits.total()} samples, {outcomes.total()} calls")
        for outcome in Outcome:
            print(f"  {outcomes[outcome]:9}  {outcome.name.lower()}: {outcome.value}")
        print("  fit: " + ", ".join(f"{name} {n}" for name, n in fits.most_common()), flush=True)
        samples += fits.total()
        wrong += sum(outcomes[outcome] for outcome in WRONG)
    print(f"{samples} samples of {len(builds)} CPythons, {wrong} calls wrong")
    return 1 if wrong or not builds else 0


def _one_recording(
    build: Build, folder: Path, outcomes: Counter[Outcome], fits: Counter[str]
) -> None:
    with (
        running(build.command("-X", "perf", program("mixture"))) as target,
        told_to_perf(build, target.pid) as told,
    ):
        capture = record(target.pid, folder / "out.data", seconds=SECONDS, rate_hz=RATE_HZ)
        perf_map = told()
    shown: set[int] = set()
    for stack, found in compare_all(stacks(capture), perf_map, build):
        if any(found[outcome] for outcome in WRONG) and id(stack.full) not in shown:
            shown.add(id(stack.full))
            named = {outcome.name: n for outcome, n in found.items()}
            print(f"WRONG, fit {stack.merged.fit.value}: {named}\n{show(stack.full)}", flush=True)
        outcomes += found
        fits[stack.merged.fit.value] += 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
