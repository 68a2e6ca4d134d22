"""sys.setprofile: the interpreter calls Python for every call and return of Python.

event = ( c:*_trampoline,call_trace*,sys_*,*instrument*,_Py_call_*,call_prof* )+
stack = root py:work py:step event py:observe
"""

import sys


def observe(frame, event, argument):
    value = 0
    for bit in range(50):
        value ^= bit


def step(number):
    return number + 1


def work():
    """Itself it calls once, so every event is one of `step`."""
    sys.setprofile(observe)
    print("ready", flush=True)
    while True:
        step(3)


work()
