"""sys.settrace: the interpreter calls Python for every line.

event = ( c:*_trampoline,call_trace*,sys_*,*instrument*,_Py_call_*,maybe_call*,trace_line* )+
stack = root py:work ( py:step )? event py:observe
"""

import sys


def observe(frame, event, argument):
    value = 0
    for bit in range(50):
        value ^= bit
    return observe


def step(number):
    return number + 1


def work():
    for number in range(50):
        step(number)


sys.settrace(observe)
print("ready", flush=True)
while True:
    work()
