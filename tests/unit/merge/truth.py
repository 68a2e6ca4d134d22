"""True stacks made at random, what the probe would see of them, and ways to spoil that.

Everything is drawn from a `random.Random`, so that hypothesis and the mutation test share it.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import NamedTuple

from mixstack.model import (
    ChainEnd,
    CodeKey,
    Fit,
    Item,
    KernelItem,
    MarkItem,
    MarkReason,
    MergedStack,
    NativeEnd,
    NativeFrame,
    NativeItem,
    PythonFrame,
    PythonItem,
    RawStack,
    Segment,
    Step,
)

_MARKER_DISTANCES = (80, 144, 160, 176)


class Truth(NamedTuple):
    """A stack as it really is: what the probe sees, and the joined stack, item by item."""

    raw: RawStack
    items: tuple[Item, ...]
    fit: Fit


def true_stack(rng: Random, *, resync: bool = True) -> Truth:
    """A legal stack; no two of its frames are equal."""
    distance = rng.choice(_MARKER_DISTANCES)
    address = rng.randrange(1 << 40, 1 << 41, 16)
    serial = iter(range(1, 1 << 20))
    native: list[NativeFrame] = []
    segments: list[Segment] = []
    items: list[Item] = []
    frames = rng.randint(1, 12)
    for i in range(frames):
        leaf = i == frames - 1
        step = Step.LEAF if leaf else rng.choice((Step.CALLER, Step.CALLER, Step.SIGNAL))
        evaluator = rng.random() < 0.4
        died = evaluator and resync and not leaf and rng.random() < 0.2
        if died:
            frame = NativeFrame(None, address, Step.RESYNC)
        else:
            frame = NativeFrame(next(serial), address, step)
        entering = evaluator and leaf and rng.random() < 0.2
        holds = evaluator and not entering
        native.append(frame)
        items.append(NativeItem(frame, evaluator=holds))
        address -= distance if holds else 0
        if holds:
            python = tuple(_python_frame(rng, next(serial)) for _ in range(rng.randint(0, 4)))
            segments.append(Segment(address, python))
            items += [PythonItem(frame) for frame in python if not frame.incomplete]
        address -= 8 * rng.randint(0 if holds else 1, 40)
        if died:
            address -= 8 * rng.randint(0, 40)  # the frames that nobody saw
            dead = NativeFrame(next(serial), rng.choice((address, 0)), Step.CALLER)
            native.append(dead)
            items += [MarkItem(MarkReason.GAP), NativeItem(dead, evaluator=False)]
    kernel = tuple(next(serial) for _ in range(rng.randint(0, 2)))
    items += [KernelItem(k) for k in kernel]
    raw = RawStack(
        kernel=kernel,
        native=tuple(native),
        native_end=NativeEnd.ROOT,
        segments=tuple(segments),
        chain_end=ChainEnd.ROOT,
        stack_pointer=address,
        torn=bool(segments) and rng.random() < 0.1,
        end_pc=None,
        marker_span=rng.choice((None, distance)),
    )
    return Truth(raw, tuple(items), _true_fit(raw))


def single_stack(rng: Random, *, entering: bool) -> tuple[Truth, set[NativeFrame]]:
    """A legal stack, one frame per evaluator, and these. entering: the leaf is one, without any."""
    truth = true_stack(rng, resync=False)
    markers = iter([segment.marker for segment in truth.raw.segments])
    serial = iter(range(1 << 20, 1 << 21))
    items: list[Item] = []
    evaluators: set[NativeFrame] = set()
    segments: list[Segment] = []
    for item in truth.items:
        if isinstance(item, PythonItem):
            continue
        items.append(item)
        if isinstance(item, NativeItem) and item.evaluator:
            evaluators.add(item.frame)
            frame = _python_frame(rng, next(serial))
            segments.append(Segment(next(markers), (frame,)))
            items += [] if frame.incomplete else [PythonItem(frame)]
    if entering:
        evaluators.add(truth.raw.native[-1])
    raw = truth.raw._replace(segments=tuple(segments), torn=False)
    return Truth(raw, tuple(items), _true_fit(raw)), evaluators


def counted_stack(rng: Random, *, entering: bool) -> tuple[Truth, set[NativeFrame]]:
    """The same without markers."""
    truth, evaluators = single_stack(rng, entering=entering)
    raw = _with_markers(truth.raw, [None] * len(truth.raw.segments))._replace(counted=True)
    return Truth(raw, truth.items, Fit.COUNTED if raw.segments else Fit.NATIVE_ONLY), evaluators


def _python_frame(rng: Random, serial: int) -> PythonFrame:
    return PythonFrame(CodeKey(serial, 0), rng.randint(-2, 400), incomplete=rng.random() < 0.2)


def _true_fit(raw: RawStack) -> Fit:
    if not raw.segments:
        return Fit.NATIVE_ONLY
    resynced = any(frame.step is Step.RESYNC for frame in raw.native)
    return Fit.RESYNCED if resynced else Fit.EXACT


# --- ways to spoil what was seen --------------------------------------------------------------

Spoil = Callable[[Random, RawStack], RawStack]


def outer_frames_lost(rng: Random, raw: RawStack) -> RawStack:
    """The native walk ended before the root."""
    whole = (NativeEnd.ROOT, NativeEnd.EXITING, NativeEnd.NO_USER_REGS)
    end = rng.choice([end for end in NativeEnd if end not in whole])
    lost = rng.randint(0, len(raw.native) - 1)
    return raw._replace(native=raw.native[lost:], native_end=end, end_pc=7)


def native_stack_lost(_rng: Random, raw: RawStack) -> RawStack:
    """There were no user registers."""
    return raw._replace(native=(), native_end=NativeEnd.NO_USER_REGS, stack_pointer=None)


def chain_torn(rng: Random, raw: RawStack) -> RawStack:
    """The chain broke off, perhaps inside a segment, whose marker is unknown then."""
    end = rng.choice((ChainEnd.TRUNCATED, ChainEnd.READ_FAULT, ChainEnd.INVALID))
    kept = raw.segments[rng.randint(0, len(raw.segments)) :]
    if kept and kept[0].frames and rng.random() < 0.7:
        kept = (Segment(None, kept[0].frames[rng.randint(0, len(kept[0].frames) - 1) :]), *kept[1:])
    return raw._replace(segments=kept, chain_end=end)


def markers_shuffled(rng: Random, raw: RawStack) -> RawStack:
    """The markers are right, but not where they belong."""
    markers = [segment.marker for segment in raw.segments]
    rng.shuffle(markers)
    return _with_markers(raw, markers)


def marker_repeated(rng: Random, raw: RawStack) -> RawStack:
    """One marker stands where another should."""
    markers = [segment.marker for segment in raw.segments]
    if markers:
        markers[rng.randrange(len(markers))] = rng.choice(markers)
    return _with_markers(raw, markers)


def marker_moved(rng: Random, raw: RawStack) -> RawStack:
    """One marker is off by an odd number of bytes: else it might hit another frame's own place."""
    markers = [segment.marker for segment in raw.segments]
    if markers:
        i = rng.randrange(len(markers))
        markers[i] = (markers[i] or 0) + rng.randrange(-599, 600, 2)
    return _with_markers(raw, markers)


