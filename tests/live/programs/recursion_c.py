"""Recursion in which every second step is C: max(key=...) that calls itself.

stack = root py:work py:deeper ( ( c:builtin_max )? c:min_max py:deeper )*
"""


def deeper(depth):
    value = 0
    for bit in range(20):
        value ^= bit
    if depth:
        max((depth - 1,), key=deeper)
    return value


def work():
    return deeper(15)


print("ready", flush=True)
while True:
    work()
