"""The join of a native and a Python stack by the address of each evaluator's marker.

Every C evaluation of Python leaves a marker on the C stack, inside the native frame that runs it.
So a Python segment belongs to the native frame whose stack range holds its marker; no symbol is
asked, and nothing is counted. What cannot be placed for certain is kept, marked and graded PARTIAL.

Where no marker is known (some builds of 3.8 and 3.9), evaluators and frames are counted, from the
root, and only where both stacks are whole and the numbers fit; where a few are missing, between the
neighbours of those.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, pairwise
from operator import gt
from typing import NamedTuple

from mixstack.merge.arrange import OUTER_END, Joined, merged_stack
from mixstack.model import (
    ChainEnd,
    Fit,
    MarkItem,
    MarkReason,
    MergedStack,
    NativeEnd,
    NativeFrame,
    PythonFrame,
    RawStack,
    Segment,
    Step,
)

# Bound once: a look-up in an enum costs as much as the rest of a frame.
_RESYNC, _SIGNAL, _FRAME_POINTER = Step.RESYNC, Step.SIGNAL, Step.FRAME_POINTER
_SKIPPING = (_RESYNC, _FRAME_POINTER)  # steps after which frames may be missing
_NATIVE_WHOLE = (NativeEnd.ROOT, NativeEnd.EXITING)
_NATIVE_LIMITS = (NativeEnd.TRUNCATED, NativeEnd.TAIL_CALLS)
_CHAIN_LIMITS = (ChainEnd.TRUNCATED, ChainEnd.TAIL_CALLS)
_CHAIN_CUTS = (ChainEnd.READ_FAULT, ChainEnd.INVALID)

_GAP = MarkItem(MarkReason.GAP)
_UNPLACED = MarkItem(MarkReason.UNPLACED)

IsEvaluator = Callable[[NativeFrame], bool]
SwitchesStacks = Callable[[NativeFrame], bool]
_Held = dict[int, list[tuple[int, int]]]  # native frame -> (segment, marker) of each inside


class _Extents(NamedTuple):
    """The stack ranges `[bottom, top)` of the native frames, outermost first.

    negated_bottoms: rises, so that it can be bisected. sound: nothing speaks against the range.
    ceiling: where the known stack ends.
    """

    negated_bottoms: list[int]
    tops: list[int]
    sound: list[bool]
    ceiling: int


class _Placing(NamedTuple):
    """Where segments go, by index: `slots` in a native frame, `beyond` outside the native cut.

    counted: those of `slots` that no address speaks for.
    """

    slots: dict[int, int]
    beyond: set[int]
    counted: frozenset[int] = frozenset()


def splice(
    stack: RawStack,
    is_evaluator: IsEvaluator | None = None,
    switches_stacks: SwitchesStacks | None = None,
) -> MergedStack:
    """Join the two stacks of one moment; outermost first, like its input; never raises."""
    return merged_stack(stack, join(stack, is_evaluator, switches_stacks))


def join(
    stack: RawStack,
    is_evaluator: IsEvaluator | None = None,
    switches_stacks: SwitchesStacks | None = None,
) -> Joined:
    """Where each segment goes; never raises.

    is_evaluator: whether a native frame is known to be the bytecode loop. It is asked only where
    an address does not settle it: for the frames of a chain that was cut before their marker, for
    a marker in a frame whose CFA is a frame pointer's (that step skips frames without one), and
    where frames must be counted.
    switches_stacks: whether a native frame belongs to a library that runs several C stacks in
    turn (greenlet): the evaluators outside of it run another one's Python frames. It is asked
    only where frames must be counted.
    """
    is_evaluator = is_evaluator or _nothing_known
    switches_stacks = switches_stacks or _nothing_known
    resynced = [i for i, frame in enumerate(stack.native) if frame.step is _RESYNC]
    extents = _extents(stack, resynced)
    if stack.counted:
        placing = _count(stack, is_evaluator, switches_stacks)
    else:
        placing = _place(stack, extents, is_evaluator, switches_stacks)
    return Joined(
        _behind(stack, placing, resynced),
        placing.slots,
        _fit(stack, extents, placing, resynced, is_evaluator),
        stack.native_end in _NATIVE_LIMITS,
        stack.chain_end in _CHAIN_LIMITS,
    )


def _nothing_known(_frame: NativeFrame) -> bool:
    return False


def _extents(stack: RawStack, resynced: Sequence[int]) -> _Extents:
    native = stack.native
    if stack.stack_pointer is not None:
        bottom = stack.stack_pointer
    else:
        bottom = native[-1].cfa if native else 0
    tops = [frame.cfa for frame in native]
    bottoms = [*tops[1:], bottom] if native else []
    # Nearly always each frame ends where the next one begins, and nothing else needs to be asked.
    if native and not resynced and all(map(gt, tops, bottoms)):
        return _Extents([-b for b in bottoms], tops, [True] * len(native), tops[0])
    sound = [True] * len(native)
    for i in reversed(range(len(native))):
        outer_step = native[i - 1].step if i > 0 else None
        if outer_step is _RESYNC:
            # The walk died here: the stack, up to nobody knows where, counts as the outer frame's.
            tops[i] = bottom
        elif outer_step is _SIGNAL and tops[i] <= bottom:
            # The handler ran on a stack of its own, which may lie anywhere and holds no evaluator.
            bottom = tops[i]
            bottoms[i:] = tops[i:] = [bottom] * (len(native) - i)
        elif outer_step is not None and tops[i] <= bottom:
            # One of the two bounds is wrong, and each of them is a neighbour's bound as well.
            # (The outermost frame may have no CFA: a root, or a frame that the walk died in.)
            for doubtful in range(i - 1, min(i + 2, len(native))):
                sound[doubtful] = False
        bottoms[i] = bottom
        bottom = max(bottom, tops[i])
    return _Extents([-b for b in bottoms], tops, sound, ceiling=bottom)


def _in_order(segments: Sequence[Segment]) -> list[tuple[int, int]]:
    """(segment, marker) of those whose marker lies below all outer and above all inner ones.

    Of two markers in the wrong order either may be the wrong one, so neither is in order.
    """
    marked = [(j, s.marker) for j, s in enumerate(segments) if s.marker is not None]
    if all(outer > inner for (_, outer), (_, inner) in pairwise(marked)):
        return marked
    highest_inner = [float("-inf")]
    for _, marker in reversed(marked):
        highest_inner.append(max(highest_inner[-1], marker))
    in_order = []
    lowest_outer = float("inf")
    for (j, marker), inner in zip(marked, reversed(highest_inner[:-1]), strict=True):
        if inner < marker < lowest_outer:
            in_order.append((j, marker))
        lowest_outer = min(lowest_outer, marker)
    return in_order


def _held(
    native: Sequence[NativeFrame],
    extents: _Extents,
    in_order: Sequence[tuple[int, int]],
    is_evaluator: IsEvaluator,
) -> _Held:
    """By sound native frame, the segments whose markers lie in it."""
    held: _Held = {}
    for j, marker in in_order:
        i = bisect_left(extents.negated_bottoms, -marker)
        if i == len(native) or marker >= extents.tops[i] or not extents.sound[i]:
            continue
        by_frame_pointer = i > 0 and native[i - 1].step is _FRAME_POINTER
        if not by_frame_pointer or is_evaluator(native[i]):
            held.setdefault(i, []).append((j, marker))
    return held


def _marker_span(stack: RawStack, held: _Held) -> int | None:
    """The distance `CFA - marker`, the same for all evaluators, where the probe did not know it.

    A native frame that is missing makes its neighbour, and so the distance, only larger.
    """
    alone = ((i, inside[0]) for i, inside in held.items() if len(inside) == 1)
    return min((stack.native[i].cfa - marker for i, (_, marker) in alone), default=None)


def _place(
    stack: RawStack,
    extents: _Extents,
    is_evaluator: IsEvaluator,
    switches_stacks: SwitchesStacks,
) -> _Placing:
    native, segments = stack.native, stack.segments
    in_order = _in_order(segments)
    held = _held(native, extents, in_order, is_evaluator)
    marker_span = stack.marker_span or _marker_span(stack, held)
    slots = {
        j: i
        for i, inside in held.items()
        for j, marker in inside
        if native[i].cfa - marker == marker_span
    }
    beyond: set[int] = set()
    if stack.native_end is not NativeEnd.ROOT:
        beyond = {j for j, marker in in_order if marker >= extents.ceiling}
    unmarked = _unmarked(segments)
    if unmarked in beyond or _unmarked_are_beyond(stack, unmarked):
        beyond.update(range(unmarked))
    elif unmarked and not _whole_chain(stack) and len(slots) == len(segments) - 1:
        slot = _innermost_evaluator(native[: slots.get(1, len(native))], is_evaluator)
        if slot is not None:
            slots[0] = slot
    if not _whole_chain(stack) or len(slots) == len(segments):
        return _Placing(slots, beyond)
    filled = dict(_between(stack, slots, is_evaluator, switches_stacks))
    return _Placing({**slots, **filled}, beyond, frozenset(filled))


def _between(
    stack: RawStack,
    slots: dict[int, int],
    is_evaluator: IsEvaluator,
    switches_stacks: SwitchesStacks,
) -> Iterator[tuple[int, int]]:
    """Slots of segments without a marker (3.8, 3.9): just enough evaluators between neighbours.

    An evaluator that tells a trace function of its call has not noted its frame yet.
    """
    segments, native = stack.segments, stack.native
    places = {**slots, len(segments): len(native)}
    if stack.native_end is NativeEnd.ROOT:
        places[OUTER_END] = OUTER_END
    unmarked = [j for j, segment in enumerate(segments) if segment.marker is None]
    for _, group in groupby(enumerate(unmarked), lambda pair: pair[1] - pair[0]):
        run = [j for _, j in group]
        outer, inner = places.get(run[0] - 1), places.get(run[-1] + 1)
        if outer is None or inner is None:
            continue
        # Frames that such a step skips are missing inside of the frame that it is noted at.
        if any(frame.step in _SKIPPING for frame in native[max(outer, 0) : inner]):
            continue
        first = max(outer + 1, _first_of_stack(native[:inner], switches_stacks))
        evaluators = [i for i in range(first, inner) if is_evaluator(native[i])]
        if len(evaluators) == len(run):
            yield from zip(run, evaluators, strict=True)


def _first_of_stack(native: Sequence[NativeFrame], switches_stacks: SwitchesStacks) -> int:
    """Where the C stack begins that the innermost frame is on; outside lie other ones."""
    return next((i for i in reversed(range(len(native))) if switches_stacks(native[i])), 0)


def _unmarked(segments: Sequence[Segment]) -> int:
    """How many of the outermost segments have no marker."""
    marked = (j for j, segment in enumerate(segments) if segment.marker is not None)
    return next(marked, len(segments))


def _unmarked_are_beyond(stack: RawStack, unmarked: int) -> bool:
    """Whether the outermost segments have no marker because their evaluators lie beyond the cut.

    Of a chain that was cut inside a segment only one has none, and its evaluator may be anywhere.
    """
    if not stack.native:
        return True
    return stack.native_end is not NativeEnd.ROOT and (_whole_chain(stack) or unmarked > 1)


def _whole_chain(stack: RawStack) -> bool:
    return stack.chain_end is ChainEnd.ROOT


def _count(stack: RawStack, is_evaluator: IsEvaluator, switches_stacks: SwitchesStacks) -> _Placing:
    """Each segment in an evaluator by count from the root; none if they cannot be counted.

    One evaluator may be left over: the leaf, which is being entered or left.
    """
    native, segments = stack.native, stack.segments
    if not native:
        return _Placing({}, set(range(len(segments))))
    whole = _whole_chain(stack) and stack.native_end is NativeEnd.ROOT
    if not whole or any(frame.step in _SKIPPING for frame in native):
        return _Placing({}, set())
    first = _first_of_stack(native, switches_stacks)
    evaluators = [i for i in range(first, len(native)) if is_evaluator(native[i])]
    left_over = evaluators[len(segments) :]
    if len(evaluators) < len(segments) or left_over not in ([], [len(native) - 1]):
        return _Placing({}, set())
    slots = dict(enumerate(evaluators[: len(segments)]))
    return _Placing(slots, set(), frozenset(slots))


def _innermost_evaluator(native: Sequence[NativeFrame], is_evaluator: IsEvaluator) -> int | None:
    return next((i for i in reversed(range(len(native))) if is_evaluator(native[i])), None)


def _behind(
    stack: RawStack, placing: _Placing, resynced: Sequence[int]
) -> dict[int, list[PythonFrame | MarkItem]]:
    """What follows each native frame that is an evaluator, and what precedes them all.

    A segment without a place follows its outer neighbour.
    """
    segments = stack.segments
    # A chain that was cut inside a segment lost that segment's own outer frames first.
    cut_inside = bool(segments) and segments[0].marker is None
    anchor = placing.slots.get(0, OUTER_END) if cut_inside else OUTER_END
    behind: dict[int, list[PythonFrame | MarkItem]] = {anchor: [*_chain_mark(stack)]}
    unplaced = set()
    for j, segment in enumerate(segments):
        anchor = placing.slots.get(j, anchor)
        frames = [frame for frame in segment.frames if not frame.incomplete]
        behind.setdefault(anchor, []).extend(frames)
        if frames and j not in placing.slots and j not in placing.beyond:
            unplaced.add(anchor)
    for anchor in unplaced:
        behind[anchor].append(_UNPLACED)
    outer = behind.setdefault(OUTER_END, [])
    outer += [mark for mark in _native_mark(stack) if outer != [mark]]
    for i in resynced:
        behind.setdefault(i, []).append(_GAP)
    return behind


def _native_mark(stack: RawStack) -> list[MarkItem]:
    if stack.native_end is NativeEnd.ROOT:
        return []
    if stack.native_end in _NATIVE_LIMITS:
        return [MarkItem(MarkReason.TRUNCATED)]
    if stack.native_end is NativeEnd.EXITING:
        return [MarkItem(MarkReason.EXITING)]
    return [MarkItem(MarkReason.CUT, stack.end_pc)]


def _chain_mark(stack: RawStack) -> list[MarkItem]:
    if stack.chain_end in _CHAIN_LIMITS:
        return [MarkItem(MarkReason.TRUNCATED)]
    # Behind the frames of a thread state another one may be looked for in vain.
    if stack.chain_end in _CHAIN_CUTS or (stack.segments and not _whole_chain(stack)):
        return [MarkItem(MarkReason.CHAIN_CUT)]
    return []


def _tells_all(stack: RawStack, placing: _Placing, is_evaluator: IsEvaluator) -> bool:
    """Whether a chain whose newest record was skipped still has every evaluator but the newest.

    The way around a half written record leads through memory that may be left over from an
    earlier call: what it leads to is sound (its markers are in place), but may not be all.
    """
    if not stack.torn:
        return True
    held = set(placing.slots.values())
    return bool(held) and not any(
        is_evaluator(frame) for i, frame in enumerate(stack.native[:-1]) if i not in held
    )


def _fit(
    stack: RawStack,
    extents: _Extents,
    placing: _Placing,
    resynced: Sequence[int],
    is_evaluator: IsEvaluator,
) -> Fit:
    if not stack.native:
        has_python = any(not f.incomplete for segment in stack.segments for f in segment.frames)
        return Fit.PYTHON_ONLY if has_python else Fit.PARTIAL
    all_right = (
        stack.native_end in _NATIVE_WHOLE
        and not _chain_mark(stack)
        and all(extents.sound)
        and len(placing.slots) == len(stack.segments)
        and set(resynced).issubset(placing.slots.values())
        and _tells_all(stack, placing, is_evaluator)
    )
    if not all_right:
        return Fit.PARTIAL
    if not stack.segments:
        return Fit.NATIVE_ONLY
    if placing.counted:
        return Fit.COUNTED
    return Fit.RESYNCED if resynced else Fit.EXACT
