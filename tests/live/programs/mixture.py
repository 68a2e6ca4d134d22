"""Generators, callbacks, recursion and classes in one: the workload of the trampoline oracle.

It has no `stack` rule: the names that the interpreter's own trampolines give are what it must meet.
"""

import contextlib
import functools
import json


class Point:
    def __init__(self, x, y):
        self.x = spend(x)
        self.y = y

    def __getattr__(self, name):
        return spend(3)

    def __add__(self, other):
        return Point(self.x + other.x, self.y)

    def __lt__(self, other):
        return self.x < other.x

    def __del__(self):
        spend(2)


class Shifted(Point):
    def __init__(self, x):
        super().__init__(x, x)


class Ready:
    def __await__(self):
        yield spend(2)


def spend(number):
    for bit in range(8):
        number ^= bit
    return number & 0xFF


def fibonacci(number):
    return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)


def deeper(depth):
    return max((depth - 1,), key=deeper) if depth else spend(depth)


def numbers(count):
    for number in range(count):
        yield spend(number)


def delegated(count):
    yield from numbers(count)


def hook(mapping):
    return spend(len(mapping))


def key(point):
    return spend(point.missing)


async def awaiting():
    for _ in range(3):
        await Ready()


def drive():
    coroutine = awaiting()
    try:
        while True:
            coroutine.send(None)
    except StopIteration:
        pass


def raising(number):
    try:
        raise ValueError(spend(number))
    finally:
        spend(number)


def work():
    points = [Shifted(number) for number in range(10)]
    sorted(points, key=key)
    sorted(points)
    functools.reduce(lambda total, point: total + point, points)
    sum(numbers(20))
    sum(delegated(20))
    for _ in delegated(20):
        pass
    list(map(spend, filter(spend, range(20))))
    fibonacci(8)
    deeper(8)
    drive()
    json.loads('[{"a": {"b": 1}}, {"c": 2}]', object_hook=hook)
    with contextlib.suppress(ValueError):
        raising(3)


print("ready", flush=True)
while True:
    work()
