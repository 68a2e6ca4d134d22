"""Where the time goes while the GIL is released.

    mixstack record -- python examples/without_the_gil.py 3
    mixstack info out.data

Four threads hash at the same time. Each is inside C and holds no GIL; each still shows the Python
function, and its line, that called into C.
"""

from __future__ import annotations

import hashlib
import sys
import threading
import time

DATA = bytes(1 << 20)


def digest(until: float) -> None:
    while time.monotonic() < until:
        hashlib.sha512(DATA).digest()


if __name__ == "__main__":
    end = time.monotonic() + (float(sys.argv[1]) if len(sys.argv) > 1 else 3)
    threads = [threading.Thread(target=digest, args=(end,), name=f"hash {i}") for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
