"""Runs machine code in anonymous memory and tells it to perf as a JIT compiler would.

    jit_by_hand.py map TRUTH         a perf map; the same memory is another function every second
    jit_by_hand.py dump TRUTH        the same in a jitdump file
    jit_by_hand.py fork TRUTH        a second long it is one function here and another in a child
    jit_by_hand.py rules MOVED       code that calls Python back, and how to unwind it, in a jitdump
    jit_by_hand.py names MOVED       the same without how to unwind it

TRUTH is a file: a line for each, when it was about to be told and when it was (CLOCK_MONOTONIC).
The code counts down, so it is what runs; Python calls it through ctypes.
MOVED: after a second, the code that calls back is moved, if it is "moved".
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
# sub $40, %rsp; call *%rdi; lea 1f(%rip), %rax; jmp *%rax; 1: add $40, %rsp; ret
# It has no frame pointer, and behind an indirect jump nobody finds its way out.
CALLER = bytes.fromhex("4883ec28 ffd7 488d0502000000 ffe0 4883c428 c3")
# The CIE: rsp + 8. The FDE: from byte 4 on rsp + 48, from 19 on rsp + 8. Then .eh_frame_hdr.
CIE = bytes.fromhex("14000000 00000000 017a5200 01781001 1b0c0708 90010000")
PROGRAM = bytes.fromhex("00 440e30 4f0e08 00")
HEADER = bytes.fromhex("011b033b 00000000 00000000")
PLACED: list[mmap.mmap] = []


def main(how: str, truth: str) -> None:
    if how in ("rules", "names"):
        call_back(how == "rules", truth == "moved")
    address = placed(CODE)
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


def placed(code: bytes) -> int:
    """Its address, in memory that stays."""
    memory = mmap.mmap(
        -1,
        4096,
        flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS,
        prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC,
    )
    memory.write(code)
    PLACED.append(memory)
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def call_back(rules: bool, moved: bool) -> None:
    """Call Python from code without a frame pointer, for ever."""
    address, dump = placed(CALLER), Dump()
    if rules:
        dump.say_rules(len(CALLER))
    dump.say(address, "caller of JIT", CALLER)
    burner = ctypes.CFUNCTYPE(None)(burn)
    print("ready", flush=True)
    moved_at = time.monotonic() + PHASE_S
    while True:
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)(burner)
        if moved and time.monotonic() >= moved_at:
            moved, before = False, address
            address = placed(CALLER)
            dump.say_moved(before, address, len(CALLER))
            ctypes.memset(before, 0xCC, len(CALLER))


def burn() -> None:
    for _ in range(200_000):
        pass


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

    def say(self, address: int, name: str, code: bytes = CODE) -> None:
        self._index += 1
        pid = os.getpid()
        body = struct.pack("<IIQQQQ", pid, pid, address, address, len(code), self._index)
        self._write(0, body + name.encode() + b"\0" + code)

    def say_moved(self, before: int, after: int, size: int) -> None:
        """The code that was said last is elsewhere now."""
        pid = os.getpid()
        self._write(1, struct.pack("<IIQQQQQ", pid, pid, after, before, after, size, self._index))

    def say_rules(self, size: int) -> None:
        """Those of the code that is said next; as if they lay behind it, aligned to 8 bytes."""
        to_code = -((size + 7 & -8) + len(CIE) + 8)
        fde = struct.pack("<IIiI", 12 + len(PROGRAM), len(CIE) + 4, to_code, size) + PROGRAM
        data = CIE + fde + bytes(4) + HEADER
        self._write(4, struct.pack("<QQQ", len(data), len(HEADER), 0) + data)

    def _write(self, kind: int, body: bytes) -> None:
        os.write(self._fd, struct.pack("<IIQ", kind, 16 + len(body), time.monotonic_ns()) + body)


if __name__ == "__main__":
    main(*sys.argv[1:])
