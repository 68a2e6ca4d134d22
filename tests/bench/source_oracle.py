"""The oracles of names and lines at length: `python -m tests.bench.source_oracle CAPTURE...`.

Each native address of each recording is asked of nm, addr2line and llvm-symbolizer, on the machine
that recorded. addr2line errs now and then (tests/unit/symbolize/dwarf/test_oracles.py says where),
so its differences are shown and only those of the other two fail: exit code 1.
"""

from __future__ import annotations

import sys

from mixstack.capture.reader import read_capture

from ..live.source_opinion import opinions

SHOWN = 5


def main(paths: list[str]) -> int:
    wrong = asked = 0
    for path in paths:
        for o in opinions(read_capture(path)):
            print(
                f"{o.path}: {o.addresses} addresses, {o.lines} with lines ({o.less} more known to "
                f"llvm-symbolizer); wrong names {len(o.names)}, wrong lines "
                f"{len(o.lines_differ)}; unlike addr2line {len(o.addr2line_differs)}"
            )
            for kind in (o.names, o.lines_differ, o.addr2line_differs):
                print(*(f"  {text}" for text in kind[:SHOWN]), sep="\n", end="\n" if kind else "")
            wrong += len(o.names) + len(o.lines_differ)
            asked += o.addresses
    print(f"{asked} addresses, {wrong} wrong")
    return 1 if wrong or not asked else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
