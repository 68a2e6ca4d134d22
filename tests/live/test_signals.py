"""Signals on the way out of a system call: the handler begins there, and nothing is in between."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..interpreters import Build, supported
from .harness import record_enough, running

pytestmark = pytest.mark.live

STORM = """
import os, signal
signal.signal(signal.SIGUSR1, lambda *_: None)
pid = os.getpid()
print("ready", flush=True)
while True: os.kill(pid, signal.SIGUSR1)
"""
BETWEEN = 0.005  # the kernel restores registers one after another


@pytest.mark.parametrize("build", supported(lambda b: b.minor in ((3, 8), (3, 12))))
def test_a_handler_is_entered_from_the_kernel(build: Build, tmp_path: Path) -> None:
    with running(build.command("-S", "-c", STORM)) as target:
        capture = record_enough(target.pid, tmp_path / "out.data", 1000, seconds=0.7, rate_hz=4999)
    samples = list(capture.samples())
    assert sum(bool(sample.stack.kernel) for sample in samples) > 0.5 * len(samples)
    died = [sample for sample in samples if sample.stack.end_pc is not None]
    assert len(died) <= BETWEEN * len(samples), died[0]
