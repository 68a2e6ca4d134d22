"""Profiles made by hand: every kind of frame, and the traps of each format."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import chain

from mixstack.model import (
    Fit,
    Frame,
    FrameKind,
    Losses,
    MarkReason,
    Profile,
    Quality,
    ThreadProfile,
)

MS = 1_000_000

MAIN = Frame(FrameKind.NATIVE, "main", "/usr/bin/python3.12", plumbing=True)
MODULE = Frame(FrameKind.PYTHON, "<module>", "/srv/app/app.py", 12)
LOAD = Frame(FrameKind.PYTHON, "Store.load", "/srv/app/store.py", 40)
LOAD_ELSEWHERE = LOAD._replace(line=41)
SORT = Frame(FrameKind.NATIVE, "list_sort_impl", "/usr/lib/libpython3.12.so.1.0")
KEY = Frame(FrameKind.PYTHON, "<lambda>", "/srv/app/app.py", 3)
TEMPLATE = Frame(FrameKind.NATIVE, "void ns::run<int; 2>(\n)", "/opt/ext/_fast.so")
NO_SYMBOL = Frame(FrameKind.NATIVE, "libz.so.1+0x3a10", "/usr/lib/libz.so.1", resolved=False)
READ = Frame(FrameKind.KERNEL, "ksys_read")
EXT4 = Frame(FrameKind.KERNEL, "ext4_file_read_iter", "ext4")
CUT = Frame(FrameKind.MARK, MarkReason.CUT.value)
NOWHERE = Frame(FrameKind.PYTHON, "naïve \u2028 \udcff", None, None)

STACKS: tuple[tuple[Frame, ...], ...] = (
    (),
    (MAIN, MODULE, LOAD),
    (MAIN, MODULE, LOAD_ELSEWHERE),
    (MAIN, MODULE, SORT, KEY),
    (MAIN, MODULE, TEMPLATE, NO_SYMBOL),
    (CUT, NO_SYMBOL),
    (MAIN, MODULE, READ, EXT4),
    (MAIN, NOWHERE),
)


def thread(
    tid: int, name: str, start_ms: int, line: Sequence[tuple[int, int]], pid: int = 100
) -> ThreadProfile:
    """A thread whose time line is `(stack id, milliseconds)` pairs."""
    return ThreadProfile(
        pid=pid,
        tid=tid,
        name=name,
        start_ns=start_ms * MS,
        end_ns=(start_ms + sum(length for _, length in line)) * MS,
        stack_ids=array("I", [stack_id for stack_id, _ in line]),
        durations_ns=array("Q", [length * MS for _, length in line]),
    )


def profile(*threads: ThreadProfile, stacks: tuple[tuple[Frame, ...], ...] = STACKS) -> Profile:
    numbers = {frame: number for number, frame in enumerate(dict.fromkeys(chain(*stacks)))}
    return Profile(
        title="python app.py",
        exporter="mixstack@0.1.0",
        period_ns=10 * MS,
        frames=tuple(numbers),
        stacks=tuple(tuple(numbers[frame] for frame in stack) for stack in stacks),
        threads=tuple(threads),
        quality=Quality(
            samples=14,
            fits={Fit.EXACT: 12, Fit.PARTIAL: 1, Fit.NATIVE_ONLY: 1},
            unresolved_frames=2,
            losses=Losses(ring_full=1),
        ),
    )


TWO_THREADS = profile(
    thread(101, "MainThread", 1000, [(1, 30), (0, 20), (2, 10), (3, 24), (6, 10), (1, 4)]),
    thread(102, "worker; one\n", 1015, [(4, 20), (0, 30), (5, 10), (7, 10)]),
)
