"""A debugger that steps: set_trace() in the middle of a function, then a scripted session.

event = ( c:*_trampoline,call_*,sys_*,*instrument*,_Py_call_*,_PyEval_*,maybe_call* )+
own = ( py:bdb.py:*,contextlib.py:*,linecache.py:*,<frozen*linecache>:* c:* )+
stack = root py:work ( py:traced ( ( py:step )? ( event )? own ( py:Scripted.* ( own )? )? )? )?
"""

import bdb


class Scripted(bdb.Bdb):
    """Presses "s" thirty times, then "c", as someone at a prompt would."""

    left = 0

    def user_line(self, frame):
        value = 0
        for bit in range(100):
            value ^= bit
        self.left -= 1
        if self.left:
            self.set_step()
        else:
            self.set_continue()

    def user_return(self, frame, value):
        self.set_step()


DEBUGGER = Scripted()


def step(number):
    for bit in range(30):
        number ^= bit
    return number


def traced():
    DEBUGGER.left = 30
    DEBUGGER.set_trace()
    for number in range(10):
        step(number)


def work():
    traced()


print("ready", flush=True)
while True:
    work()
