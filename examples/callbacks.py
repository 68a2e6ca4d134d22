"""Who called my function? C did, three deep.

    mixstack record -r 999 -- python examples/callbacks.py 3
    mixstack merge -f collapsed -o - out.data

Each branch below ends in `weigh`, but costs differently; a Python profiler shows the same two
frames for all of them, and a C profiler shows no `weigh` at all.
"""

from __future__ import annotations

import functools
import sys
import time

WORDS = ["mixed", "stacks", "show", "both", "halves"] * 40


def weigh(word: str) -> int:
    total = 0
    for letter in word:
        total = total * 31 + ord(letter)
    return total


def heavier(one: str, other: str) -> str:
    return one if weigh(one) > weigh(other) else other


def in_order() -> list[str]:
    return sorted(WORDS, key=weigh)


def heaviest() -> str:
    return functools.reduce(heavier, WORDS)


def light() -> list[str]:
    return list(filter(lambda word: weigh(word) & 1, WORDS))


if __name__ == "__main__":
    end = time.monotonic() + (float(sys.argv[1]) if len(sys.argv) > 1 else 3)
    while time.monotonic() < end:
        in_order()
        heaviest()
        light()
