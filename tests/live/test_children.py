"""Processes that a target starts, however it does that: sampled from the beginning, and named."""

from __future__ import annotations

import collections
import shutil
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from mixstack.capture.reader import Capture, read_capture
from mixstack.model import FrameKind
from mixstack.record.options import RecordOptions
from mixstack.record.session import record as record_session

from ..interpreters import SUPPORTED, Build, supported
from .harness import LOADER, Stack, record, running, show, stacks

pytestmark = pytest.mark.live

# What every program here does: use so much CPU time in a function of that name.
BURN = """
import os, sys, time
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        sum(range(200))
"""
NEWEST = supported(lambda b: b.minor == (3, 12))


def recorded(output: Path, command: Sequence[str | Path], *, children: bool = True) -> Capture:
    """What a command did, with all that it started."""
    options = RecordOptions(
        None,
        tuple(map(str, command)),
        str(output),
        rate_hz=1999,
        children=children,
        lines=False,
        loader=LOADER,
    )
    done = record_session(options, lambda _progress: None)
    assert done.exit_status == 0
    capture = read_capture(str(output))
    assert capture.complete, capture.problem
    return capture


def by_process(capture: Capture) -> dict[int, list[Stack]]:
    found = collections.defaultdict(list)
    for stack in stacks(capture):
        found[stack.sample.pid].append(stack)
    return dict(found)


def ran(stack: Stack, function: str) -> bool:
    return any(f.kind is FrameKind.PYTHON and f.name == function for f in stack.frames)


def burned(found: Sequence[Stack], function: str = "burn") -> int:
    return sum(ran(stack, function) for stack in found)


def all_named(found: Sequence[Stack]) -> None:
    for stack in found:
        nameless = [f for f in stack.frames if f.kind is FrameKind.PYTHON and not f.resolved]
        assert not nameless, show(stack.frames)


@pytest.mark.parametrize("build", SUPPORTED)
def test_a_fork_is_sampled_from_its_first_instruction(build: Build, tmp_path: Path) -> None:
    """It has no time to be looked at: it lives for 50 ms, and all of it is known."""
    program = BURN + "burn(1.0)\n"  # until it is known itself
    program += "for _ in range(4):\n    if not os.fork():\n        burn(0.05); os._exit(0)\n"
    program += "for _ in range(4): os.wait()\n"
    capture = recorded(tmp_path / "out.data", build.command("-S", "-c", program))
    found = by_process(capture)
    children = [f for pid, f in found.items() if pid != min(found)]
    assert len(children) == 4
    for child in children:
        # 50 ms are 100 samples, less what the machine's host takes; those of the fork and of the
        # exit itself are not in `burn`.
        assert burned(child) > 10
        assert burned(child) > 0.6 * len(child), show(child[0].frames)
        all_named(child)
    for pid in found:
        process = capture.processes[pid]
        assert process.interpreter is not None
        assert process.interpreter.version == build.version


METHODS = (
    BURN
    + """
import multiprocessing
def work(seconds):
    burn(seconds)
if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    started = [multiprocessing.Process(target=work, args=(0.4,)) for _ in range(2)]
    for process in started: process.start()
    for process in started: process.join()
"""
)


