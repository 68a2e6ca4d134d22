"""The target is never stopped, never written to, and no code runs in it."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mixstack.target.maps import parse_maps

from .harness import record, running, spinning, until

pytestmark = pytest.mark.live

# It sleeps in the kernel: whatever changes in it, someone else has done. A signal makes it change.
SLEEPER = """
import signal
kept = bytearray(b"x" * 1_000_000)
def on_signal(number, frame):
    kept[500_000] ^= 1
signal.signal(signal.SIGUSR1, on_signal)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
print("ready", flush=True)
while True:
    signal.pause()
"""

# proc(5), /proc/PID/status: who traces it, its signals, whether it ran, what restricts it.
WATCHED = (
    "State",
    "TracerPid",
    "Uid",
    "Threads",
    "SigPnd",
    "ShdPnd",
    "SigBlk",
    "SigIgn",
    "SigCgt",
    "CapEff",
    "NoNewPrivs",
    "Seccomp",
    "voluntary_ctxt_switches",
    "nonvoluntary_ctxt_switches",
)


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return {name: fields[name] for name in WATCHED}


def _memory(pid: int) -> dict[str, str]:
    """A checksum of each writable mapping, by its line in the maps."""
    found = {}
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in parse_maps(Path(f"/proc/{pid}/maps").read_bytes()):
            if "w" in line.permissions:
                content = os.pread(memory.fileno(), line.end - line.start, line.start)
                assert len(content) == line.end - line.start
                found[repr(line)] = hashlib.sha256(content).hexdigest()
    return found


def _layout(pid: int) -> bytes:
    return Path(f"/proc/{pid}/maps").read_bytes()


def _asleep(pid: int) -> bool:
    return _status(pid)["State"].startswith("S")


def test_a_sleeping_target_is_left_as_it_was(tmp_path: Path) -> None:
    with running([sys.executable, "-c", SLEEPER]) as target:
        pid = target.pid
        until(lambda: _asleep(pid))
        before = _status(pid), _layout(pid), _memory(pid)
        record(pid, tmp_path / "out.data", seconds=1, rate_hz=4999)
        assert (_status(pid), _layout(pid), _memory(pid)) == before
        # The comparison can tell: one byte of a megabyte.
        os.kill(pid, signal.SIGUSR1)
        until(lambda: _asleep(pid) and _memory(pid) != before[2])
        assert _status(pid) != before[0]


@contextmanager
def _watched(pid: int) -> Iterator[list[tuple[str, str]]]:
    """What (State, TracerPid) the process was seen with, as often as can be looked."""
    seen: list[tuple[str, str]] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            status = _status(pid)
            seen.append((status["State"], status["TracerPid"]))
            time.sleep(0.001)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()


def test_a_busy_target_is_never_stopped_or_traced(tmp_path: Path) -> None:
    signals = ("SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt", "Threads")
    with running(spinning()) as target:
        before = _status(target.pid)
        with _watched(target.pid) as seen:
            record(target.pid, tmp_path / "out.data", seconds=1, rate_hz=4999)
        after = _status(target.pid)
    assert len(seen) > 50
    assert {tracer for _, tracer in seen} == {"0"}
    assert {state for state, _ in seen} <= {"R (running)", "S (sleeping)"}
    assert {name: before[name] for name in signals} == {name: after[name] for name in signals}
