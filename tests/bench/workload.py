"""A program whose slowdown is measured: `workload.py SCRIPTS NAME LOOPS IDLE`; any CPython.

Says "ready". For each line that it reads it does the same work, LOOPS turns of it, and answers with
its CPU time and wall time in seconds. NAME: "numpy", "zlib" (two threads), or a program of
pyperformance's, whose script is run as it is from the folder SCRIPTS; what it asks of pyperf is
answered here, for pyperf would start processes of its own and choose the number of turns. IDLE:
threads that wait for ever.
"""

import argparse
import asyncio
import os
import runpy
import sys
import threading
import time
import types
import zlib

ARGUMENTS = {"async_tree": ["none"]}


def serve(work):
    print("ready", flush=True)
    for _ in sys.stdin:
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        print(time.process_time() - cpu, time.perf_counter() - wall, flush=True)


class Runner:
    """As much of pyperf's as the scripts use."""

    def __init__(self, add_cmdline_args=None):
        self.metadata = {}
        self.argparser = argparse.ArgumentParser()

    def parse_args(self):
        return self.argparser.parse_args()

    def bench_func(self, _name, function, *arguments, inner_loops=1):
        serve(lambda: [function(*arguments) for _ in range(LOOPS)])

    def bench_time_func(self, _name, function, *arguments, inner_loops=1):
        serve(lambda: function(LOOPS, *arguments))

    def bench_async_func(self, _name, function):
        serve(lambda: [asyncio.run(function()) for _ in range(LOOPS)])


def numpy_job():
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # a machine with two CPUs needs one to record
    import numpy

    matrix = numpy.random.default_rng(1).random((150, 150))

    def turn():
        numpy.linalg.svd(matrix @ matrix)
        numpy.sort(matrix, axis=None)
        numpy.fft.fft2(matrix)

    serve(lambda: [turn() for _ in range(LOOPS)])


def zlib_job():
    data = bytes(range(256)) * 400

    def compress():
        for _ in range(LOOPS):
            zlib.compress(data, 9)

    def work():
        threads = [threading.Thread(target=compress) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    serve(work)


SCRIPTS, NAME, LOOPS = sys.argv[1], sys.argv[2], int(sys.argv[3])
for _ in range(int(sys.argv[4])):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
if NAME == "numpy":
    numpy_job()
elif NAME == "zlib":
    zlib_job()
else:
    sys.modules["pyperf"] = types.SimpleNamespace(Runner=Runner, perf_counter=time.perf_counter)
    script = f"{SCRIPTS}/bm_{NAME}/run_benchmark.py"
    sys.path.insert(0, os.path.dirname(script))
    sys.argv = [script, *ARGUMENTS.get(NAME, [])]
    runpy.run_path(script, run_name="__main__")
