"""Sub-interpreters in threads: one that a thread made and runs, one that has a thread of its own.

Where they share one GIL, before 3.12, nothing makes one give it up for another: so they sleep.

run = ( c:@_interp*,@_xxsub*,interp_*,_interp_*,_run* )+
stack = root
      | thread py:serve run py:<string>:<module>,<script>:<module> py:<string>:spend,<script>:spend
      | thread py:serve run py:<string>:<module>,<script>:<module> ( py:threading.py:* )+
      | thread py:<string>:spin,<script>:spin
"""

import os
import sys
import threading
import time

try:
    import _interpreters
except ImportError:
    import _xxsubinterpreters as _interpreters

SPENDING = """
def spend():
    value = 0
    for bit in range(20_000):
        value ^= bit
import os, time
os.write({ready}, b"1")
while True:
    spend()
    time.sleep(0)
"""

SPINNING = """
import os, threading, time
def spin():
    os.write({ready}, b"1")
    while True:
        for bit in range(20_000):
            bit ^= bit
        time.sleep(0)
thread = threading.Thread(target=spin)
thread.start()
thread.join()
"""


def create():
    if (3, 9) <= sys.version_info < (3, 12):
        return _interpreters.create(isolated=False)  # only so it may start threads
    return _interpreters.create()


def serve(script):
    _interpreters.run_string(create(), script)


read_end, write_end = os.pipe()
for script in (SPENDING, SPINNING):
    text = script.format(ready=write_end)
    threading.Thread(target=serve, args=(text,), daemon=True).start()
    os.read(read_end, 1)
print("ready", flush=True)
while True:
    time.sleep(60)
