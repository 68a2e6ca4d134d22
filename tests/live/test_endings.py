"""How a recording begins and ends, as a user meets it: ends, exit codes, threads, refusals."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mixstack.capture.reader import Capture, read_capture
from mixstack.errors import OutputError
from mixstack.model import ChainEnd, Fit, FrameKind

from ..interpreters import UNSUPPORTED, Build, supported
from .harness import (
    MIXSTACK,
    environment,
    record,
    record_enough,
    run_mixstack,
    running,
    show,
    spinning,
    stacks,
    until,
)
from .programs import program

pytestmark = pytest.mark.live

PYTHON = sys.executable  # one that can be recorded, as well as any other


@contextmanager
def attached(pid: int, output: Path) -> Iterator[subprocess.Popen[str]]:
    """The recorder in the background, killed at the end if it is still there."""
    process = subprocess.Popen(
        [*MIXSTACK, "record", "-p", str(pid), "-o", str(output)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _wait_for_samples(output: Path) -> None:
    def some() -> bool:
        return output.exists() and output.stat().st_size > 2000

    until(some, 15)
    time.sleep(0.7)


def _sound(output: Path, reason: str) -> Capture:
    capture = read_capture(str(output))
    assert capture.complete, capture.problem
    assert capture.footer is not None
    assert capture.footer.reason == reason
    assert capture.footer.samples == sum(1 for _ in capture.samples()) > 0
    return capture


def _open_files() -> list[str]:
    gc.collect()  # a mapped file has a descriptor of its own
    entries = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    return sorted(os.readlink(entry) for entry in entries if os.path.lexists(entry))


def test_a_recording_leaves_no_descriptor_open(tmp_path: Path) -> None:
    with running(spinning()) as target:
        record(target.pid, tmp_path / "first.data", seconds=0.1)  # what stays is made by the first
        before = _open_files()
        record(target.pid, tmp_path / "second.data", seconds=0.1)
        assert _open_files() == before


# --- ends --------------------------------------------------------------------------------------


def test_the_duration_ends_a_recording_and_not_the_target(tmp_path: Path) -> None:
    output = tmp_path / "out.data"
    with running(spinning()) as target:
        begun = time.monotonic()
        done = run_mixstack("record", "-p", str(target.pid), "-d", "0.5", "-o", output)
        assert time.monotonic() - begun < 10
        assert done.returncode == 0, done.stderr
        assert target.process.poll() is None
    capture = _sound(output, "duration")
    assert capture.footer is not None
    assert 0.4e9 < capture.footer.end_ns - capture.recording.start_ns < 5e9


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_a_signal_ends_a_recording_properly(number: signal.Signals, tmp_path: Path) -> None:
    output = tmp_path / "out.data"
    with (
        running(spinning()) as target,
        attached(target.pid, output) as ours,
    ):
        _wait_for_samples(output)
        ours.send_signal(number)
        _, said = ours.communicate(timeout=15)
        assert ours.returncode == 0, said
        assert "Traceback" not in said
        assert target.process.poll() is None
    _sound(output, "interrupted")


def test_the_end_of_the_target_ends_the_recording(tmp_path: Path) -> None:
    output = tmp_path / "out.data"
    with (
        running(spinning()) as target,
        attached(target.pid, output) as ours,
    ):
        _wait_for_samples(output)
        target.process.kill()
        _, said = ours.communicate(timeout=15)
        assert ours.returncode == 0, said
    _sound(output, "target ended")


def test_a_killed_recorder_loses_at_most_the_last_second(tmp_path: Path) -> None:
    output = tmp_path / "out.data"
    with (
        running([PYTHON, program("sorted_key")]) as target,
        attached(target.pid, output) as ours,
    ):
        _wait_for_samples(output)
        time.sleep(1.5)
        ours.kill()
        killed_ns = time.monotonic_ns()
        ours.wait()
    capture = read_capture(str(output))
    assert not capture.complete
    assert capture.problem
    last_ns = max(sample.time_ns for sample in capture.samples())
    assert killed_ns - last_ns <= 1.05e9
    merged = run_mixstack("merge", output, "-f", "collapsed", "-o", "-")
    assert merged.returncode == 0, merged.stderr
    assert {"<module>", "work", "key"} <= {f.name for s in stacks(capture) for f in s.frames}
    assert "work" in merged.stdout
    assert "[unknown" not in merged.stdout
    assert capture.problem in merged.stderr


# --- started commands --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param("raise SystemExit(3)", 3, id="its exit code"),
        pytest.param("pass", 0, id="success"),
        pytest.param("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137, id="a signal"),
    ],
)
def test_the_exit_code_of_a_command_is_passed_on(body: str, code: int, tmp_path: Path) -> None:
    work = "sum(range(3_000_000)); print('done', flush=True)\n"
    done = run_mixstack("record", "-o", tmp_path / "out.data", "--", PYTHON, "-c", work + body)
    assert done.returncode == code, done.stderr
    assert done.stdout == "done\n"
    _sound(tmp_path / "out.data", "target ended")


def test_a_command_goes_on_when_the_duration_ends(tmp_path: Path) -> None:
    body = "import time\nend = time.monotonic() + 2\nwhile time.monotonic() < end: pass\n"
    body += "print(time.monotonic_ns())\nexit(5)"
    output = tmp_path / "out.data"
    done = run_mixstack("record", "-d", "0.5", "-o", output, "--", PYTHON, "-c", body)
    assert done.returncode == 5, done.stderr
    assert f"waiting for {PYTHON} to end" in done.stderr
    capture = _sound(output, "duration")
    assert capture.footer is not None
    assert capture.footer.end_ns < int(done.stdout)
    # PYTHON is the recorder's own interpreter too: that does not hide the exec.
    assert [process.command for process in capture.processes.values()] == [(PYTHON, "-c", body)]


def test_the_first_lines_of_a_short_command_are_named(tmp_path: Path) -> None:
    """A busy machine may keep the recorder from its CPU for that long: then a longer one."""
    wanted = {"<module>", "short", "short.<locals>.<genexpr>"}
    for rounds in (400_000, 4_000_000):
        body = f"def short():\n    return sum(i * i for i in range({rounds}))\nshort()"
        output = tmp_path / "out.data"
        done = run_mixstack("record", "-r", "1999", "-o", output, "--", PYTHON, "-c", body)
        assert done.returncode == 0, done.stderr
        found = stacks(_sound(output, "target ended"))
        names = {frame.name for stack in found for frame in stack.frames}
        if wanted <= names:
            break
    assert wanted <= names
    assert not [name for name in names if name.startswith("[unknown")]


@pytest.mark.parametrize(
    ("command", "code"),
    [
        pytest.param("no-such-command-anywhere", 127, id="not found"),
        pytest.param("/dev/null", 126, id="not runnable"),
    ],
)
def test_a_command_that_cannot_start(command: str, code: int, tmp_path: Path) -> None:
    done = run_mixstack("record", "-o", tmp_path / "out.data", "--", command)
    assert done.returncode == code, done.stderr
    assert command in done.stderr
    assert "hint: " in done.stderr


# --- threads -----------------------------------------------------------------------------------


def test_threads_that_start_late_are_sampled_and_idle_ones_are_not(tmp_path: Path) -> None:
    with running([PYTHON, program("late_threads")]) as target:
        capture = record(target.pid, tmp_path / "out.data", seconds=1.0, rate_hz=999)
    late = {s.sample.tid for s in stacks(capture) if any(f.name == "spin" for f in s.frames)}
    assert len(late) > 5

    idle = "import threading, time\nfor _ in range(30):\n"
    idle += "    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
    idle += "print('ready', flush=True)\nwhile True: pass"
    with running([PYTHON, "-c", idle]) as target:
        capture = record(target.pid, tmp_path / "out.data", seconds=1.0, rate_hz=999)
        assert {sample.tid for sample in capture.samples()} == {target.pid}


# --- what is not Python that we know -----------------------------------------------------------


def test_a_process_that_is_not_python_is_recorded_natively(tmp_path: Path) -> None:
    with running(["sh", "-c", "echo ready; while :; do :; done"]) as target:
        done = run_mixstack(
            "record", "-p", str(target.pid), "-d", "0.5", "-o", tmp_path / "out.data"
        )
    assert done.returncode == 0, done.stderr
    assert "Python" in done.stderr
    capture = _sound(tmp_path / "out.data", "duration")
    assert _kinds(capture) <= {FrameKind.NATIVE, FrameKind.KERNEL}
    assert {stack.merged.fit for stack in stacks(capture)} <= {Fit.NATIVE_ONLY}
    (process,) = capture.processes.values()
    assert process.interpreter is None
    assert process.note


@pytest.mark.parametrize("build", UNSUPPORTED)
def test_an_unsupported_cpython_is_recorded_natively(build: Build, tmp_path: Path) -> None:
    body = "import sys\nsys.stdout.write('ready\\n')\nsys.stdout.flush()\nwhile True: pass"
    with running(build.command("-c", body)) as target:
        done = run_mixstack(
            "record", "-p", str(target.pid), "-d", "0.5", "-o", tmp_path / "out.data"
        )
    assert done.returncode == 0, done.stderr
    assert ".".join(map(str, build.minor)) in done.stderr
    capture = _sound(tmp_path / "out.data", "duration")
    assert _kinds(capture) <= {FrameKind.NATIVE, FrameKind.KERNEL}
    assert all(s.stack.chain_end is ChainEnd.NOT_PYTHON for s in capture.samples())


def _kinds(capture: Capture) -> set[FrameKind]:
    return {frame.kind for stack in stacks(capture) for frame in stack.frames}


def test_the_old_recording_is_kept(tmp_path: Path) -> None:
    with running(spinning()) as target:
        first = record(target.pid, tmp_path / "out.data")
        second = record(target.pid, tmp_path / "out.data")
    kept = read_capture(str(tmp_path / "out.data.old"))
    assert kept.recording.start_ns == first.recording.start_ns < second.recording.start_ns


FULL = {
    "a full disk": "unshare -m sh -c 'mount -t tmpfs -o size=100k none {folder}; {command};"
    " code=$?; cp {folder}/out.data {kept}; exit $code'",
    "a limit on the size of files": "sh -c 'ulimit -f 200; {command}; code=$?;"
    " cp {folder}/out.data {kept}; exit $code'",
}


@pytest.mark.parametrize("case", FULL)
def test_there_is_no_more_room(case: str, tmp_path: Path) -> None:
    """What was written until then stays valid; what to do next is said."""
    if os.geteuid():
        pytest.skip("mounting needs root")
    folder, kept = tmp_path / "folder", tmp_path / "kept.data"
    folder.mkdir()
    with running([PYTHON, program("mixture")]) as target:
        words = [*MIXSTACK, "record", "-p", str(target.pid), "-r", "9999", "-d", "40", "-o"]
        command = " ".join(f'"{word}"' for word in [*words, str(folder / "out.data")])
        done = subprocess.run(
            FULL[case].format(folder=folder, command=command, kept=kept),
            shell=True,
            capture_output=True,
            text=True,
            env=environment(),
            check=False,
        )
        assert target.process.poll() is None
    assert done.returncode == OutputError.exit_code, done.stderr
    assert "bytes were kept" in done.stderr
    assert "mixstack merge" in done.stderr
    capture = read_capture(str(kept))
    assert not capture.complete
    assert capture.sample_count > 500
    assert _kinds(capture) >= {FrameKind.PYTHON, FrameKind.NATIVE}


ENDING = """
import threading


def short():
    pass


def feed():
    while True:
        one = threading.Thread(target=short)
        one.start()
        one.join()


print("ready", flush=True)
for _ in range(2):
    threading.Thread(target=feed).start()
feed()
"""
GIVES_BACK = ("exit_mm", "mm_release")  # the kernel's functions, and those that they call


@pytest.mark.parametrize("build", supported(lambda b: b.minor in ((3, 9), (3, 12), (3, 13))))
def test_an_ending_thread_has_no_stack(build: Build, tmp_path: Path) -> None:
    """Its stack and its thread-local memory are free, and may be the next thread's already."""
    with running([*build.command("-S", "-c"), ENDING]) as target:
        capture = record_enough(target.pid, tmp_path / "out.data", 500, seconds=2, rate_hz=4999)
    late = [s for s in stacks(capture) if any(f.name.startswith(GIVES_BACK) for f in s.frames)]
    assert late
    for stack in late:
        user = [f.kind for f in stack.full if f.kind is not FrameKind.KERNEL]
        assert user == [FrameKind.MARK, FrameKind.NATIVE], show(stack.full)
