"""What a target may do to its recorder: stop, be traced, start thousands, fork in a loop."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mixstack.capture.reader import Capture, read_capture

from ..interpreters import Build, supported
from .harness import MIXSTACK, environment, record, running, spinning, stacks
from .test_children import BURN

pytestmark = [pytest.mark.live, pytest.mark.alone]
NEWEST = supported(lambda b: b.minor == (3, 12))
MEMORY_MAX = 256 << 20  # 72 MB of it are files and tables


def recorded(output: Path, program: str, build: Build, rate_hz: int = 999) -> Capture:
    """What a program did, by a recorder whose memory is watched."""
    command = [*MIXSTACK, "record", "-r", str(rate_hz), "-o", str(output), "--"]
    with (output.parent / "said").open("w+") as said:
        process = subprocess.Popen(
            [*command, *build.command("-S", "-c", program)],
            stdout=subprocess.DEVNULL,
            stderr=said,
            env=environment(),
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, _peak_memory(process.pid))
            time.sleep(0.02)
        said.seek(0)
        assert process.returncode == 0, said.read()
    assert 0 < peak < MEMORY_MAX, f"{peak >> 20} MB"
    capture = read_capture(str(output))
    assert capture.complete, capture.problem
    return capture


def _peak_memory(pid: int) -> int:
    """In bytes; 0 if it has just ended. That of `getrusage` would be ours: it survives an exec."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) << 10 if found else 0


@pytest.mark.parametrize("build", NEWEST)
def test_forks_in_a_loop(build: Build, tmp_path: Path) -> None:
    """More children than the probe's table of processes holds: those that ended give way."""
    program = "import os, sys\nfor _ in range(9000):\n    pid = os.fork()\n"
    program += "    if not pid: os._exit(0)\n    os.waitpid(pid, 0)\n" + BURN
    program += "if not os.fork():\n    burn(0.2); os._exit(0)\nos.wait()"
    capture = recorded(tmp_path / "out.data", program, build)
    found = [s for s in stacks(capture) if any(f.name == "burn" for f in s.frames)]
    assert len(found) > 100  # the last child is followed like the first
    assert len({s.sample.pid for s in found}) == 1


@pytest.mark.parametrize("build", NEWEST)
def test_a_thousand_threads_a_second(build: Build, tmp_path: Path) -> None:
    program = BURN + "import threading\n"
    program += "for _ in range(1500):\n    t = threading.Thread(target=sum, args=(range(2000),))\n"
    program += "    t.start(); t.join()\nburn(0.1)"
    capture = recorded(tmp_path / "out.data", program, build)
    assert len(capture.processes) == 1
    assert len({sample.tid for sample in capture.samples()}) > 10


@pytest.mark.parametrize("build", NEWEST)
def test_two_thousand_threads(build: Build, tmp_path: Path) -> None:
    program = BURN + "import threading\nend = threading.Event()\n"
    program += "threading.stack_size(65536)\nall = [threading.Thread(target=end.wait) for _ in "
    program += "range(2000)]\nfor t in all: t.start()\nburn(0.3)\nend.set()\n"
    program += "for t in all: t.join()"
    capture = recorded(tmp_path / "out.data", program, build)
    burning = [s for s in stacks(capture) if any(f.name == "burn" for f in s.frames)]
    exact = sum(s.merged.fit.value == "exact" for s in burning)
    assert len(burning) > 100
    assert exact > 0.95 * len(burning)


def test_a_target_that_is_stopped_and_goes_on(tmp_path: Path) -> None:
    with running(spinning()) as target:
        os.kill(target.pid, signal.SIGSTOP)
        capture = record(target.pid, tmp_path / "out.data")
        assert capture.sample_count == 0
        assert capture.footer is not None
        assert capture.footer.reason == "duration"
        os.kill(target.pid, signal.SIGCONT)
        assert record(target.pid, tmp_path / "out.data").sample_count > 100


def test_a_target_that_crashes_with_its_children(tmp_path: Path) -> None:
    """The recording is complete, and ends with the target."""
    program = BURN + "if not os.fork():\n    burn(0.3); os.abort()\nburn(0.3)\nos.wait()\n"
    program += "os.kill(os.getpid(), 11)"
    output = tmp_path / "out.data"
    done = subprocess.run(
        [*MIXSTACK, "record", "-o", output, "--", sys.executable, "-S", "-c", program],
        capture_output=True,
        timeout=60,
        env=environment(),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
        check=False,
    )
    assert done.returncode == 128 + signal.SIGSEGV
    capture = read_capture(str(output))
    assert capture.complete
    assert len(capture.processes) == 2


def test_a_target_that_gdb_has_stopped(tmp_path: Path) -> None:
    with running(spinning()) as target:
        gdb = subprocess.Popen(
            ["gdb", "-q", "-nx", "-p", str(target.pid), "-ex", "echo attached\\n"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert gdb.stdout is not None
            while "attached" not in gdb.stdout.readline():
                pass
            capture = record(target.pid, tmp_path / "out.data")
            assert capture.processes[target.pid].interpreter is not None
            assert capture.sample_count < 10
        finally:
            gdb.communicate("detach\nquit\n", timeout=20)
        time.sleep(0.1)
        assert record(target.pid, tmp_path / "out.data").sample_count > 100
