"""qsort of the C library with a Python comparison: out through libffi, and in again through it.

libffi enters a callback through a few generated instructions, of which there is no unwind table.

out = ( c:@_ctypes* )+ ( c:@libffi* )+
back = ( c:@libffi* )+ ( c:@_ctypes* )+
stack = root py:work out ( c:@libc.so*,qsort*,msort* )+ back py:compare
      | root py:work mark:gap c:*
"""

import ctypes

LIBC = ctypes.CDLL(None)
COMPARISON = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int)
)
NUMBERS = [(i * 7919) % 1009 for i in range(50)]
Array = ctypes.c_int * len(NUMBERS)


@COMPARISON
def compare(left, right):
    a, b = left[0], right[0]
    for bit in range(30):
        a ^= bit
        b ^= bit
    return (a > b) - (a < b)


def work():
    array = Array(*NUMBERS)
    LIBC.qsort(array, len(NUMBERS), ctypes.sizeof(ctypes.c_int), compare)


print("ready", flush=True)
while True:
    work()
