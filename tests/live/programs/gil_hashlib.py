"""hashlib over much data in a thread: the GIL is released inside hand-written assembler.

For some instructions its unwind table counts from registers that only a leaf can tell.

stack = root | thread py:digest ( c:@_hashlib*,EVP_* )+ ( c:@libcrypto* )+
"""

import hashlib
import threading
import time

DATA = bytes(1 << 20)


def digest():
    while True:
        hashlib.sha512(DATA)


threading.Thread(target=digest, daemon=True).start()
print("ready", flush=True)
while True:
    time.sleep(60)
