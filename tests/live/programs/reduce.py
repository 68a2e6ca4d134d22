"""functools.reduce: a callback from C with two arguments.

stack = root py:work c:*functools_reduce* py:step
"""

import functools

NUMBERS = range(200)


def step(total, number):
    for bit in range(30):
        total ^= number << bit
    return total & 0xFFFF


def work():
    return functools.reduce(step, NUMBERS)


print("ready", flush=True)
while True:
    work()
