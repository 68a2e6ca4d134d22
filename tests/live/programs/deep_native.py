"""C recursion deeper than a sample holds, with Python at both ends.

back = ( c:@libffi* )+ ( c:@_ctypes* )+
out = ( c:@_ctypes* )+ ( c:@libffi* )+
rest = ( c:@_ctypes* )* ( c:@libffi* )* ( c:descend )+ ( back py:visit )?
stack = py:<module> py:work mark:truncated rest
      | mark:truncated c:* py:<module> py:work out ( c:descend )+
      | root py:work out ( c:descend )*
"""

import ctypes
import sys


@ctypes.CFUNCTYPE(None)
def visit():
    value = 0
    for bit in range(100_000):
        value ^= bit


HELPER = ctypes.CDLL(sys.argv[1])


def work():
    HELPER.descend(visit, 400)


print("ready", flush=True)
while True:
    work()
