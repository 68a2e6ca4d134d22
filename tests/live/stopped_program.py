"""The target of the debugger oracle: argv[1] is the file of a program that goes on for ever.

Its threads: two run that program, one sorts in C with a Python callback, one is made by C and
calls in, one compresses without the GIL, one sleeps.
"""

import ctypes
import re
import sys
import threading
import time
import zlib

LIBC = ctypes.CDLL(None)
NUMBERS = ctypes.c_int * 50
COMPARE = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.POINTER(ctypes.c_int)] * 2)
START = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)


@COMPARE
def compare(left, right):
    return left[0] - right[0]


def sorting():
    while True:
        LIBC.qsort(NUMBERS(*range(50, 0, -1)), 50, 4, compare)
        re.sub("a+", lambda match: match.group() * 2, "baab" * 30)


@START
def called_from_c(_argument):
    sorting()


def packing():
    data = bytes(range(256)) * 200
    while True:
        zlib.compress(data)


def sleeping():
    while True:
        time.sleep(0.001)


def program():
    with open(sys.argv[1], encoding="utf-8") as file:
        code = compile(file.read(), sys.argv[1], "exec")
    exec(code, {"__name__": "program", "print": lambda *_, **__: None})


def main():
    thread = ctypes.c_ulong()
    LIBC.pthread_create(ctypes.byref(thread), None, called_from_c, None)
    for run in (program, sorting, packing, sleeping):
        threading.Thread(target=run, daemon=True).start()
    time.sleep(0.2)
    print("ready", flush=True)
    program()


main()
