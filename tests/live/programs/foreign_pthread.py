"""A thread that C started calls in through ctypes; each call makes and drops a thread state.

libffi enters a callback through a few generated instructions, of which there is no unwind table.

stack = root
      | pthread ( c:@libhelper* )+ ( c:@libffi* )+ ( c:@_ctypes* )+ py:visit
      | pthread ( c:@libhelper* )+
      | mark:cut c:*
"""

import ctypes
import sys
import time


@ctypes.CFUNCTYPE(None)
def visit():
    value = 0
    for bit in range(3000):
        value ^= bit


HELPER = ctypes.CDLL(sys.argv[1])
HELPER.start_caller(visit)
print("ready", flush=True)
while True:
    time.sleep(60)
