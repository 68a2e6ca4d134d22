"""Code without call frame information: once a sample has met it, its stacks are whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mixstack.model import NativeEnd, Sample

from .harness import record, running

pytestmark = pytest.mark.live

# A kernel as OpenBLAS has them: it aligns its stack, and calls nothing.
SOURCE = """
.text; .globl kernel; .type kernel, @function
kernel:
    push %rbp; push %rbx; mov %rsp, %rbx; sub $4096, %rsp; and $-4096, %rsp
    mov $20000000, %ebp
1:  dec %ebp; jnz 1b
    mov %rbx, %rsp; pop %rbx; pop %rbp; ret
.size kernel, . - kernel
.section .note.GNU-stack, "", @progbits
"""
PROGRAM = """
import ctypes, sys
kernel = ctypes.CDLL(sys.argv[1]).kernel
print('ready', flush=True)
while True: kernel()
"""


def test_a_kernel_without_rules_gets_them(tmp_path: Path) -> None:
    (tmp_path / "kernel.s").write_text(SOURCE)
    library = tmp_path / "libkernel.so"
    subprocess.run(["gcc", "-shared", "-o", library, tmp_path / "kernel.s"], check=True)
    with running([sys.executable, "-c", PROGRAM, library]) as target:
        capture = record(target.pid, tmp_path / "out.data", seconds=3, rate_hz=499)
    samples = list(capture.samples())
    stopped = [number for number, sample in enumerate(samples) if not _whole(sample)]
    assert stopped, "the first ones met a function without rules"
    assert stopped[-1] < 0.8 * len(samples), f"{len(stopped)} of {len(samples)}"
    kernel = [s for s in samples[stopped[-1] + 1 :] if len(s.stack.native) > 3]
    assert len(kernel) > 20


# What a JIT compiler makes, in anonymous memory: it saves registers, and calls back into Python.
GENERATED = """
import ctypes, mmap, sys
memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
# push rbx; push rbp; sub rsp, 24; mov ebp, 1000000; 1: dec ebp; jnz 1b
# call rdi; add rsp, 24; pop rbp; pop rbx; ret
CODE = "53 55 4883ec18 bd40420f00 ffcd 75fc ffd7 4883c418 5d 5b c3"
memory.write(bytes.fromhex(CODE))
address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
CALLBACK = ctypes.CFUNCTYPE(None)
@CALLBACK
def called_back():
    sum(range(20000))
generated = ctypes.CFUNCTYPE(None, CALLBACK)(address)
print("ready", flush=True)
while True: generated(called_back)
"""


def test_code_made_at_run_time_gets_rules_too(tmp_path: Path) -> None:
    """In its own loop, and where it is a caller of Python."""
    with running([sys.executable, "-c", GENERATED]) as target:
        capture = record(target.pid, tmp_path / "out.data", seconds=2, rate_hz=499)
    samples = list(capture.samples())
    stopped = [number for number, sample in enumerate(samples) if not _whole(sample)]
    assert stopped, "the first ones met code without rules"
    learned = samples[len(samples) // 2 :]
    assert sum(not _whole(sample) for sample in learned) <= 0.02 * len(learned)
    start = (samples[stopped[0]].stack.end_pc or 0) & -4096
    inside = [[start <= (f.lookup_pc or 0) < start + 4096 for f in s.stack.native] for s in learned]
    assert sum(any(frames[-1:]) for frames in inside) > 20
    assert sum(any(frames[:-1]) for frames in inside) > 20


def _whole(sample: Sample) -> bool:
    return sample.stack.native_end is NativeEnd.ROOT and sample.stack.end_pc is None
