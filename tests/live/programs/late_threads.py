"""Threads that begin and end all the time, after the recording has begun.

The C library's clone has no unwind table around its system call: there the walk starts again at
the marker, and nothing is known of the C between.

stack = root ( py:threading.py:*,_weakrefset.py:* )+
      | root py:threading.py:Thread.start mark:gap c:@libc.so*
      | thread py:spin
      | pthread
      | pthread py:threading.py:Thread._bootstrap ( py:threading.py:*,_weakrefset.py:* )*
"""

import threading


def spin():
    value = 0
    for bit in range(100_000):
        value ^= bit


print("ready", flush=True)
while True:
    one = threading.Thread(target=spin, name="late")
    one.start()
    one.join()
