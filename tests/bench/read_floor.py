"""What one read of user memory costs in the kernel: the floor of a Python frame."""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

from build_native import FLAGS, find_clang
from mixstack.bpf.libbpf import BpfObject, Libbpf
from mixstack.bpf.perf import SamplingClock

from .kernel_statistics import program_runs
from .running import target

SOURCE: Final = Path(__file__).with_name("read_floor.bpf.c")
_READS_MORE: Final = 64  # MANY - FEW in the source


def read_ns(python: str, rate_hz: int, seconds: float) -> float:
    """Of a read of 72 bytes from memory that is in the cache, while a program computes.

    Samples in the kernel make no read: where a machine is busy with others, it is a little higher
    than this. The kernel's statistics must be on.
    """
    clang = find_clang()
    assert clang is not None, "setup-dev installs clang"
    with tempfile.TemporaryDirectory() as name, target(python, "python", 10):
        made = Path(name) / "read_floor.o"
        subprocess.run([clang, *FLAGS, "-c", str(SOURCE), "-o", str(made)], check=True)
        few, many = (
            _run_ns(made.read_bytes(), program, rate_hz, seconds)
            for program in ("few_reads", "many_reads")
        )
    return (many - few) / _READS_MORE


def _run_ns(image: bytes, program: str, rate_hz: int, seconds: float) -> float:
    """Mean time of a run."""
    loaded = BpfObject(Libbpf(), image)
    try:
        loaded.load([program])
        clock = SamplingClock(loaded.program_fd(program), rate_hz)
        time.sleep(seconds)
        clock.close()
        runs, run_ns = program_runs()
    finally:
        loaded.close()
    return run_ns / max(1, runs)
