"""C whose unwind rules count from rax, r11 and rbx: in a leaf, under a signal, in a caller.

A handler in C runs in the midst of it.

out = ( c:@_ctypes* )* ( c:@libffi* )*
odd = c:leaf_by_rax | c:leaf_by_r11 | c:call_by_rbx ( c:@libodd_rules* )+
      | c:call_by_rax c:@libodd_rules*
stack = root py:work out ( odd ) ( c:@libc* c:handler )?
"""

import ctypes
import sys

ODD = ctypes.CDLL(sys.argv[1])


def work():
    ODD.leaf_by_rax()
    ODD.leaf_by_r11()
    ODD.call_by_rbx()
    ODD.call_by_rax()


ODD.interrupt_often()
print("ready", flush=True)
while True:
    work()
