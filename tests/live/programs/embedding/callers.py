"""Threads that C started: outside of Python, called in, and called in from a call.

Each call from outside makes a thread state and drops it; the call from inside uses the same again.

outside = pthread c:caller
stack = outside ( c:stay_outside )?
      | outside c:call_in py:visit c:again c:call_in py:inner
"""

import host


def visit():
    value = 0
    for bit in range(5000):
        value ^= bit
    host.again()


def inner():
    value = 0
    for bit in range(5000):
        value ^= bit
