"""Spends CPU time in a known way, and says how much: `shares_program.py SECONDS TRUTH GO`.

It begins when the file GO is there.
Every part has a function of its own name and does the same work in each call. The call's CPU time
is taken by the thread's own clock right around it. At the end the file TRUTH holds a JSON list of
[part, begin, end, seconds], one for each call: CLOCK_MONOTONIC in ns, and CPU time.
"""

import ctypes
import hashlib
import json
import os
import random
import sys
import time
import zlib

DATA = bytes(random.Random(1).choices(range(64), k=20_000))
COMPARE = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.POINTER(ctypes.c_int)] * 2)
PAIR = ctypes.c_int * 2
LIBC = ctypes.CDLL(None)
CALLS = []


def in_python(rounds):
    total = 0
    for number in range(rounds):
        total += number ^ (total & 7)
    return total


def fibonacci(number):
    return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)


def in_generator(rounds):
    total = 0
    for number in numbers(rounds):
        total ^= number
    return total


def numbers(rounds):
    for number in range(rounds):
        yield number * number


def in_zlib():
    zlib.compress(DATA, 6)


def in_hashlib():
    hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 700)


def in_key(rounds):
    return in_python_again(rounds)


def in_python_again(rounds):
    total = 0
    while rounds:
        rounds -= 1
        total = (total * 31 + rounds) & 0xFFFF
    return total


def in_callback(rounds):
    text = ""
    for number in range(rounds):
        text = str(number) + text[:8]
    return text


def timed(part, run, *arguments):
    begin_ns, begin = time.monotonic_ns(), time.thread_time()
    run(*arguments)
    took, end_ns = time.thread_time() - begin, time.monotonic_ns()
    CALLS.append((part, begin_ns, end_ns, took))


@COMPARE
def compare(_left, _right):
    timed("in_callback", in_callback, 1200)
    return 0


def key(number):
    timed("in_key", in_key, 3000)
    return -number


def sorting():
    sorted([1, 2], key=key)


def calling_back():
    LIBC.qsort(PAIR(1, 2), 2, 4, compare)


PARTS = [
    (lambda: timed("in_python", in_python, 8_000), 3),
    (lambda: timed("fibonacci", fibonacci, 16), 2),
    (lambda: timed("in_generator", in_generator, 12_000), 1),
    (lambda: timed("in_zlib", in_zlib), 2),
    (lambda: timed("in_hashlib", in_hashlib), 2),
    (sorting, 2),
    (calling_back, 2),
]


def main():
    chance = random.Random(2)
    rounds = [run for run, times in PARTS for _ in range(times)]
    end = time.thread_time() + float(sys.argv[1])
    while time.thread_time() < end:
        chance.shuffle(rounds)  # else a part might run in step with the sampling
        for run in rounds:
            run()
    with open(sys.argv[2], "w") as truth:
        json.dump(CALLS, truth)


print("ready", flush=True)
while not os.path.exists(sys.argv[3]):
    time.sleep(0.01)
main()
