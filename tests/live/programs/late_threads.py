"""Threads that begin and end all the time, after the recording has begun.

stack = root ( py:threading.py:*,_weakrefset.py:* )+
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
