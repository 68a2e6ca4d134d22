"""A signal handler in Python: the evaluator calls it between two instructions.

A handler sets the timer anew when it begins, so that it is itself interrupted; but not without end,
however slow the machine is.

deliver = ( c:_Py_HandlePending,*eval_breaker* )? c:_PyErr_CheckSignalsTstate
deliver[3.8] = ( c:handle_signals )? c:_PyErr_CheckSignals
stack = root ( py:work )? ( deliver py:handler )+
"""

import signal

DEEPEST = 4
running = 0


def handler(number, frame):
    global running
    running += 1
    signal.setitimer(signal.ITIMER_REAL, 0.0001 if running < DEEPEST else 0)
    value = 0
    for bit in range(5000):
        value ^= bit
    running -= 1
    if not running:
        signal.setitimer(signal.ITIMER_REAL, 0.001)


def work():
    value = 0
    for bit in range(1000):
        value ^= bit


signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.001)
print("ready", flush=True)
while True:
    work()