def _with_markers(raw: RawStack, markers: list[int | None]) -> RawStack:
    pairs = zip(raw.segments, markers, strict=True)
    return raw._replace(segments=tuple(s._replace(marker=marker) for s, marker in pairs))


def markers_lost(rng: Random, raw: RawStack) -> RawStack:
    """Some markers were not found: those of a run of segments, and of any others."""
    markers = [segment.marker for segment in raw.segments]
    first, last = (rng.randint(0, len(markers)) for _ in range(2))
    lost = {*range(first, last), *(j for j in range(len(markers)) if rng.random() < 0.2)}
    return _with_markers(raw, [None if j in lost else m for j, m in enumerate(markers)])


def inner_frame_lost(rng: Random, raw: RawStack) -> RawStack:
    """A native frame is missing, and nothing says so."""
    i = rng.randrange(len(raw.native))
    return raw._replace(native=raw.native[:i] + raw.native[i + 1 :])


def cfa_wrong(rng: Random, raw: RawStack) -> RawStack:
    """One CFA is off by an odd number of bytes, for the same reason."""
    i = rng.randrange(len(raw.native))
    frame = raw.native[i]
    frame = frame._replace(cfa=frame.cfa + rng.randrange(-599, 600, 2))
    return raw._replace(native=(*raw.native[:i], frame, *raw.native[i + 1 :]))


