"""Assembler without call frame information: once a sample has met it, its stacks are whole."""

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


def _whole(sample: Sample) -> bool:
    return sample.stack.native_end is NativeEnd.ROOT and sample.stack.end_pc is None
