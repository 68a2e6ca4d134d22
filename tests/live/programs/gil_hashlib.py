"""hashlib over much data in a thread: the GIL is released inside hand-written assembler.

While that code puts another buffer on the stack, two instructions long, its unwind table counts
from a register that no row of the probe's tables can name: there the walk starts again at the
marker, once in some thousand samples.

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
