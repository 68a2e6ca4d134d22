"""The debugger oracle at length: `python -m tests.bench.gdb_oracle [STOPS [BUILD...]]`, as root.

Stops the mixture STOPS (300) times on every CPython, steps on from each, and prints the counts.
Exit code 1 if a stack differed.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path

from ..interpreters import Build, all_builds
from ..live.headers import BY_VERSION
from ..live.second_opinion import Outcome, compare
from ..live.stopping import meetings

STEPS = 40  # instructions after each stop
STOPS_AT_ONCE = 60  # a target does not live longer than two minutes


def main(arguments: list[str]) -> int:
    wanted = int(arguments[0]) if arguments else 300
    named = arguments[1:]
    builds = [b for b in all_builds() if b.minor in BY_VERSION and (not named or b.id in named)]
    wrong = 0
    for build in builds:
        outcomes, fits = _one_build(build, wanted)
        compared = outcomes[Outcome.SAME]
        print(f"CPython {build.id}: {wanted} stops, {compared} whole stacks were the same")
        for outcome in Outcome:
            print(f"  {outcomes[outcome]:6}  {outcome.name.lower()}: {outcome.value}")
        print("  fit: " + ", ".join(f"{name} {n}" for name, n in fits.most_common()), flush=True)
        wrong += outcomes[Outcome.DIFFERENT]
    return 1 if wrong or not builds else 0


def _one_build(build: Build, wanted: int) -> tuple[Counter[Outcome], Counter[str]]:
    outcomes: Counter[Outcome] = Counter()
    fits: Counter[str] = Counter()
    for seed, done in enumerate(range(0, wanted, STOPS_AT_ONCE)):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            stops = min(STOPS_AT_ONCE, wanted - done)
            for meeting in meetings(build, stops, STEPS, Path(folder), seed=seed):
                outcome, text = compare(meeting)
                outcomes[outcome] += 1
                if meeting.stack is not None:
                    fits[meeting.stack.merged.fit.value] += 1
                if outcome is Outcome.DIFFERENT:
                    print(f"{build.id}, {outcome.name}: {text}", flush=True)
    return outcomes, fits


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
