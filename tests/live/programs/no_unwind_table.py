"""C without unwind tables calls back into Python: the native walk must start again at the marker.

out = ( c:@_ctypes* )* ( c:@libffi* )*
back = ( c:@libffi* )+ ( c:@_ctypes* )+
stack = root py:work ( out ( c:@libbare* )+ back | ( mark:gap )? ( c:@libbare* )* back )
        py:visit
"""

import ctypes
import sys


@ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_long)
def visit(number):
    for bit in range(300):
        number ^= bit
    return number & 1


BARE = ctypes.CDLL(sys.argv[1])
BARE.call_back.restype = ctypes.c_long


def work():
    BARE.call_back(visit, ctypes.c_long(20))


print("ready", flush=True)
while True:
    work()
