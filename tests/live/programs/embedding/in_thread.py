"""An interpreter that was started in a thread of a C program, and a thread of its own.

hosted = pthread c:host_python py:<module>
stack = hosted py:work c:builtin_sorted ( c:list_sort* )+ py:key | thread py:spin
"""

import threading

NUMBERS = [(i * 7919) % 1009 for i in range(200)]


def key(number):
    for bit in range(30):
        number ^= bit
    return number


def work():
    return sorted(NUMBERS, key=key)


def spin():
    while True:
        for bit in range(1000):
            bit ^= bit


threading.Thread(target=spin, daemon=True).start()
print("ready", flush=True)
while True:
    work()
