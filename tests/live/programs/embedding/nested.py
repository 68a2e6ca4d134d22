"""Three interpreters that call one another on one thread, the first of them twice.

The host runs this file in each of them. A stack of all: 0 → 1 → 2 → 0, so that the frames of
interpreter 0 lie on both sides of the others'.

cross = c:cross c:call_main
stack = entry c:call_main py:work cross py:second cross py:third cross py:home
"""

import host


def work():
    while True:
        value = 0
        for bit in range(3000):
            value ^= bit
        host.call(1, "second")


def second():
    value = 0
    for bit in range(3000):
        value ^= bit
    host.call(2, "third")


def third():
    value = 0
    for bit in range(3000):
        value ^= bit
    host.call(0, "home")


def home():
    value = 0
    for bit in range(10_000):
        value ^= bit
