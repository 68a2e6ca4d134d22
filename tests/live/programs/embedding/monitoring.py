"""sys.monitoring (3.12): the interpreter calls back for each start of a function and each line.

event = ( c:*instrument*,call_one_instrument,_Py_call_*,monitoring_* )+
stack = root py:work ( py:step )? event py:on_start,on_line
"""

import sys


def on_start(code, offset):
    value = 0
    for bit in range(50):
        value ^= bit


def on_line(code, line):
    value = 0
    for bit in range(50):
        value ^= bit


def step(number):
    return number + 1


def work():
    for number in range(50):
        step(number)


TOOL = sys.monitoring.PROFILER_ID
EVENTS = sys.monitoring.events
sys.monitoring.use_tool_id(TOOL, "test")
sys.monitoring.register_callback(TOOL, EVENTS.PY_START, on_start)
sys.monitoring.register_callback(TOOL, EVENTS.LINE, on_line)
for function in (work, step):
    sys.monitoring.set_local_events(TOOL, function.__code__, EVENTS.PY_START | EVENTS.LINE)
print("ready", flush=True)
while True:
    work()
