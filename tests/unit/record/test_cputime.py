"""The CPU time of a process against what the process says itself."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

from mixstack.record.cputime import cpu_seconds


def test_this_process() -> None:
    before = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    found = cpu_seconds(os.getpid())
    after = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    assert found is not None
    assert before - 0.001 <= found <= after + 0.001


def test_all_threads_count() -> None:
    script = (
        "import hashlib, threading, time\n"
        "def work():\n"
        "    while time.thread_time() < 0.15: hashlib.sha256(bytes(1 << 20))\n"
        "threads = [threading.Thread(target=work) for _ in range(2)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "print(time.process_time(), flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        told = float(child.stdout.readline())
        assert told >= 0.3
        assert cpu_seconds(child.pid) == pytest.approx(told, abs=0.02)
        child.kill()


def test_a_process_that_is_gone() -> None:
    with subprocess.Popen(["true"]) as child:
        child.wait()
    assert cpu_seconds(child.pid) is None
