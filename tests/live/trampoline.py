"""The trampoline oracle: what the interpreter's own perf trampolines say of every Python call.

Under `-X perf` each Python call runs through a piece of machine code of its own, whose address the
interpreter writes, with the function's name, into a map file. Those addresses are in the native
stack, so it names the Python calls without any help from the interpreter's frames.
"""

from __future__ import annotations

import contextlib
import enum
import struct
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Final, NamedTuple

from mixstack.model import (
    Frame,
    Item,
    KernelItem,
    MarkItem,
    MarkReason,
    NativeItem,
    PythonItem,
)

from ..interpreters import Build
from .harness import Stack

# The header of a jitdump file, its size at 8; of a record; of a JIT_CODE_LOAD record (type 0).
# Source: tools/perf/Documentation/jitdump-specification.txt of the kernel.
_DUMP_HEADER: Final = struct.Struct("<IIIIIIQQ")
_RECORD: Final = struct.Struct("<IIQ")
_CODE_LOAD: Final = struct.Struct("<IIQQQQ")


class Outcome(enum.Enum):
    """What became of one trampoline in one sample; every other Python frame is `NO_TRAMPOLINE`."""

    AGREES = "the evaluator inside holds the frame that the trampoline names"
    INLINED_INIT = "it agrees, and the evaluator went on into __init__ by itself, as 3.13 does"
    INNERMOST_EMPTY = "the innermost evaluator is entering or leaving, and holds no frame"
    FINALIZING = "an evaluator further out has left its frame, and runs a finalizer on its way out"
    LOST = "an evaluator further out holds no frame, and runs something else"
    DISAGREES = "the frames are not the one that the trampoline names"
    NO_TRAMPOLINE = "Python frames without a trampoline outside of them"
    NOT_COMPARED = "a mark says that the frames are missing, or the trampoline"


WRONG = (Outcome.DISAGREES, Outcome.NO_TRAMPOLINE, Outcome.LOST)


class PerfMap:
    """What an interpreter tells perf of its trampolines: (start, size, name) of each."""

    def __init__(self, rows: Iterable[tuple[int, int, str]]) -> None:
        self._rows = sorted(rows)
        self._starts = [start for start, _, _ in self._rows]

    @classmethod
    def parse(cls, text: str) -> PerfMap:
        """Lines of start, size (both hex) and name."""
        rows = [line.split(" ", 2) for line in text.splitlines() if line.count(" ") >= 2]
        return cls((int(start, 16), int(size, 16), name) for start, size, name in rows)

    @classmethod
    def parse_dump(cls, data: bytes) -> PerfMap:
        """A jitdump file, as `-X perf_jit` writes it; it may end within a record."""
        rows = []
        at = _DUMP_HEADER.unpack_from(data)[2]
        while at + _RECORD.size <= len(data):
            kind, size, _ = _RECORD.unpack_from(data, at)
            if kind == 0 and at + size <= len(data):
                body = at + _RECORD.size
                _, _, _, address, code_size, _ = _CODE_LOAD.unpack_from(data, body)
                name, end, _ = data[body + _CODE_LOAD.size : at + size].partition(b"\0")
                if end:
                    rows.append((address, code_size, name.decode(errors="surrogateescape")))
            at += max(size, _RECORD.size)
        return cls(rows)

    def find(self, address: int) -> str | None:
        at = bisect_right(self._starts, address) - 1
        if at < 0:
            return None
        start, size, name = self._rows[at]
        return name if address < start + size else None


@contextlib.contextmanager
def told_to_perf(build: Build, pid: int) -> Iterator[Callable[[], PerfMap]]:
    """What a process has told perf, when it is asked; its files are removed at the end."""
    text, dump = build.host(f"/tmp/perf-{pid}.map"), build.host(f"/tmp/jit-{pid}.dump")

    def read() -> PerfMap:
        if dump.exists():
            return PerfMap.parse_dump(dump.read_bytes())
        return PerfMap.parse(text.read_text(encoding="utf-8", errors="surrogateescape"))

    try:
        yield read
    finally:
        for path in (text, dump):
            path.unlink(missing_ok=True)


class Call(NamedTuple):
    """One trampoline, or the lack of one, and the Python frames that stand inside of it."""

    trampoline: str | None
    frames: tuple[PythonItem, ...]
    after_gap: bool


def compare_all(
    found: Iterable[Stack], perf_map: PerfMap, build: Build
) -> Iterator[tuple[Stack, Counter[Outcome]]]:
    """Each sample with its outcomes. Equal stacks are compared once."""
    compared: dict[int, Counter[Outcome]] = {}
    for stack in found:
        key = id(stack.full)  # equal stacks are one object, and the capture keeps them alive
        if key not in compared:
            named = dict(zip(stack.merged.items, stack.full, strict=True))
            compared[key] = compare(
                stack.merged.items, perf_map, named.__getitem__, inlines_init=build.minor == (3, 13)
            )
        yield stack, compared[key]


def compare(
    items: Sequence[Item],
    perf_map: PerfMap,
    name: Callable[[PythonItem], Frame],
    *,
    inlines_init: bool,
) -> Counter[Outcome]:
    """How the trampolines of one joined stack (outermost first) agree with its Python frames."""
    calls = list(_calls(items, perf_map))
    chain_cut = MarkItem(MarkReason.CHAIN_CUT) in items
    return Counter(
        Outcome.NOT_COMPARED
        if chain_cut and inner is not None and not call.frames
        else _outcome(call, inner, name, inlines_init)
        for call, inner in zip_longest(calls, calls[1:])
        if call is not None
    )


def _outcome(
    call: Call, inner: Call | None, name: Callable[[PythonItem], Frame], inlines_init: bool
) -> Outcome:
    if call.trampoline is None:
        return Outcome.NOT_COMPARED if call.after_gap else Outcome.NO_TRAMPOLINE
    if not call.frames:
        if inner is None:
            return Outcome.INNERMOST_EMPTY
        finalizing = inner.trampoline is not None and ".__del__:" in inner.trampoline
        return Outcome.FINALIZING if finalizing else Outcome.LOST
    first, *further = (name(item) for item in call.frames)
    if f"py::{first.name}:{first.file}" != call.trampoline:
        return Outcome.DISAGREES
    if not further:
        return Outcome.AGREES
    # CALL_ALLOC_AND_ENTER_INIT of 3.13 does not ask whether calls are to go through trampolines
    inlined = inlines_init and all(frame.name.endswith(".__init__") for frame in further)
    return Outcome.INLINED_INIT if inlined else Outcome.DISAGREES


def _calls(items: Sequence[Item], perf_map: PerfMap) -> Iterator[Call]:
    trampoline: str | None = None
    frames: list[PythonItem] = []
    after_gap = gap = False
    for item in items:
        if isinstance(item, PythonItem):
            frames.append(item)
        elif isinstance(item, MarkItem):
            gap = True
        elif isinstance(item, NativeItem):
            address = item.frame.lookup_pc
            found = None if address is None else perf_map.find(address)
            # a new trampoline, or an evaluator that was reached without one, ends the call before
            if found is not None or (item.evaluator and (frames or gap)):
                if trampoline is not None or frames:
                    yield Call(trampoline, tuple(frames), after_gap)
                trampoline, frames, after_gap, gap = found, [], gap, False
        else:
            assert isinstance(item, KernelItem)
    if trampoline is not None or frames:
        yield Call(trampoline, tuple(frames), after_gap)
