"""One thread overwrites its own thread state, two do ordinary work.

Arguments: the compiled scribble.c, and a JSON list: the offsets of its `struct places`, and those
in a thread state of its newest frame or record and of its records (-1: none) and whether another
thread's frames can be told from one's own.
"""

import ctypes
import gc
import json
import sys
import threading
import time
import zlib

LIBRARY = ctypes.CDLL(sys.argv[1])
*PLACES, NEWEST, CFRAMES, TELLS_THREADS = json.loads(sys.argv[2])


def planted():
    raise AssertionError("it never runs: it is in frames that were made up")


def thread_state():
    get = ctypes.pythonapi.PyThreadState_Get
    get.restype = ctypes.c_void_p
    return get()


def scribbling(other):
    state = thread_state()
    LIBRARY.scribble(
        (ctypes.c_long * len(PLACES))(*PLACES),
        ctypes.c_void_p(state + NEWEST),
        ctypes.c_void_p(state + CFRAMES if CFRAMES >= 0 else None),
        ctypes.c_void_p(other + NEWEST if TELLS_THREADS else None),
        ctypes.c_void_p(id(planted.__code__)),
    )


def packing():
    data = bytes(range(256)) * 200
    while True:
        zlib.compress(data)


def key(number):
    return -number


def ordinary():
    while True:
        sorted(range(50), key=key)


def main():
    gc.disable()  # in some versions it looks at every thread's frames
    for run, arguments in ((packing, ()), (scribbling, (thread_state(),))):
        threading.Thread(target=run, args=arguments, daemon=True).start()
    time.sleep(0.1)
    print("ready", flush=True)
    ordinary()


main()
