"""Starts target programs, records them, and joins what was recorded.

Every process that is started here is ended here, by its pid.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from elftools.elf.elffile import ELFFile

import mixstack
from mixstack.capture.reader import Capture, read_capture
from mixstack.merge.arrange import merged_stack
from mixstack.merge.evaluators import Evaluators
from mixstack.model import Frame, FrameKind, MergedStack, Sample
from mixstack.record.options import RecordOptions
from mixstack.record.session import record as record_session
from mixstack.symbolize.names import Namer

MIXSTACK = (sys.executable, "-c", "from mixstack.cli.main import entry; entry()")
LOADER = os.environ.get("MIXSTACK_LOADER", "auto")  # the command reads it by itself
_LONGER = 8
LONGEST_LIFE_S = 120  # a target outlives even a killed test run by no more than this


class Target(NamedTuple):
    """A running target that has said "ready"."""

    process: subprocess.Popen[str]

    @property
    def pid(self) -> int:
        return self.process.pid


class Stack(NamedTuple):
    """One sample, joined and named: `full` with the interpreter's plumbing, `frames` without."""

    sample: Sample
    merged: MergedStack
    full: tuple[Frame, ...]
    frames: tuple[Frame, ...]


def _begin_life() -> None:
    signal.alarm(LONGEST_LIFE_S)  # survives the exec
    os.nice(10)  # most of them compute for ever: while a recording is made ready or judged, too
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs ignore it


@contextlib.contextmanager
def running(command: Sequence[str | Path], *, ready: str = "ready") -> Iterator[Target]:
    """Starts a command, waits until it prints `ready`, and kills it at the end of the block."""
    process = subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=_begin_life,
    )
    assert process.stdout is not None
    try:
        if ready:
            wait_for_line(process, ready)
        yield Target(process)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def spinning() -> tuple[str, ...]:
    """A command that says "ready" and then computes for ever, in this interpreter."""
    return (sys.executable, "-c", "print('ready', flush=True)\nwhile True: pass")


def wait_for_line(process: subprocess.Popen[str], line: str, timeout_s: float = 20) -> None:
    assert process.stdout is not None
    waiting = select.poll()  # unlike select, for descriptors of any number
    waiting.register(process.stdout, select.POLLIN)
    got = process.stdout.readline().strip() if waiting.poll(timeout_s * 1000) else "nothing"
    assert got == line, f"the target said {got!r} instead of {line!r}"


def run_mixstack(
    *arguments: str | Path, timeout_s: float = 60, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MIXSTACK, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        cwd=cwd,
        env=environment(),
        check=False,
    )


def environment() -> dict[str, str]:
    """The environment in which `import mixstack` is this tree's, wherever it starts.

    Its bytecode is kept, as an installation has it: without, the recorder starts in twice the time.
    """
    ours = {**os.environ, "PYTHONPATH": str(Path(mixstack.__file__).parent.parent)}
    ours.pop("PYTHONDONTWRITEBYTECODE", None)
    return ours


def record(
    pid: int, output: Path, *, seconds: float = 0.5, rate_hz: int = 4999, lines: bool = False
) -> Capture:
    """Records a running process, in this one: starting the command takes longer than the sampling.

    What the command adds to it is the subject of test_endings. lines: of native code, which few
    tests are about and which take as long as the sampling.
    """
    options = RecordOptions(pid, (), str(output), seconds, rate_hz, lines=lines, loader=LOADER)
    done = record_session(options, lambda _progress: None)
    if done.footer.reason == "interrupted":
        raise KeyboardInterrupt  # it was meant for the tests
    capture = read_capture(str(output))
    assert capture.complete, capture.problem
    return capture


def record_enough(pid: int, output: Path, least: float, *, seconds: float, rate_hz: int) -> Capture:
    """Records a running process; where a busy machine gave it too little, once more, for longer.

    Fails if even that gives fewer than `least` samples.
    """
    capture = record(pid, output, seconds=seconds, rate_hz=rate_hz)
    if capture.sample_count < least:
        capture = record(pid, output, seconds=_LONGER * seconds, rate_hz=rate_hz)
    assert capture.sample_count >= least
    return capture


def stacks(capture: Capture) -> Iterator[Stack]:
    """Every sample of a capture, in order of time. Equal stacks are joined and named once."""
    namer = Namer(capture)
    evaluators = Evaluators(namer)
    known: dict[tuple[int, int, int], tuple[object, MergedStack, tuple[Frame, ...]]] = {}
    for sample in capture.samples():
        generation = namer.generation(sample.pid, sample.time_ns)
        key = (sample.pid, id(sample.stack), generation)
        if key not in known:
            joined = evaluators.join(sample.pid, sample.time_ns, sample.stack)
            merged = merged_stack(sample.stack, joined)
            full = tuple(namer.frame(sample.pid, sample.time_ns, item) for item in merged.items)
            known[key] = (sample.stack, merged, full)  # the key's id lives as long as its stack
        _, merged, full = known[key]
        yield Stack(sample, merged, full, tuple(f for f in full if not f.plumbing))


def nameless_modules(capture: Capture) -> frozenset[str]:
    """Paths of the interpreters' files that are stripped: only exported functions have names.

    The processes are still there: a file is opened where its process sees it.
    """
    paths = {
        (process.pid, capture.modules[process.interpreter.module_id].path)
        for process in capture.processes.values()
        if process.interpreter is not None
    }
    return frozenset(path for pid, path in paths if _is_stripped(f"/proc/{pid}/root{path}"))


def _is_stripped(path: str) -> bool:
    with open(path, "rb") as file:
        return ELFFile(file).get_section_by_name(".symtab") is None


def show(frames: Sequence[Frame]) -> str:
    """A stack for a failure message, outermost first."""
    letters = {
        FrameKind.PYTHON: "py",
        FrameKind.NATIVE: "c ",
        FrameKind.KERNEL: "k ",
        FrameKind.MARK: "--",
    }
    lines = [
        f"  {letters[f.kind]} {f.name}" + (f"  ({f.file}:{f.line})" if f.line else f"  [{f.file}]")
        for f in frames
    ]
    runs = [(line, sum(1 for _ in run)) for line, run in itertools.groupby(lines)]
    return "\n".join(line + (f"  {times} times" if times > 1 else "") for line, times in runs)


def until(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    """Waits until something is true; fails after `timeout_s`."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def as_nobody() -> None:
    """For preexec_fn: give up every privilege."""
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
