"""Work for a profiler: Python that calls C that calls Python, C without the GIL, and the kernel.

    python mixed.py [SECONDS]

Three threads, with names that the kernel knows too: `records` sorts, parses and rewrites text, with
Python callbacks inside C functions; `packing` compresses and hashes; `files` writes and reads.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable
from typing import Any

WORDS = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "zeta",
    "eta",
    "theta",
    "iota",
    "kappa",
    "lambda",
    "mu",
]
RATES = {word: 1 + len(word) / 100 for word in WORDS}


class Order:
    """What `as_order` makes of a JSON object."""

    def __init__(self, name: str, price: float, count: int) -> None:
        self.name = name
        self.price = price
        self.count = count

    @property
    def total(self) -> float:
        """What it costs."""
        return self.price * self.count


def as_order(fields: dict[str, Any]) -> Order:
    """Called by the JSON scanner, which is C, for each object."""
    return Order(fields["name"], fields["price"], fields["count"])


def by_total(order: Order) -> float:
    """Called by list.sort, which is C, for each order."""
    return with_tax(order.total, order.name)


def with_tax(total: float, name: str) -> float:
    """The price with all that comes on top, a little each year."""
    for _ in range(12):
        total *= RATES[name]
    return total


def shout(match: re.Match[str]) -> str:
    """Called by the regular expression engine, which is C, for each match."""
    return match[0].upper()


def load_orders(text: str) -> list[Order]:
    """C calls Python: object_hook."""
    orders: list[Order] = json.loads(text, object_hook=as_order)
    return orders


def rank(orders: list[Order]) -> list[Order]:
    """C calls Python: key."""
    return sorted(orders, key=by_total)


def rewrite(text: str) -> str:
    """C calls Python: the replacement of re.sub."""
    return re.sub(r"[a-m]\w+", shout, text)


def make_text(orders: int) -> str:
    """JSON, the same in every run."""
    generator = random.Random(1)
    rows = [
        {"name": generator.choice(WORDS), "price": generator.random() * 100, "count": i % 7 + 1}
        for i in range(orders)
    ]
    return json.dumps(rows)


TEXT = make_text(4000)


def records() -> None:
    """One round of work that holds the GIL."""
    ranked = rank(load_orders(TEXT))
    rewrite(" ".join(order.name for order in ranked))


def packing() -> None:
    """One round of C that releases the GIL."""
    data = bytes(range(256)) * 4096
    packed = zlib.compress(data, level=6)
    for _ in range(4):
        hashlib.sha256(data + packed).hexdigest()


def files() -> None:
    """One round of work that is the kernel's."""
    with tempfile.TemporaryFile() as file:
        block = os.urandom(1 << 20)
        for _ in range(8):
            file.write(block)
        file.flush()
        file.seek(0)
        while file.read(1 << 20):
            pass


def repeat(work: Callable[[], None], end: float) -> None:
    """Do `work` over and over until the monotonic clock says `end`."""
    name_thread(work.__name__)
    while time.monotonic() < end:
        work()


def name_thread(name: str) -> None:
    """Tell the kernel the thread's name, which Python does by itself only from 3.14 on."""
    with open(f"/proc/self/task/{threading.get_native_id()}/comm", "w") as file:
        file.write(name)


def main() -> None:
    """Start the threads and wait for them."""
    end = time.monotonic() + float(sys.argv[1] if len(sys.argv) > 1 else 5)
    threads = [threading.Thread(target=repeat, args=(work, end)) for work in (packing, files)]
    for thread in threads:
        thread.start()
    repeat(records, end)
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
