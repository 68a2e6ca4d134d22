"""Recordings that are killed: `python -m tests.bench.kills [COUNT]`, as root. COUNT: 200.

Each file must merge, and at most its last second may be missing: else it stops with an
AssertionError. Prints how much was missing.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

from ..live.programs import program
from ..live.test_losses import killed, running


def main(arguments: list[str]) -> int:
    count = int(arguments[0]) if arguments else 200
    chance = random.Random(count)
    missing = []
    with tempfile.TemporaryDirectory() as name:
        for number in range(count):
            # A target lives no longer than two minutes: it is started anew from time to time.
            with running([sys.executable, program("sorted_key")]) as target:
                output = Path(name, f"{number}.data")
                missing.append(killed(target.pid, output, chance.uniform(0, 2)))
                output.unlink()
    known = sorted(seconds for seconds in missing if seconds is not None)
    print(f"{count} killed, all merged; {missing.count(None)} before their first sample")
    if known:
        print(f"missing: median {known[len(known) // 2]:.2f} s, most {known[-1]:.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
