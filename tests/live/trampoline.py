"""The trampoline oracle: what the interpreter's own perf trampolines say of every Python call.

Under `-X perf` each Python call runs through a piece of machine code of its own, whose address the
interpreter writes, with the function's name, into a map file. Those addresses are in the native
stack, so it names the Python calls without any help from the interpreter's frames.
"""

from __future__ import annotations

import enum
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from mixstack.model import Frame, Item, KernelItem, MarkItem, NativeItem, PythonItem


class Outcome(enum.Enum):
    """What became of one trampoline in one sample; every other Python frame is `NO_TRAMPOLINE`."""

    AGREES = "the evaluator inside holds the frame that the trampoline names"
    INLINED_INIT = "it agrees, and the evaluator went on into __init__ by itself, as 3.13 does"
    INNERMOST_EMPTY = "the innermost evaluator is entering or leaving, and holds no frame"
    FINALIZING = "an evaluator further out has left its frame, and runs a finalizer on its way out"
    LOST = "an evaluator further out holds no frame, and runs something else"
    DISAGREES = "the frames are not the one that the trampoline names"
    NO_TRAMPOLINE = "Python frames without a trampoline outside of them"
    NOT_COMPARED = "native frames are missing, so the trampoline was not seen"


WRONG = (Outcome.DISAGREES, Outcome.NO_TRAMPOLINE, Outcome.LOST)


class PerfMap:
    """`/tmp/perf-PID.map`: lines of start, size (both hex) and name."""

    def __init__(self, text: str) -> None:
        rows = [line.split(" ", 2) for line in text.splitlines() if line.count(" ") >= 2]
        self._rows = sorted((int(start, 16), int(size, 16), name) for start, size, name in rows)
        self._starts = [start for start, _, _ in self._rows]

    @classmethod
    def of(cls, pid: int) -> PerfMap:
        return cls(path_of(pid).read_text(encoding="utf-8", errors="surrogateescape"))

    def find(self, address: int) -> str | None:
        at = bisect_right(self._starts, address) - 1
        if at < 0:
            return None
        start, size, name = self._rows[at]
        return name if address < start + size else None


def path_of(pid: int) -> Path:
    return Path(f"/tmp/perf-{pid}.map")


class Call(NamedTuple):
    """One trampoline, or the lack of one, and the Python frames that stand inside of it."""

    trampoline: str | None
    frames: tuple[PythonItem, ...]
    after_gap: bool


def compare(
    items: Sequence[Item],
    perf_map: PerfMap,
    name: Callable[[PythonItem], Frame],
    *,
    inlines_init: bool,
) -> Counter[Outcome]:
    """How the trampolines of one joined stack (outermost first) agree with its Python frames."""
    calls = list(_calls(items, perf_map))
    return Counter(
        _outcome(call, inner, name, inlines_init)
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
