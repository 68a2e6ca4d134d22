"""A thread that C started and that never sees Python.

stack = root | pthread ( c:@libhelper* )+
"""

import ctypes
import sys
import time

HELPER = ctypes.CDLL(sys.argv[1])
HELPER.start_burner()
print("ready", flush=True)
while True:
    time.sleep(60)
