"""Ways in which a sample could be wrong without saying so, and what must never come of it.

Unlike the spoilers of `truth`, most of these keep every end marked as whole: nothing but the
addresses themselves can give them away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from random import Random
from typing import NamedTuple

from mixstack.model import (
    ChainEnd,
    CodeKey,
    Fit,
    MarkItem,
    MarkReason,
    MergedStack,
    NativeFrame,
    NativeItem,
    PythonItem,
    RawStack,
    Segment,
    Step,
)
from tests.unit.merge.truth import check_conserved

_SERIAL = 1 << 50  # above every address: an invented frame's pc

Corrupt = Callable[[Random, RawStack], "RawStack | None"]
Slot = tuple["int | None", int]


class Corruption(NamedTuple):
    """corrupt: gives None where a stack has nothing to corrupt so.

    hopeless: what is left can never be joined as a whole.
    """

    name: str
    corrupt: Corrupt
    hopeless: bool = False


def labelled(raw: RawStack) -> RawStack:
    """The same stack, but that no two Python frames are equal: recursion would hide a mistake."""
    serial = iter(range(1, 1 << 20))
    segments = tuple(
        segment._replace(
            frames=tuple(f._replace(code=CodeKey(next(serial), 0)) for f in segment.frames)
        )
        for segment in raw.segments
    )
    return raw._replace(segments=segments)


def slots_of(raw: RawStack) -> dict[CodeKey, Slot]:
    """By Python frame the native frame whose range holds its marker; of a stack that is sound."""
    found: dict[CodeKey, Slot] = {}
    for segment in raw.segments:
        bottom = raw.stack_pointer or 0
        for frame in reversed(raw.native):
            if segment.marker is not None and bottom <= segment.marker < frame.cfa:
                found |= {f.code: (frame.pc, frame.cfa) for f in segment.frames}
                break
            bottom = max(bottom, frame.cfa)
    return found


def placed(merged: MergedStack) -> dict[CodeKey, Slot | None]:
    """By Python frame the native frame that it is shown in; None if it is marked as unplaced."""
    found: dict[CodeKey, Slot | None] = {}
    slot: Slot | None = None
    group: list[CodeKey] = []
    for item in merged.items:
        if isinstance(item, NativeItem):
            slot, group = ((item.frame.pc, item.frame.cfa) if item.evaluator else None), []
        elif isinstance(item, PythonItem):
            found[item.frame.code] = slot
            group.append(item.frame.code)
        elif isinstance(item, MarkItem) and item.reason is MarkReason.UNPLACED:
            found |= dict.fromkeys(group)
    return found


def misplaced(truth: RawStack, merged: MergedStack) -> list[CodeKey]:
    """The Python frames that are shown in another native frame than their own, without a mark."""
    right = slots_of(truth)
    return [code for code, slot in placed(merged).items() if slot and slot != right[code]]


def claims_all(merged: MergedStack) -> bool:
    return merged.fit in (Fit.EXACT, Fit.RESYNCED, Fit.NATIVE_ONLY)


# --- the native stack ---------------------------------------------------------------------------


def _holders(raw: RawStack) -> list[int]:
    slots = set(slots_of(raw).values())
    return [i for i, frame in enumerate(raw.native) if (frame.pc, frame.cfa) in slots]


def native_frame_dropped(rng: Random, raw: RawStack) -> RawStack | None:
    others = sorted({*range(len(raw.native))} - {*_holders(raw)})
    return _without(raw, rng.choice(others)) if others else None


def evaluator_dropped(rng: Random, raw: RawStack) -> RawStack | None:
    holders = _holders(raw)
    return _without(raw, rng.choice(holders)) if holders else None


def all_evaluators_dropped(_rng: Random, raw: RawStack) -> RawStack | None:
    holders = set(_holders(raw))
    left = tuple(frame for i, frame in enumerate(raw.native) if i not in holders)
    return raw._replace(native=left) if holders and left else None


def _without(raw: RawStack, i: int) -> RawStack | None:
    left = raw.native[:i] + raw.native[i + 1 :]
    return raw._replace(native=left) if left else None


def evaluator_added(rng: Random, raw: RawStack) -> RawStack | None:
    """A frame that is none, somewhere."""
    if not raw.native:
        return None
    i = rng.randrange(len(raw.native))
    bottom = raw.native[i + 1].cfa if i + 1 < len(raw.native) else raw.stack_pointer or 0
    top = raw.native[i].cfa
    return _with_frame(raw, i, rng.randint(bottom, top - 1)) if bottom < top else None


def evaluator_added_inside(rng: Random, raw: RawStack) -> RawStack | None:
    """A frame that is none, between a marker and the end of its evaluator's frame."""
    holders = _holders(raw)
    if not holders:
        return None
    i = rng.choice(holders)
    cfa = raw.native[i].cfa
    marker = max(s.marker for s in raw.segments if s.marker is not None and s.marker < cfa)
    return _with_frame(raw, i, rng.randint(marker + 1, cfa - 1))


