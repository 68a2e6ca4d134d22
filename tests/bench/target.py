"""What the benchmarks record; runs on any CPython: `target.py SHAPE [DEPTH]`.

Says "ready". The shape "work" then does one unit of work for each line that it reads and answers
with its CPU time and wall time in seconds; every other shape goes on for ever.
"""

import functools
import json
import os
import sys
import time


def leaf():
    value = 0
    for bit in range(20_000):
        value ^= bit
    return value


def python_frames(depth):
    return python_frames(depth - 1) if depth else leaf()


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


class Point:
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __lt__(self, other):
        return self.x < other.x

    def moved(self, by):
        return Point(self.x + by, self.y - by)


def numbers(count):
    for number in range(count):
        yield number * 7 % 31


def unit_of_work():
    """Calls, generators, classes, callbacks from C, and a C library: a third of a second, so that
    even at 99 Hz some tens of samples fall into it."""
    for _ in range(1500):
        points = [Point(number, 1).moved(2) for number in numbers(150)]
        points.sort()
        sorted(points, key=lambda point: -point.x)
        functools.reduce(lambda total, point: total + point.x, points, 0)
        json.loads(json.dumps({"x": [point.x for point in points]}), object_hook=dict)
        python_frames_light(40)


def python_frames_light(depth):
    return python_frames_light(depth - 1) if depth else 0


def work():
    for _ in sys.stdin:
        cpu, wall = time.process_time(), time.perf_counter()
        unit_of_work()
        print(time.process_time() - cpu, time.perf_counter() - wall, flush=True)


def main():
    shape, depth = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0
    if shape == "numpy":
        os.environ["OPENBLAS_NUM_THREADS"] = "1"  # a machine with two CPUs needs one to record
        import numpy

        matrix = numpy.random.rand(200, 200)
    print("ready", flush=True)
    if shape == "work":
        work()
    elif shape == "idle":
        time.sleep(1000)
    elif shape == "numpy":
        while True:
            numpy.linalg.svd(matrix @ matrix)
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
