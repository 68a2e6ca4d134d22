"""Whole mixed stacks by a second opinion: the debugger's frames, joined here, beside mixstack's."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import NamedTuple

from mixstack.merge.splice import splice
from mixstack.model import (
    ChainEnd,
    CodeKey,
    Fit,
    Item,
    KernelItem,
    MarkItem,
    MarkReason,
    NativeEnd,
    NativeFrame,
    NativeItem,
    PythonFrame,
    PythonItem,
    RawStack,
    Segment,
    Step,
)

from .grammar import bare_symbol
from .harness import Stack, show
from .stopping import SYSTEM_CALL, Meeting, Runs, Stopped

_EVALUATOR = "_PyEval_EvalFrameDefault"
_NO_CFA = -1


class Native(NamedTuple):
    """cfa: of the outermost frame the debugger knows none, and it is not compared."""

    pc: int
    cfa: int
    evaluator: bool


class Python(NamedTuple):
    code: int
    offset: int


class Outcome(enum.Enum):
    SAME = "the same stack"
    CHANGING = "in the middle of a change: the stack before it or after it, or marked as partial"
    CUT = "the native walk stopped early and says so; all that is there is the same, in order"
    BLIND = "the debugger's own walk stopped early; as far as it goes, all is the same"
    NOT_SAMPLED = "no sample was taken at this moment"
    DIFFERENT = "different"


class Misfit(Exception):
    """The debugger's own frames do not join."""


def compare(meeting: Meeting) -> tuple[Outcome, str]:
    """What is true of a meeting, and a text that shows it."""
    stopped, runs, around, stack = meeting
    if stack is None:
        return Outcome.NOT_SAMPLED, f"thread {stopped.tid} at {stopped.pc:#x}, step {stopped.step}"
    text = _describe(meeting, stack)
    ours = [item for item in stack.merged.items if not isinstance(item, KernelItem)]
    try:
        if runs is not None and _agree(ours, join(stopped, runs)):
            wrong = _wrong_names(stopped, stack) or _splices_otherwise(stopped, runs)
            return (Outcome.DIFFERENT, wrong + text) if wrong else (Outcome.SAME, text)
        if runs is not None and _cut(stack) and _follows(ours, join(stopped, runs)):
            return Outcome.CUT, text
        if runs is not None and _blind(stopped) and _goes_on(ours, stopped, runs):
            return Outcome.BLIND, text
    except Misfit as misfit:
        return Outcome.DIFFERENT, f"the debugger's frames do not join: {misfit}\n{text}"
    if _one_of(ours, stopped, around) or _owns_up(ours, meeting, stack):
        return Outcome.CHANGING, text
    return Outcome.DIFFERENT, text


def _one_of(ours: Sequence[Item], stopped: Stopped, around: Sequence[Runs]) -> bool:
    for runs in around:
        try:
            if _agree(ours, join(stopped, runs)):
                return True
        except Misfit:  # what ran before or after has a marker in a frame that is not there now
            continue
    return False


def _cut(stack: Stack) -> bool:
    return stack.merged.fit is Fit.PARTIAL and stack.sample.stack.native_end is not NativeEnd.ROOT


def _blind(stopped: Stopped) -> bool:
    """Whether the debugger's outermost frame is none: what it took for a return address is null."""
    return stopped.native[-1][0] == 0


def _goes_on(ours: Sequence[Item], stopped: Stopped, runs: Runs) -> bool:
    """The native frames that the debugger has, innermost; all Python frames."""
    native = [item for item in ours if isinstance(item, NativeItem)]
    theirs = [pc for pc, _, _ in stopped.native[:-1]][::-1]
    python = [item for item in ours if isinstance(item, PythonItem)]
    known = [Python(c, o) for _, frames in runs for c, o, incomplete in frames if not incomplete]
    return (
        0 < len(theirs) <= len(native)
        and all(
            item.frame.pc == pc for item, pc in zip(native[-len(theirs) :], theirs, strict=True)
        )
        and len(python) == len(known)
        and all(map(_is, python, known))
    )


