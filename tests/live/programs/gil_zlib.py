"""zlib.compress of much data in a thread: the GIL is released, the Python frames are still there.

stack = root | thread py:squeeze ( c:zlib_compress*,@zlib* )+ ( c:@libz.so*,@libc.so* )+
"""

import threading
import time
import zlib

DATA = bytes(range(256)) * 4096


def squeeze():
    while True:
        zlib.compress(DATA, 6)


threading.Thread(target=squeeze, daemon=True).start()
print("ready", flush=True)
while True:
    time.sleep(60)
