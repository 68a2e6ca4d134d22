"""Targets, recorders and peers as processes; each is ended by its own pid."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from tests.live.harness import MIXSTACK, Target, environment, wait_for_line

TARGET: Final = Path(__file__).parent / "target.py"
_USAGE: Final = Path(__file__).with_name("usage.py")
_POLL_S: Final = 0.02
_START_S: Final = 60.0  # torch is large


@contextmanager
def serving(command: Sequence[str]) -> Iterator[Target]:
    """A process that says when it is ready, and reads its orders from a pipe."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        wait_for_line(process, "ready", _START_S)
        yield Target(process)
    finally:
        process.kill()
        process.communicate()


def target(
    python: str, shape: str, depth: int = 0, *options: str
) -> AbstractContextManager[Target]:
    """A target of that shape, once it is ready."""
    return serving([python, *options, str(TARGET), shape, str(depth)])


class Usage(NamedTuple):
    """What a command took: seconds of wall and CPU time, peak RSS in MB."""

    wall_s: float
    cpu_s: float
    rss_mb: float


def run(command: Sequence[str]) -> Usage:
    """Run a command to its end; raises if it fails."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(_USAGE), *command],
        capture_output=True,
        text=True,
        env=environment(),
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    return Usage(*map(float, done.stdout.split()))


def mixstack(*arguments: str) -> list[str]:
    return [*MIXSTACK, *arguments]


@contextmanager
def attached(
    command: Sequence[str], ready: Callable[[], bool]
) -> Iterator[subprocess.Popen[bytes]]:
    """A profiler that records while the block lasts, once `ready` says so."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    try:
        end = time.monotonic() + 10
        while not ready() and process.poll() is None and time.monotonic() < end:
            time.sleep(_POLL_S)
        if process.poll() is not None:
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
        yield process
    finally:
        process.send_signal(2)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def after(seconds: float) -> Callable[[], bool]:
    """A readiness that comes with time: for a profiler that does not tell."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def py_spy() -> str | None:
    """py-spy, beside this interpreter or in $PATH."""
    beside = Path(sys.executable).with_name("py-spy")
    return str(beside) if beside.exists() else shutil.which("py-spy")


def cpu_ns(pid: int) -> int:
    """CPU time of a process' first thread."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def peak_rss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0