def _follows(ours: Sequence[Item], truth: Sequence[Native | Python]) -> bool:
    """The innermost native frames, but the last, which was not left; all Python frames."""
    native = [item._replace(evaluator=False) for item in ours if isinstance(item, NativeItem)]
    theirs = [item._replace(evaluator=False) for item in truth if isinstance(item, Native)]
    python = [item for item in ours if isinstance(item, PythonItem)]
    runs = [item for item in truth if isinstance(item, Python)]
    left = len(theirs) - len(native)
    return (
        left >= 0
        and len(python) == len(runs)
        and all(map(_is, python, runs))
        and all(map(_is, native[1:], theirs[left + 1 :]))
        and native[0].frame.pc in (theirs[left].pc, theirs[left].pc - SYSTEM_CALL)
    )


def _owns_up(ours: Sequence[Item], meeting: Meeting, stack: Stack) -> bool:
    """In the middle of a change: all native frames are right, and the fit says what is missing."""
    if meeting.runs is not None or stack.merged.fit is not Fit.PARTIAL:
        return False
    natives = [item._replace(evaluator=False) for item in ours if isinstance(item, NativeItem)]
    return _agree(natives, join(meeting.stopped, ()))


def _splices_otherwise(stopped: Stopped, runs: Runs) -> str:
    """The debugger's frames, joined by mixstack.

    Without markers it may decline: an evaluator that is left over makes counting uncertain.
    """
    raw = raw_stack(stopped, runs)
    spliced = splice(raw, lambda frame: _names_evaluator(_name_at(stopped, frame)))
    whole = spliced.fit in (Fit.EXACT, Fit.NATIVE_ONLY, Fit.COUNTED)
    if whole and _agree(spliced.items, join(stopped, runs)):
        return ""
    if raw.counted and spliced.fit is Fit.PARTIAL:
        return ""
    return f"the debugger's frames are joined otherwise: {spliced}\n"


def join(stopped: Stopped, runs: Runs) -> list[Native | Python]:
    """The mixed stack, outermost first, from the debugger's frames alone. Raises Misfit."""
    native = stopped.native[::-1]
    slots = _slots(stopped, runs)
    joined: list[Native | Python] = []
    for i, (pc, cfa, _) in enumerate(native):
        joined.append(Native(pc, _NO_CFA if cfa is None else cfa, i in slots))
        if i in slots:
            frames = runs[slots[i]][1]
            joined += [
                Python(code, offset) for code, offset, incomplete in frames if not incomplete
            ]
    return joined


def _slots(stopped: Stopped, runs: Runs) -> dict[int, int]:
    """By native frame, outermost first, the run that it holds."""
    native = stopped.native[::-1]
    evaluators = [i for i, (_, _, name) in enumerate(native) if _names_evaluator(name)]
    slots: dict[int, int] = {}
    for run, (marker, _) in enumerate(runs):
        if marker is None:
            if run >= len(evaluators):
                raise Misfit("more Python frames than evaluators")
            slots[evaluators[run]] = run
            continue
        inside = [i for i in range(len(native)) if _contains(stopped, i, marker)]
        if len(inside) != 1 or inside[0] in slots:
            raise Misfit(f"marker {marker:#x} is in {inside}")
        slots[inside[0]] = run
    if list(slots) != sorted(slots):
        raise Misfit(f"out of order: {slots}")
    bare = [i for i in evaluators if i not in slots and i != len(native) - 1]
    if bare and slots and bare[0] < max(slots):
        raise Misfit(f"evaluator {bare} holds nothing")
    return slots


def _contains(stopped: Stopped, i: int, marker: int) -> bool:
    native = stopped.native[::-1]
    cfa = native[i][1]
    bottom = native[i + 1][1] if i + 1 < len(native) else stopped.sp
    return bottom is not None and bottom <= marker and (cfa is None or marker < cfa)


