"""Frames of all sizes, of Python and of C: far larger than what is read at once, and smaller.

Of the C frames most pages were never touched: they are not there.

out = ( c:@_ctypes* )+ ( c:@libffi* )+
back = ( c:@libffi* )+ ( c:@_ctypes* )+
stack = root py:<string>:wide_1 py:<string>:wide_90 py:<string>:wide_110 py:<string>:wide_127
        py:<string>:wide_300 py:<string>:wide_510 py:<string>:wide_1100 py:<string>:wide_4000
        ( c:partial_* )? out ( c:spread )+ back py:visit
"""

import ctypes
import functools
import sys


@ctypes.CFUNCTYPE(None)
def visit():
    value = 0
    for bit in range(300_000):
        value ^= bit


HELPER = ctypes.CDLL(sys.argv[1])


def wide(locals_number, inner):
    names = " = ".join(f"local_{number}" for number in range(locals_number))
    known = {"inner": inner}
    exec(f"def wide_{locals_number}():\n    {names} = 0\n    inner()", known)
    return known[f"wide_{locals_number}"]


work = functools.partial(HELPER.spread, visit, 40)
for size in (4000, 1100, 510, 300, 127, 110, 90, 1):
    work = wide(size, work)

print("ready", flush=True)
while True:
    work()
