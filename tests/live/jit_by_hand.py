"""Runs machine code in anonymous memory and tells it to perf as a JIT compiler would.

    jit_by_hand.py map TRUTH         a perf map; the same memory is another function every second
    jit_by_hand.py dump TRUTH        the same in a jitdump file
    jit_by_hand.py fork TRUTH        a second long it is one function here and another in a child

TRUTH is a file: a line for each, when it was about to be told and when it was (CLOCK_MONOTONIC).
The code counts down, so it is what runs; Python calls it through ctypes.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import sys
import time

# mov rax, rdi; 1: dec rax; jnz 1b; ret
CODE = bytes.fromhex("4889f8 48ffc8 75fb c3")
TURNS = 20_000_000
PHASE_S = 1.0


def main(how: str, truth: str) -> None:
    memory = mmap.mmap(
        -1,
        4096,
        flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS,
        prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC,
    )
    memory.write(CODE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    count_down = ctypes.CFUNCTYPE(None, ctypes.c_long)(address)
    if how == "fork":
        child = os.fork()
        say_in_map(address, "parent of JIT" if child else "child of JIT")
        end = time.monotonic() + PHASE_S
        while time.monotonic() < end:
            count_down(TURNS)
        if child:
            os.waitpid(child, 0)
        return
    say = say_in_map if how == "map" else Dump().say
    print("ready", flush=True)
    for number in range(1000):
        before_ns = time.monotonic_ns()
        say(address, f"phase{number} of JIT")
        with open(truth, "a") as file:
            file.write(f"{before_ns} {time.monotonic_ns()} {number}\n")
        end = time.monotonic() + PHASE_S
        while time.monotonic() < end:
            count_down(TURNS)


def say_in_map(address: int, name: str) -> None:
    with open(f"/tmp/perf-{os.getpid()}.map", "a") as file:
        file.write(f"{address:x} {len(CODE):x} {name}\n")


class Dump:
    """A jitdump file (tools/perf/Documentation/jitdump-specification.txt), mapped as perf asks."""

    def __init__(self) -> None:
        # Open and mapped for as long as the process lives.
        self._fd = os.open(f"/tmp/jit-{os.getpid()}.dump", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.write(self._fd, struct.pack("<IIIIIIQQ", 0x4A695444, 1, 40, 62, 0, os.getpid(), 0, 0))
        self._mapped = mmap.mmap(
            self._fd, 40, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC
        )
        self._index = 0

    def say(self, address: int, name: str) -> None:
        self._index += 1
        pid = os.getpid()
        body = struct.pack("<IIQQQQ", pid, pid, address, address, len(CODE), self._index)
        body += name.encode() + b"\0" + CODE
        os.write(self._fd, struct.pack("<IIQ", 0, 16 + len(body), time.monotonic_ns()) + body)


if __name__ == "__main__":
    main(*sys.argv[1:])
