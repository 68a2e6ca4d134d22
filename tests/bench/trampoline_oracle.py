"""The trampoline oracle at length: `python -m tests.bench.trampoline_oracle [SAMPLES]`, as root.

Records the mixture under `-X perf` on every CPython that has it, until SAMPLES (100,000) samples
per version were compared, and prints the counts. Exit code 1 if anything disagreed.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path

from ..interpreters import Build, all_builds
from ..live.harness import record, running, show, stacks
from ..live.programs import program
from ..live.trampoline import WRONG, Outcome, PerfMap, compare, path_of

RATE_HZ = 4999
SECONDS = 5.0


def main(arguments: list[str]) -> int:
    wanted = int(arguments[0]) if arguments else 100_000
    builds = [b for b in all_builds() if b.trampoline and b.minor in ((3, 12), (3, 13))]
    wrong = 0
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
        wrong += sum(outcomes[outcome] for outcome in WRONG)
    return 1 if wrong or not builds else 0


def _one_recording(
    build: Build, folder: Path, outcomes: Counter[Outcome], fits: Counter[str]
) -> None:
    with running([build.executable, "-X", "perf", program("mixture")]) as target:
        try:
            capture = record(target.pid, folder / "out.data", seconds=SECONDS, rate_hz=RATE_HZ)
            perf_map = PerfMap.of(target.pid)
        finally:
            path_of(target.pid).unlink(missing_ok=True)
    compared: dict[int, Counter[Outcome]] = {}
    for stack in stacks(capture):
        key = id(stack.full)  # equal stacks are one object, and the capture keeps them alive
        if key not in compared:
            named = dict(zip(stack.merged.items, stack.full, strict=True))
            compared[key] = compare(
                stack.merged.items, perf_map, named.__getitem__, inlines_init=build.minor == (3, 13)
            )
            if any(compared[key][outcome] for outcome in WRONG):
                found = {outcome.name: n for outcome, n in compared[key].items()}
                print(
                    f"WRONG, fit {stack.merged.fit.value}: {found}\n{show(stack.full)}", flush=True
                )
        outcomes += compared[key]
        fits[stack.merged.fit.value] += 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