@pytest.mark.parametrize("build", NEWEST)
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(build: Build, method: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(METHODS)
    capture = recorded(tmp_path / "out.data", build.command(program, method))
    workers = [f for f in by_process(capture).values() if burned(f, "work")]
    assert len(workers) == 2
    for worker in workers:
        assert burned(worker, "work") > 200  # of 800: a busy machine is slow to look at it
        all_named(worker)


POOL = (
    BURN
    + """
from concurrent.futures import ProcessPoolExecutor
def work(seconds):
    burn(seconds)
if __name__ == "__main__":
    with ProcessPoolExecutor(3) as pool:
        list(pool.map(work, [0.1] * 6))
"""
)


@pytest.mark.parametrize("build", NEWEST)
def test_a_pool_of_processes(build: Build, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(POOL)
    capture = recorded(tmp_path / "out.data", build.command(program))
    workers = [f for f in by_process(capture).values() if burned(f, "work")]
    assert 1 <= len(workers) <= 3
    assert sum(burned(worker, "work") for worker in workers) > 300  # of 1,200
    for worker in workers:
        all_named(worker)


@pytest.mark.parametrize("build", supported(lambda b: b.tree is None))
def test_another_interpreter_after_an_exec(build: Build, tmp_path: Path) -> None:
    """Each is walked as what it is; the process is one."""
    second = BURN + "burn(0.6)"
    first = BURN + f"burn(0.5)\nos.execv({build.executable!r}, ['python', '-S', '-c', {second!r}])"
    other = next(b.values[0] for b in SUPPORTED if b.values[0].minor != build.minor)
    capture = recorded(tmp_path / "out.data", other.command("-S", "-c", first))
    (found,) = by_process(capture).values()
    versions = {code.version for code in capture.codes.values() if code.qualname == "burn"}
    assert versions == {build.version, other.version}
    assert burned(found) > 400  # of 2,200: the first time, the files of both have to be read
    all_named(found)


def test_interpreters_of_different_versions_in_a_pipeline(tmp_path: Path) -> None:
    among = ((3, 8), (3, 11), (3, 13))
    builds = [b.values[0] for b in supported(lambda b: b.tree is None and b.minor in among)]
    commands = [
        f"{build.executable} -S -c 'exec(open(\"{tmp_path}/burn.py\").read()); burn(1.0)'"
        for build in builds
    ]
    (tmp_path / "burn.py").write_text(BURN)
    capture = recorded(tmp_path / "out.data", ["/bin/sh", "-c", " | ".join(commands)])
    found = by_process(capture)
    versions = []
    for pid, process in capture.processes.items():
        if process.interpreter is not None:
            versions.append(process.interpreter.version)
            assert burned(found[pid]) > 100  # of 2,000: they all begin at once, on few CPUs
            all_named(found[pid])
    assert sorted(versions) == sorted(build.version for build in builds)
    shells = [p for p in capture.processes.values() if p.command[0] == "/bin/sh"]
    assert all(shell.interpreter is None for shell in shells)


SPAWNING = (
    BURN
    + """
import subprocess
child = "import time\\n" + open(sys.argv[1]).read()
burn(0.05)
if sys.argv[2] == "posix_spawn":
    pid = os.posix_spawn(sys.executable, ["python", "-S", "-c", child], dict(os.environ))
    os.waitpid(pid, 0)
else:
    subprocess.run([sys.executable, "-S", "-c", child], check=True)
"""
)


@pytest.mark.alone
@pytest.mark.parametrize("build", NEWEST)
@pytest.mark.parametrize("how", ["posix_spawn", "subprocess"])
def test_a_program_that_runs_for_50_ms(build: Build, how: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(SPAWNING)
    (tmp_path / "child.py").write_text(BURN.replace("burn", "child_burns") + "child_burns(0.05)")
    capture = recorded(
        tmp_path / "out.data",
        build.command(tmp_path / "program.py", tmp_path / "child.py", how),
    )
    (child,) = [f for f in by_process(capture).values() if burned(f, "child_burns")]
    assert burned(child, "child_burns") > 5  # of 100: its files have to be looked at
    all_named(child)


@pytest.mark.parametrize("build", NEWEST)
def test_children_that_were_there_before(build: Build, tmp_path: Path) -> None:
    program = BURN + "first, both = os.getpid(), os.fork()\nif both: print('ready', flush=True)\n"
    program += "while both or os.getppid() == first: burn(0.1)"  # none outlives the first
    with running(build.command("-S", "-c", program)) as target:
        capture = record(target.pid, tmp_path / "out.data")
        found = by_process(capture)
        assert len(found) == 2
        for each in found.values():
            assert burned(each) > 0.9 * len(each)
            all_named(each)


# Workers accept on one socket; each is replaced after some requests, as gunicorn does.
PRE_FORK = (
    BURN
    + """
import socket
server = socket.create_server(("127.0.0.1", 0))
server.settimeout(2)  # a worker without requests ends: nobody outlives the test
def answer(connection):
    burn(0.03)
    connection.close()
def start_worker():
    if os.fork():
        return
    for _ in range(4):
        answer(server.accept()[0])
    os._exit(0)
for _ in range(2): start_worker()
open(sys.argv[1], "w").write(str(server.getsockname()[1]))
print("ready", flush=True)
while True:
    os.wait()
    start_worker()
"""
)


@pytest.mark.parametrize("build", NEWEST)
def test_a_server_that_forks_its_workers_beforehand(build: Build, tmp_path: Path) -> None:
    port, done = tmp_path / "port", threading.Event()

    def ask() -> None:
        while not done.is_set():
            with socket.create_connection(("127.0.0.1", int(port.read_text()))) as connection:
                connection.recv(1)

    clients = [threading.Thread(target=ask) for _ in range(2)]
    with running(build.command("-S", "-c", PRE_FORK, port)) as target:
        for client in clients:
            client.start()
        capture = record(target.pid, tmp_path / "out.data", seconds=1.5, rate_hz=1999)
        done.set()
        for client in clients:
            client.join()
        workers = {pid: each for pid, each in by_process(capture).items() if burned(each, "answer")}
    assert target.pid not in workers
    assert len(workers) > 2, "some began while it was recorded"
    for each in workers.values():
        all_named(each)
        assert burned(each, "burn") >= 0.9 * burned(each, "answer")
    names = [c for c in capture.codes.values() if c.name == "answer"]
    assert len(names) <= 3, "once for all that began meanwhile, once for each that was there"


@pytest.mark.parametrize("build", NEWEST)
def test_children_are_left_out_if_that_is_asked_for(build: Build, tmp_path: Path) -> None:
    program = BURN + "if not os.fork():\n    burn(0.2); os._exit(0)\nburn(0.1); os.wait()"
    command = build.command("-S", "-c", program)
    capture = recorded(tmp_path / "out.data", command, children=False)
    assert len(by_process(capture)) == len(capture.processes) == 1


def test_programs_that_are_no_python(tmp_path: Path) -> None:
    sha = shutil.which("sha256sum")
    assert sha is not None
    script = f"head -c 500000000 /dev/zero | {sha}; {sys.executable} -S -c 'sum(range(4000000))'"
    capture = recorded(tmp_path / "out.data", ["/bin/sh", "-c", script])
    commands = {p.command[0]: p for p in capture.processes.values()}
    assert commands[sha].interpreter is None
    assert commands[sys.executable].interpreter is not None
    found = by_process(capture)[commands[sha].pid]
    assert len(found) > 20
    later = found[len(found) // 2 :]  # at first it has to be looked at
    whole = sum(stack.merged.fit.value == "native-only" for stack in later)
    assert whole > 0.9 * len(later)
