"""Sub-interpreters in threads: one that a thread made and runs, one that has a thread of its own.

run = ( c:@_interp*,@_xxsub*,interp_*,_interp_*,_run* )+
stack = root
      | thread py:serve run py:<string>:<module> py:<string>:spend
      | thread py:<string>:spin
"""

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
while True:
    spend()
"""

SPINNING = """
import threading
def spin():
    while True:
        for bit in range(20_000):
            bit ^= bit
thread = threading.Thread(target=spin)
thread.start()
thread.join()
"""


def serve(script):
    _interpreters.run_string(_interpreters.create(), script)


for script in (SPENDING, SPINNING):
    threading.Thread(target=serve, args=(script,), daemon=True).start()
print("ready", flush=True)
while True:
    time.sleep(60)