def _with_frame(raw: RawStack, i: int, cfa: int) -> RawStack:
    step = raw.native[i].step
    outer = raw.native[i] if step is Step.RESYNC else raw.native[i]._replace(step=Step.CALLER)
    invented = NativeFrame(_SERIAL, cfa, step if step is Step.LEAF else Step.CALLER)
    return raw._replace(native=(*raw.native[:i], outer, invented, *raw.native[i + 1 :]))


def cfa_shifted(rng: Random, raw: RawStack) -> RawStack | None:
    if not raw.native:
        return None
    i = rng.randrange(len(raw.native))
    frame = raw.native[i]._replace(cfa=raw.native[i].cfa + 8 * rng.choice((-9, -1, 1, 2, 30)))
    return raw._replace(native=(*raw.native[:i], frame, *raw.native[i + 1 :]))


def native_frames_swapped(rng: Random, raw: RawStack) -> RawStack | None:
    if len(raw.native) < 2:
        return None
    i = rng.randrange(len(raw.native) - 1)
    a, b = raw.native[i : i + 2]
    return raw._replace(native=(*raw.native[:i], b, a, *raw.native[i + 2 :]))


def stack_pointer_shifted(rng: Random, raw: RawStack) -> RawStack | None:
    if not raw.stack_pointer:
        return None
    return raw._replace(stack_pointer=raw.stack_pointer + 8 * rng.choice((-40, -1, 1, 40)))


# --- the interpreter's chain ----------------------------------------------------------------------


def marker_duplicated(rng: Random, raw: RawStack) -> RawStack | None:
    """One marker stands where another should."""
    if len(raw.segments) < 2:
        return None
    i, j = rng.sample(range(len(raw.segments)), 2)
    return _with_segment(raw, i, raw.segments[i]._replace(marker=raw.segments[j].marker))


def segment_duplicated(rng: Random, raw: RawStack) -> RawStack | None:
    """A chain that comes by the same marker twice."""
    if not raw.segments:
        return None
    i = rng.randrange(len(raw.segments))
    again = Segment(raw.segments[i].marker, ())
    return raw._replace(segments=(*raw.segments[: i + 1], again, *raw.segments[i + 1 :]))


def marker_shifted(rng: Random, raw: RawStack) -> RawStack | None:
    """By an odd number of bytes: else it might hit another evaluator's own place."""
    if not raw.segments:
        return None
    i = rng.randrange(len(raw.segments))
    marker = (raw.segments[i].marker or 0) + rng.choice((-483, -57, -9, 9, 57, 483))
    return _with_segment(raw, i, raw.segments[i]._replace(marker=marker))


def marker_off_the_stack(rng: Random, raw: RawStack) -> RawStack | None:
    """On the heap, as in a chain that was made up."""
    if not raw.segments:
        return None
    i = rng.randrange(len(raw.segments))
    return _with_segment(
        raw, i, raw.segments[i]._replace(marker=rng.randrange(1 << 20, 1 << 30, 16))
    )


def segments_swapped(rng: Random, raw: RawStack) -> RawStack | None:
    if len(raw.segments) < 2:
        return None
    i = rng.randrange(len(raw.segments) - 1)
    a, b = raw.segments[i : i + 2]
    return raw._replace(segments=(*raw.segments[:i], b, a, *raw.segments[i + 2 :]))


def markers_swapped(rng: Random, raw: RawStack) -> RawStack | None:
    """Each of two segments has the other's marker: on its own, each is in place."""
    if len(raw.segments) < 2:
        return None
    i = rng.randrange(len(raw.segments) - 1)
    a, b = raw.segments[i : i + 2]
    swapped = a._replace(marker=b.marker), b._replace(marker=a.marker)
    return raw._replace(segments=(*raw.segments[:i], *swapped, *raw.segments[i + 2 :]))


