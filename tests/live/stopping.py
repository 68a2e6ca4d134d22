"""A recording and a debugger look at the same stopped threads, and what each of them makes of it.

When a thread is stopped it leaves the CPU: the recorder's clock is exchanged for the event of that
moment. So the last sample of a stopped thread is of the very state that the debugger then sees.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import shutil
import struct
import subprocess
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import pytest

from mixstack.bpf.perf import Event
from mixstack.capture.reader import Capture
from mixstack.record.children import child_pids

from ..interpreters import Build
from .harness import LONGEST_LIFE_S, Stack, record, running, stacks
from .headers import offsets_of
from .programs import program

HERE = Path(__file__).parent
SYSTEM_CALL = 2  # bytes: the debugger's pc is behind the instruction, mixstack's is at it
START_S, A_STOP_S, A_STEP_S = 20.0, 0.5, 0.02  # more than it takes
LARGE_START_S = 60.0  # until the debugger has read the symbols of a large C++ library
_QUIET = ("-nx", "-q", "-batch", "-iex", "set auto-load no", "-iex", "set debuginfod enabled off")

# include/uapi/linux/perf_event.h
_SYS_PERF_EVENT_OPEN = 298  # x86-64
_SOFTWARE, _CONTEXT_SWITCHES = 1, 3
_ATTR_SIZE = 128
_DISABLED = 1
_CLOEXEC = 8
_IOC_ENABLE = 0x2400
_IOC_SET_BPF = 0x40042408


class SwitchClock:
    """Stands in for the recorder's clock: runs the probe when a thread of `pid` leaves the CPU.

    Threads that are made later are not seen, and nothing is throttled.
    """

    throttled = 0

    def __init__(self, pid: int, program_fd: int, _rate_hz: int) -> None:
        self._fds = []
        for tid in map(int, os.listdir(f"/proc/{pid}/task")):
            fd = _open_switches(tid)
            self._fds.append(fd)
            fcntl.ioctl(fd, _IOC_SET_BPF, program_fd)
            fcntl.ioctl(fd, _IOC_ENABLE, 0)

    def count(self) -> None:
        pass

    def close(self) -> None:
        while self._fds:
            os.close(self._fds.pop())


def _open_switches(tid: int) -> int:
    attr = struct.pack(
        "<IIQQQQQ", _SOFTWARE, _ATTR_SIZE, _CONTEXT_SWITCHES, 1, 0, 0, _DISABLED
    ).ljust(_ATTR_SIZE, b"\0")
    libc = ctypes.CDLL(None, use_errno=True)
    numbers = [ctypes.c_int(tid), ctypes.c_int(-1), ctypes.c_int(-1), ctypes.c_ulong(_CLOEXEC)]
    fd = int(libc.syscall(ctypes.c_long(_SYS_PERF_EVENT_OPEN), ctypes.c_char_p(attr), *numbers))
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return fd


Runs = tuple[tuple["int | None", tuple[tuple[int, int, bool], ...]], ...]


class Stopped(NamedTuple):
    """A thread at a moment, as the debugger saw it. `native`: (pc, CFA, name), innermost first.

    step: how many instructions it has gone on alone since the stop; None at the stop itself.
    entered: at the evaluator's first instruction, the code object that it is called with.
    runs: what `frame_chain.walk` gives, or None and why in `broken`. names: by code object, the
    qualified name (before 3.11 the plain one) and the file.
    """

    stop: int
    step: int | None
    tid: int
    time_ns: int
    pc: int
    sp: int
    entered: int | None
    native: tuple[tuple[int, int | None, str | None], ...]
    runs: Runs | None
    broken: str | None
    names: dict[int, tuple[str, str]]


class Meeting(NamedTuple):
    """The same thread at the same moment.

    runs: what the interpreter runs then; None while it changes its own chain. around: what it ran
    before and after such a moment, and before an evaluation that has just begun.
    stack: mixstack's; None if no sample was taken.
    """

    stopped: Stopped
    runs: Runs | None
    around: tuple[Runs, ...]
    stack: Stack | None


def meetings(
    build: Build, stops: int, steps: int, folder: Path, *, seed: int = 1
) -> Iterator[Meeting]:
    """Stop the mixture `stops` times, and let one thread go on `steps` instructions after each.

    Skips without gdb or headers.
    """
    command = build.command(HERE / "stopped_program.py", program("mixture"))
    given = {"version": build.minor, "offsets": offsets_of(build, folder), "seed": seed}
    life_s = START_S + stops * (A_STOP_S + steps * A_STEP_S)
    with running(command) as target:
        seen, capture = _both(target.pid, folder, life_s, {"stops": stops, "steps": steps, **given})
    yield from _meet(seen, list(stacks(capture)))


def native_meetings(
    command: Sequence[str | Path], stops: int, folder: Path, *, child: bool = False, seed: int = 1
) -> tuple[list[Meeting], Capture]:
    """Stop a program `stops` times; the debugger does not look at its interpreter, if it has one.

    child: what is stopped is the program's child. Skips without gdb.
    """
    given = {"stops": stops, "steps": 0, "version": None, "offsets": None, "seed": seed}
    with running(command) as target:
        (pid,) = child_pids(target.pid) if child else (target.pid,)
        seen, capture = _both(pid, folder, LARGE_START_S + stops * A_STOP_S, given)
    return list(_meet(seen, list(stacks(capture)))), capture


def _both(
    pid: int, folder: Path, life_s: float, given: Mapping[str, object]
) -> tuple[list[Stopped], Capture]:
    """What the debugger saw of a process, and what was recorded meanwhile; it ends it."""
    gdb = shutil.which("gdb")
    if gdb is None:
        pytest.skip("gdb is not installed")
    assert life_s < LONGEST_LIFE_S, "the target would not live so long"
    paths = {"folder": str(HERE), "out": str(folder / "stops"), "ready": str(folder / "ready")}
    with subprocess.Popen(
        [
            *(gdb, *_QUIET, "-iex", f"set sysroot /proc/{pid}/root"),
            *("-p", str(pid), "-x", str(HERE / "gdb_threads.py")),
        ],
        env={**os.environ, "MIXSTACK_ORACLE": json.dumps({**given, **paths})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as debugger:
        try:
            capture = _record(pid, folder, life_s)
        finally:
            debugger.kill()
            assert debugger.stderr is not None
            said = debugger.stderr.read()
    if "Operation not permitted" in said:
        pytest.skip("this user may not trace processes")
    seen = [_stopped(line) for line in (folder / "stops").read_text().splitlines()]
    stops = given["stops"]
    assert isinstance(stops, int)
    assert max((at.stop for at in seen), default=None) == stops - 1, said
    return seen, capture


def _record(pid: int, folder: Path, seconds: float) -> Capture:
    ready = folder / "ready"
    ready.unlink(missing_ok=True)

    def clock(program_fd: int, rate_hz: int, _event: Event) -> SwitchClock:
        made = SwitchClock(pid, program_fd, rate_hz)
        ready.touch()
        return made

    with patch("mixstack.bpf.probe.SamplingClock", clock):
        return record(pid, folder / "out.data", seconds=seconds)


def _stopped(line: str) -> Stopped:
    seen = json.loads(line)
    runs = seen["runs"]
    if runs is not None:
        runs = tuple((marker, tuple(map(tuple, frames))) for marker, frames in runs)
    seen["names"] = {int(code): tuple(name) for code, name in seen["names"].items()}
    return Stopped(**{**seen, "native": tuple(map(tuple, seen["native"])), "runs": runs})


def _meet(seen: Sequence[Stopped], found: Sequence[Stack]) -> Iterator[Meeting]:
    by_thread: dict[int, list[Stack]] = {}
    for stack in found:
        by_thread.setdefault(stack.sample.tid, []).append(stack)
    times = {tid: [s.sample.time_ns for s in of_it] for tid, of_it in by_thread.items()}
    for _, at_one_stop in groupby(seen, lambda at: at.stop):
        for stopped, runs, around in _settled(list(at_one_stop)):
            if stopped.entered is not None:
                continue  # it hit a breakpoint: its pc was one byte on, until the debugger set it
            before = bisect_right(times.get(stopped.tid, []), stopped.time_ns)
            last = by_thread[stopped.tid][before - 1] if before else None
            same = last is not None and _same_moment(stopped, last)
            yield Meeting(stopped, runs, around, last if same else None)


def _same_moment(stopped: Stopped, stack: Stack) -> bool:
    raw = stack.sample.stack
    if raw.stack_pointer != stopped.sp or not raw.native:
        return False
    return raw.native[-1].pc in (stopped.pc, stopped.pc - SYSTEM_CALL)


_Settled = tuple[Stopped, "Runs | None", tuple[Runs, ...]]


def _settled(at_one_stop: Sequence[Stopped]) -> Iterator[_Settled]:
    """Each of the moments, its runs, and those around, as Meeting has them.

    A record that is linked but not yet filled may lead to left-over frames which look sound. So of
    an evaluation that begins only the code object that it was called with is believed.
    """
    walk = [at for at in at_one_stop if at.step is not None]
    outer, entered = (walk[0].runs, walk[0].entered) if walk else (None, None)
    whole = [at.runs if _believable(at.runs, outer, entered) else None for at in walk]
    for stopped in at_one_stop:
        goes_on = entered is None and walk and stopped.tid == walk[0].tid
        if stopped.step is None and not goes_on:
            yield stopped, stopped.runs, ()
            continue
        i = stopped.step or 0
        around = [
            next((r for r in whole[i::-1] if r is not None), None),
            later := next((r for r in whole[i:] if r is not None), None),
            outer if entered is not None else None,
            later[:-1] if later and _begins(stopped, later) else None,
        ]
        yield stopped, whole[i], tuple(r for r in around if r is not None and r != whole[i])


def _begins(stopped: Stopped, later: Runs) -> bool:
    """Whether the newest of these runs is that of the frame in which the thread is."""
    marker, cfa = later[-1][0], stopped.native[0][1]
    return marker is not None and cfa is not None and stopped.sp <= marker < cfa


def _believable(runs: Runs | None, outer: Runs | None, entered: int | None) -> bool:
    if runs is None or outer is None or entered is None or runs == outer:
        return runs is not None
    if runs[: len(outer)] != outer:
        return False
    return all(code == entered for code, _, _ in runs[len(outer)][1][:1])
