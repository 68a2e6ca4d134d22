"""Runs inside gdb: stops the process that it is attached to at random moments, and writes down
what gdb makes of each thread's stack.

Environment: MIXSTACK_STOPS (how many), MIXSTACK_OUT (a file: one JSON object per thread and stop).
"""

from __future__ import annotations

import json
import os
import random
import subprocess

import gdb  # type: ignore[import-not-found]

# x86-64 psABI, figure 3.36
BY_DWARF_NUMBER = ("rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp")
BY_DWARF_NUMBER += ("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15")
_READ_MIN, _READ_MAX = 1024, 1 << 20  # bytes of stack to keep from each frame on


def look(thread: gdb.InferiorThread, inferior: gdb.Inferior) -> dict[str, object]:
    """Registers, frames [pc, CFA or None] innermost first, and the memory that the frames cover."""
    thread.switch()
    leaf = gdb.newest_frame()
    registers = {name: number(leaf, name) for name in ("rip", *BY_DWARF_NUMBER)}
    frames: list[tuple[int, int | None]] = []
    memory: list[tuple[int, str]] = []
    frame = leaf
    while frame is not None:
        outer = frame.older()
        # gdb makes frames up for inlined functions and tail calls: they share the real one's stack.
        if frame.type() not in (gdb.INLINE_FRAME, gdb.TAILCALL_FRAME):
            sp = number(frame, "rsp")
            cfa = None if outer is None else number(outer, "rsp")
            frames.append((frame.pc(), cfa))
            size = max(_READ_MIN, min((cfa or sp) - sp, _READ_MAX))
            memory.append((sp - 128, read(inferior, sp - 128, size + 128)))
        frame = outer
    others = [registers[name] for name in BY_DWARF_NUMBER]
    return {"registers": registers, "others": others, "frames": frames, "memory": memory}


def number(frame: gdb.Frame, register: str) -> int:
    return int(frame.read_register(register)) & 0xFFFFFFFFFFFFFFFF


def read(inferior: gdb.Inferior, address: int, size: int) -> str:
    """The bytes as hex; fewer than asked for at the end of a stack."""
    while size >= 8:
        try:
            return bytes(inferior.read_memory(address, size)).hex()
        except gdb.MemoryError:
            size = size * 3 // 4
    return ""


def main() -> None:
    for setting in ("pagination off", "backtrace past-main on", "backtrace past-entry on"):
        gdb.execute(f"set {setting}")
    gdb.execute("handle SIGINT stop nopass", to_string=True)
    inferior = gdb.selected_inferior()
    random.seed(1)
    with open(os.environ["MIXSTACK_OUT"], "w") as out:
        for _ in range(int(os.environ["MIXSTACK_STOPS"])):
            # Another process sends the signal: gdb keeps Python's lock while the target runs.
            delay = random.uniform(0.02, 0.05)
            command = f"sleep {delay}; kill -INT {inferior.pid}"
            stopper = subprocess.Popen(["sh", "-c", command], stdin=subprocess.DEVNULL)
            gdb.execute("continue", to_string=True)
            stopper.wait()
            for thread in inferior.threads():
                out.write(json.dumps(look(thread, inferior)) + "\n")
    gdb.execute("kill")


main()
