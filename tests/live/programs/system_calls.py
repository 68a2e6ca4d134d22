"""os.read in a loop: nearly every sample is in the kernel.

stack = root py:work ( c:os_read*,_Py_read )+ ( c:@libc.so*,read,__read )+ k:*
"""

import os

ZERO = os.open("/dev/zero", os.O_RDONLY)


def work():
    for _ in range(100):
        os.read(ZERO, 65536)


print("ready", flush=True)
while True:
    work()
