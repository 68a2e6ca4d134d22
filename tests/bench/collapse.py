"""Collapses what `perf script` writes: `perf script ... | collapse.py`; the one line per stack that
flame graphs are drawn from. It stands for the usual scripts, and is of our own making."""

import sys
from collections import Counter


def main() -> None:
    stacks: Counter[str] = Counter()
    frames: list[str] = []
    thread = ""
    for line in sys.stdin:
        if not line[0].isspace():
            thread = line.rstrip().rpartition(" ")[0]
        elif line.isspace():
            if thread:
                stacks[";".join((thread, *reversed(frames)))] += 1
            frames, thread = [], ""
        else:
            name = line.strip().partition(" ")[2].rpartition(" (")[0]
            frames.append(name)
    for stack in sorted(stacks):
        print(stack, stacks[stack])


main()