def raw_stack(stopped: Stopped, runs: Runs) -> RawStack:
    """What the probe would send of the state that the debugger saw."""
    native = []
    bottom = stopped.sp
    for i, (pc, cfa, _) in enumerate(stopped.native):
        bottom = bottom + 8 if cfa is None else cfa
        native.append(NativeFrame(pc, bottom, Step.CALLER if i else Step.LEAF))
    segments = tuple(
        Segment(marker, tuple(PythonFrame(CodeKey(c, 0), o, inc) for c, o, inc in frames))
        for marker, frames in runs
    )
    return RawStack(
        kernel=(),
        native=tuple(native[::-1]),
        native_end=NativeEnd.ROOT,
        segments=segments,
        chain_end=ChainEnd.ROOT,
        stack_pointer=stopped.sp,
        torn=False,
        end_pc=None,
        counted=any(marker is None for marker, _ in runs),
    )


def _agree(items: Sequence[Item], truth: Sequence[Native | Python]) -> bool:
    """Whether they are the same stack; behind [frames missing] native frames may be left out.

    The next frame is then the one that the walk could not leave: its CFA is not known.
    """
    gap = next((i for i, item in enumerate(items) if _is_gap(item)), None)
    if gap is None:
        return len(items) == len(truth) and all(map(_is, items, truth))
    if len(truth) < gap or not all(map(_is, items[:gap], truth)):
        return False
    dead, rest = items[gap + 1], items[gap + 2 :]
    for i, theirs in enumerate(truth[gap:], gap):
        if not isinstance(theirs, Native) or theirs.evaluator:
            return False
        if _is(dead, theirs._replace(cfa=_NO_CFA)) and _agree(rest, truth[i + 1 :]):
            return True
    return False


def _is_gap(item: Item) -> bool:
    return isinstance(item, MarkItem) and item.reason is MarkReason.GAP


def _is(item: Item, truth: Native | Python) -> bool:
    if isinstance(item, PythonItem):
        return truth == Python(item.frame.code.address, item.frame.offset)
    if not isinstance(item, NativeItem) or not isinstance(truth, Native):
        return False
    pc, cfa, step = item.frame
    same_pc = pc == truth.pc or (step is Step.LEAF and pc == truth.pc - SYSTEM_CALL)
    if step is Step.RESYNC:
        return item.evaluator and truth.evaluator and cfa == truth.cfa
    return same_pc and truth.cfa in (cfa, _NO_CFA) and item.evaluator is truth.evaluator


def _wrong_names(stopped: Stopped, stack: Stack) -> str:
    for item, frame in zip(stack.merged.items, stack.full, strict=True):
        if isinstance(item, PythonItem):
            name, file = stopped.names[item.frame.code.address]
            right = frame.name == name or ("." not in name and frame.name.endswith("." + name))
            if not right or frame.file != file:
                return f"{frame} is {name} of {file}"
    return ""


def _name_at(stopped: Stopped, frame: NativeFrame) -> str | None:
    return next(name for pc, _, name in stopped.native if pc == frame.pc)


def _names_evaluator(name: str | None) -> bool:
    return name is not None and bare_symbol(name) == _EVALUATOR


def _describe(meeting: Meeting, stack: Stack) -> str:
    stopped = meeting.stopped
    raw = stack.sample.stack
    lines = [
        f"thread {stopped.tid}, stop {stopped.stop}, step {stopped.step}; the debugger's "
        f"({stopped.broken or 'whole'}; {'believed' if meeting.runs else 'not believed'}):",
        *(f"  {pc:#x} {cfa or 0:#x} {name}" for pc, cfa, name in stopped.native[::-1]),
        *(f"  {marker or 0:#x}: {_shown(stopped, run)}" for marker, run in stopped.runs or ()),
        *(f"  around: {[_shown(stopped, run) for _, run in runs]}" for runs in meeting.around),
        f"mixstack's ({stack.merged.fit.value}, torn {raw.torn}, {raw.chain_end.name}):",
        show(stack.full),
        *(f"  {frame.pc or 0:#x} {frame.cfa:#x} {frame.step.name}" for frame in raw.native),
        *(f"  {segment.marker or 0:#x}: {segment.frames}" for segment in raw.segments),
    ]
    return "\n".join(lines)


def _shown(stopped: Stopped, frames: Sequence[tuple[int, int, bool]]) -> list[str]:
    return [
        f"{stopped.names.get(code, ('?', ''))[0]}+{offset}{'~' if incomplete else ''}"
        for code, offset, incomplete in frames
    ]