def natives_shuffled(rng: Random, raw: RawStack) -> RawStack:
    """The native frames stand in any order.

    Not where the walk died: that frame's CFA is its own SP, the same as its inner neighbour's CFA.
    """
    native = list(raw.native)
    if any(frame.step is Step.RESYNC for frame in native):
        return raw
    rng.shuffle(native)
    return raw._replace(native=tuple(native))


SPOILERS: tuple[Spoil, ...] = (
    outer_frames_lost,
    native_stack_lost,
    chain_torn,
    markers_shuffled,
    marker_repeated,
    marker_moved,
    markers_lost,
    inner_frame_lost,
    cfa_wrong,
    natives_shuffled,
)


# --- what must hold ---------------------------------------------------------------------------


def check_truth(truth: Truth, merged: MergedStack) -> None:
    """The join of a legal stack is the truth."""
    assert merged.items == truth.items
    assert merged.fit is truth.fit


def check_conserved(raw: RawStack, merged: MergedStack) -> None:
    """Whatever came in: nothing is lost, nothing is doubled, the order is kept."""
    items = merged.items
    assert tuple(i.frame for i in items if isinstance(i, NativeItem)) == raw.native
    complete = [f for segment in raw.segments for f in segment.frames if not f.incomplete]
    assert [i.frame for i in items if isinstance(i, PythonItem)] == complete
    kernel = items[len(items) - len(raw.kernel) :]
    assert tuple(i.address for i in kernel if isinstance(i, KernelItem)) == raw.kernel
    assert sum(isinstance(i, KernelItem) for i in items) == len(raw.kernel)


def check_filled(truth: Truth, spoiled: RawStack, merged: MergedStack) -> None:
    """Markers were lost, all evaluators are known: the join is the truth, and says it counted."""
    assert merged.items == truth.items
    lost = any(segment.marker is None for segment in spoiled.segments)
    assert merged.fit is (Fit.COUNTED if lost else truth.fit)


def check_one_in_each(merged: MergedStack) -> None:
    """Of a stack with one frame in each segment: no native frame holds two of them."""
    held = [native for native in slots(merged.items).values() if native is not None]
    assert len(held) == len(set(held))


def check_not_believed(truth: Truth, spoiled: RawStack, merged: MergedStack) -> None:
    """A spoiled stack that is still graded as whole has no frame in a wrong slot.

    One marker alone cannot show that its native frame is missing or mismeasured, where the probe
    did not know the distance yet; two can.
    """
    claims = (Fit.EXACT, Fit.RESYNCED, Fit.COUNTED)
    one_alone = len(spoiled.segments) == 1 and spoiled.marker_span is None
    if merged.fit in claims and (not one_alone or spoiled.counted):
        true_slots = slots(truth.items)
        assert all(true_slots[code] == native for code, native in slots(merged.items).items())
    if spoiled.native_end is not NativeEnd.ROOT or spoiled.chain_end is not ChainEnd.ROOT:
        assert merged.fit in (Fit.PARTIAL, Fit.PYTHON_ONLY)


def check_cut_keeps_slots(truth: Truth, merged: MergedStack) -> None:
    """What is cut at the outer end only: every frame behind a native frame is behind its own."""
    true_slots = slots(truth.items)
    for code, native in slots(merged.items).items():
        assert native is None or native == true_slots[code]


def slots(items: tuple[Item, ...]) -> dict[CodeKey, tuple[int | None, int] | None]:
    """By code object, pc and CFA of the native frame that it follows; None outside of all.

    Frames in front of the mark for unplaced ones are left out.
    """
    found: dict[CodeKey, tuple[int | None, int] | None] = {}
    slot: tuple[int | None, int] | None = None
    group: list[CodeKey] = []
    for item in items:
        if isinstance(item, NativeItem):
            slot, group = (item.frame.pc, item.frame.cfa), []
        elif isinstance(item, PythonItem):
            found[item.frame.code] = slot
            group.append(item.frame.code)
        elif isinstance(item, MarkItem) and item.reason is MarkReason.UNPLACED:
            for code in group:
                del found[code]
    return found
