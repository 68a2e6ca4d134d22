"""Known CPU shares beside threads that only wait: `busy_and_idle.py PROGRAM ARGUMENT...`.

PROGRAM is tests/live/shares_program.py. The idle threads wait in the kernel, each kind in a
function of its own.
"""

import os
import runpy
import select
import sys
import threading
import time

IDLE_OF_EACH = 3


def idle_in_lock():
    threading.Event().wait()


def idle_in_sleep():
    time.sleep(1000)


def idle_in_read():
    os.read(os.pipe()[0], 1)


def idle_in_select():
    select.select([os.pipe()[0]], [], [])


for wait in (idle_in_lock, idle_in_sleep, idle_in_read, idle_in_select):
    for _ in range(IDLE_OF_EACH):
        threading.Thread(target=wait, daemon=True).start()
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
