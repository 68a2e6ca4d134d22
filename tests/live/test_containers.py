"""A target in namespaces of its own, and a recorder in a PID namespace of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mixstack.capture.reader import read_capture
from mixstack.record.children import child_pids
from mixstack.target.process import TargetProcess

from ..interpreters import Build, supported
from .harness import MIXSTACK, environment, record, running, stacks
from .test_children import BURN, all_named, burned, by_process

pytestmark = pytest.mark.live

# On a file system that nobody else has: a library, which the program calls.
INSIDE = """
import ctypes, os, threading, time
threading.Thread(target=time.sleep, args=(60,), name="a worker inside", daemon=True).start()
library = ctypes.CDLL("/mnt/libspin.so")
library.spin.argtypes = [ctypes.c_double]
print("ready", flush=True)
while True:
    library.spin(0.05)
"""
NEWEST = supported(lambda b: b.minor == (3, 12))


@pytest.mark.parametrize("build", NEWEST)
def test_a_target_in_namespaces_of_its_own(
    build: Build, helpers: dict[str, Path], tmp_path: Path
) -> None:
    enter = "unshare --user --map-root-user --mount --pid --fork --kill-child --mount-proc --net"
    (tmp_path / "program.py").write_text(INSIDE)
    script = (
        f"mount -t tmpfs none /mnt && cp {helpers['spin']} /mnt/libspin.so && "
        f"exec {build.executable} -S {tmp_path}/program.py"
    )
    with running([*enter.split(), "/bin/sh", "-c", script]) as outside:
        (pid,) = child_pids(outside.pid)
        capture = record(pid, tmp_path / "out.data", seconds=1.5)
        process = capture.processes[pid]
        assert process.inner_pid == 1
        (worker,) = set(TargetProcess.open(pid).threads()) - {pid}
        assert capture.thread_names == {(pid, worker): "a worker inside"}
        assert process.interpreter is not None
        assert process.interpreter.version == build.version
        found = list(stacks(capture))
        assert {stack.sample.pid for stack in found} == {pid}
        spinning = [s for s in found if any(f.name == "spin" for f in s.frames)]
        assert len(spinning) > 0.9 * len(found)
        assert all(
            f.file == "/mnt/libspin.so" for s in spinning for f in s.frames if f.name == "spin"
        )
        exact = sum(stack.merged.fit.value == "exact" for stack in spinning)
        assert exact > 0.95 * len(spinning)


@pytest.mark.parametrize("build", NEWEST)
def test_a_recorder_in_a_pid_namespace(build: Build, tmp_path: Path) -> None:
    """Pids are those that are seen there, of the target and of what it forks."""
    program = BURN + "print(os.getpid())\nif not os.fork():\n    print(os.getpid(), flush=True)\n"
    program += "    burn(0.2); os._exit(0)\nburn(0.2); os.wait(); print(flush=True)"
    output = tmp_path / "out.data"
    done = subprocess.run(
        [
            *["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"],
            *(*MIXSTACK, "record", "-r", "1999", "-o", output, "--"),
            *build.command("-S", "-c", program),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = {int(word) for word in done.stdout.split()}
    capture = read_capture(str(output))
    found = by_process(capture)
    assert set(found) == set(capture.processes) == told
    assert max(told) < 1000
    for pid, each in found.items():
        assert {stack.sample.tid for stack in each} == {pid}
        assert burned(each) > 200
        all_named(each)
        assert capture.processes[pid].inner_pid is None


def test_a_proc_of_another_namespace_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *["unshare", "--pid", "--fork", "--kill-child"],
            *(*MIXSTACK, "record", "-o", tmp_path / "out.data", "--", sys.executable, "-c", ""),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
        check=False,
    )
    assert done.returncode == 2
    assert "mount -t proc proc /proc" in done.stderr
    assert not (tmp_path / "out.data").exists()
