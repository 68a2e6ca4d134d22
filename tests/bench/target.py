"""What the benchmarks record; runs on any CPython: `target.py SHAPE [DEPTH]`.

Says "ready", and goes on for ever.
"""

import os
import sys
import time


def leaf():
    value = 0
    for bit in range(20_000):
        value ^= bit
    return value


def calls_in_turn(number):
    """Functions that call each other: of one that calls itself the probe reads the code once."""
    known = {"leaf": leaf}
    for at in range(number):
        following = f"call_{(at + 1) % number}(depth - 1)"
        exec(f"def call_{at}(depth): return {following} if depth else leaf()", known)
    return known["call_0"]


python_frames = calls_in_turn(32)


def through_c(depth):
    return max((depth - 1,), key=through_c) if depth else leaf()


def mixed(_depth):
    return max((6,), key=python_frames)


def native_frames(depth):
    nested = 10**4000
    for _ in range(depth):
        nested = [nested]
    while True:
        repr(nested)


def main():
    shape, depth = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0
    if shape == "numpy":
        os.environ["OPENBLAS_NUM_THREADS"] = "1"  # a machine with two CPUs needs one to record
        import numpy

        matrix = numpy.random.rand(200, 200)
    elif shape == "torch":
        import torch

        torch.set_num_threads(1)
        matrix = torch.rand(200, 200)
    print("ready", flush=True)
    if shape == "idle":
        time.sleep(1000)
    elif shape == "numpy":
        while True:
            numpy.linalg.svd(matrix @ matrix)
    elif shape == "torch":
        while True:
            torch.linalg.svd(matrix @ matrix)
    else:
        run = {
            "mixed": mixed,
            "python": python_frames,
            "through-c": through_c,
            "native": native_frames,
        }[shape]
        while True:
            run(depth)


main()
