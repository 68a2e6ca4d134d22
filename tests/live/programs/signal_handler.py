"""A signal handler in Python: the evaluator calls it between two instructions.

A handler that takes longer than the timer is itself interrupted.

deliver = ( c:_Py_HandlePending,*eval_breaker* )? c:_PyErr_CheckSignalsTstate
deliver[3.8] = ( c:handle_signals )? c:_PyErr_CheckSignals
stack = root ( py:work )? ( deliver py:handler )+
"""

import signal


def handler(number, frame):
    value = 0
    for bit in range(5000):
        value ^= bit


def work():
    value = 0
    for bit in range(1000):
        value ^= bit


signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
print("ready", flush=True)
while True:
    work()
