"""Native stacks against a debugger: `python -m tests.bench.gdb_native [STOPS [PYTHON [WORDS]]]`.

As root. Stops each program of native_programs STOPS (300) times, compares the frames of all its
threads with the debugger's, pc by pc and CFA by CFA, and prints the counts. PYTHON (this one) runs
the programs; those whose packages it has not are left out, and that is said. WORDS: only the
programs whose names contain one. Exit code 1 if a stack differed.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ..live.native_opinion import Judge, Outcome
from ..live.stopping import native_meetings
from .native_programs import NativeProgram, build, chosen

STOPS_AT_ONCE: Final = 60  # a target does not live longer than two minutes
SHOWN: Final = 3  # of each kind that is not the same, per program


def main(arguments: Sequence[str]) -> int:
    wanted = int(arguments[0]) if arguments else 300
    python = arguments[1] if len(arguments) > 1 else sys.executable
    different = compared = 0
    for program in chosen(python, arguments[2:]):
        outcomes = _compare(python, program, wanted)
        told = ", ".join(f"{o.name.lower()} {outcomes[o]}" for o in Outcome if outcomes[o])
        print(f"{program.name}: {wanted} stops, {outcomes.total()} stacks: {told}", flush=True)
        different += outcomes[Outcome.DIFFERENT]
        compared += outcomes[Outcome.SAME]
    for outcome in Outcome:
        print(f"  {outcome.name.lower()}: {outcome.value}")
    return 1 if different or not compared else 0


def _compare(python: str, program: NativeProgram, wanted: int) -> Counter[Outcome]:
    outcomes: Counter[Outcome] = Counter()
    for seed, done in enumerate(range(0, wanted, STOPS_AT_ONCE)):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            command = build(python, program, folder)
            stops = min(STOPS_AT_ONCE, wanted - done)
            meetings, capture = native_meetings(
                command, stops, folder, child=program.child, seed=seed
            )
            judge = Judge(capture)
            for meeting in meetings:
                outcome, text = judge.compare(meeting)
                outcomes[outcome] += 1
                usual = outcome in (Outcome.SAME, Outcome.NOT_SAMPLED)
                if not usual and outcomes[outcome] <= SHOWN:
                    print(f"{program.name}, {outcome.name}: {text}", flush=True)
    return outcomes


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
