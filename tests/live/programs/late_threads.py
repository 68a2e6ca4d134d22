"""Threads that begin and end all the time, after the recording has begun.

The C library's clone has no unwind table around its system call. In the system call the caller is
found all the same, and a new thread begins there; in the instructions behind it the walk starts
again at the marker, and nothing is known of the C between, and a new thread has no marker yet.
A thread that the kernel is ending has no stack.

daemon = ( c:PyObject_GetAttr,_PyObject_G* )+ ( c:property_descr_get )?
         py:threading.py:Thread.daemon
stack = root ( py:threading.py:*,_weakrefset.py:* )+ ( daemon )?
      | root py:threading.py:Thread.start mark:gap c:@libc.so*
      | mark:cut c:@libc.so*
      | mark:exiting c:@libc.so*
      | root c:* c:PyObject_ClearWeakRefs ( c:handle_callback )?
        py:_weakrefset.py:WeakSet.__init__.<locals>._remove
      | thread py:spin
      | pthread
      | pthread py:threading.py:Thread._bootstrap ( py:threading.py:*,_weakrefset.py:* )*
        ( daemon )?
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