def chain_torn(rng: Random, raw: RawStack) -> RawStack | None:
    """It breaks off, perhaps in the middle of a segment, and says so."""
    if not raw.segments:
        return None
    first, *inner = raw.segments[rng.randrange(len(raw.segments)) :]
    if first.frames:
        first = Segment(None, first.frames[rng.randrange(len(first.frames)) :])
    end = rng.choice((ChainEnd.INVALID, ChainEnd.READ_FAULT, ChainEnd.TRUNCATED))
    return raw._replace(segments=(first, *inner), chain_end=end)


def outer_segments_lost(rng: Random, raw: RawStack) -> RawStack | None:
    """It breaks off between two segments, and looks like an end."""
    if not raw.segments:
        return None
    return raw._replace(segments=raw.segments[rng.randint(1, len(raw.segments)) :])


def inner_segments_lost(rng: Random, raw: RawStack) -> RawStack | None:
    """It begins too far out: an old frame pointer was followed."""
    if not raw.segments:
        return None
    return raw._replace(segments=raw.segments[: rng.randrange(len(raw.segments))])


def segment_of_another_thread(rng: Random, raw: RawStack) -> RawStack | None:
    """The chain goes on in a foreign one, whose markers are on another stack."""
    at = (raw.native[0].cfa if raw.native else 1 << 40) + (1 << 23)
    foreign = Segment(at + 8 * rng.randrange(1000), ())
    return raw._replace(segments=(foreign, *raw.segments))


def _with_segment(raw: RawStack, i: int, segment: Segment) -> RawStack:
    return raw._replace(segments=(*raw.segments[:i], segment, *raw.segments[i + 1 :]))


KINDS = [
    Corruption("native frame dropped", native_frame_dropped),
    Corruption("evaluator dropped", evaluator_dropped),
    Corruption("all evaluators dropped", all_evaluators_dropped),
    Corruption("evaluator added", evaluator_added),
    Corruption("evaluator added inside", evaluator_added_inside),
    Corruption("CFA shifted", cfa_shifted),
    Corruption("native frames swapped", native_frames_swapped),
    Corruption("stack pointer shifted", stack_pointer_shifted),
    Corruption("marker duplicated", marker_duplicated, hopeless=True),
    Corruption("segment duplicated", segment_duplicated, hopeless=True),
    Corruption("marker shifted", marker_shifted),
    Corruption("marker off the stack", marker_off_the_stack, hopeless=True),
    Corruption("segments swapped", segments_swapped, hopeless=True),
    Corruption("markers swapped", markers_swapped, hopeless=True),
    Corruption("chain torn", chain_torn, hopeless=True),
    Corruption("outer segments lost", outer_segments_lost),
    Corruption("inner segments lost", inner_segments_lost),
    Corruption("segment of another thread", segment_of_another_thread, hopeless=True),
]


class Tally(NamedTuple):
    """What became of corrupted stacks.

    partial: graded so. right: graded as whole, and every frame that is left is in its own place.
    hidden: graded as whole, and a frame is in another's. alone: the same, in a stack with one
    marker only: nothing else in it tells how far a marker is from its evaluator's end.
    strays: among the partial, those that show a frame in another's place all the same.
    """

    partial: int
    right: int
    hidden: int
    alone: int
    strays: int


def tally(
    kind: Corruption,
    rng: Random,
    stacks: Iterable[RawStack],
    join: Callable[[RawStack], MergedStack],
) -> Tally:
    """Corrupt each stack in this way, and join what comes of it; stacks are sound and labelled."""
    counts: Counter[str] = Counter()
    for truth in stacks:
        corrupted = kind.corrupt(rng, truth)
        if corrupted is None or corrupted == truth:
            continue
        merged = join(corrupted)
        check_conserved(corrupted, merged)
        wrong = bool(misplaced(truth, merged))
        if not claims_all(merged):
            counts["partial"] += 1
            counts["strays"] += wrong
        elif not wrong:
            counts["right"] += 1
        else:
            markers = sum(segment.marker is not None for segment in corrupted.segments)
            counts["hidden" if markers > 1 else "alone"] += 1
    return Tally(*(counts[field] for field in Tally._fields))
