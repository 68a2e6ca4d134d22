"""The stack of a sample record (`struct ms_sample` of mixstack.h) → `model.RawStack`; pure.

A record's arrays are kernel addresses, entries of the interpreter's chain and native frames, each
innermost first. Here, once, they are turned round.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import zip_longest
from operator import itemgetter
from typing import Final

from mixstack.bpf.wire import ADDRESS_MASK, TAG_SHIFT, EntryKind, SampleFlag
from mixstack.capture.layout import Malformed
from mixstack.model import (
    ChainEnd,
    CodeKey,
    NativeEnd,
    NativeFrame,
    PythonFrame,
    RawStack,
    Segment,
    Step,
)

STACK_AT: Final = 28
"""From here to a record's end the bytes are a stack and its thread's name; what precedes them
differs from sample to sample."""
COMM: Final = slice(56 - STACK_AT, 72 - STACK_AT)
"""The thread's name, in the bytes from STACK_AT on."""
ENTRY_SIZE: Final = 16  # struct ms_python, struct ms_native

# The counts, both ends, marker span, sp, end_pc.
_STACK: Final = struct.Struct("<HHHBBIQQ")
# The tagged address, the offset, the fingerprint.
_CHAIN_ENTRY: Final = struct.Struct("<QiI")
_ARRAYS_AT: Final = COMM.start  # the name is left out
_TAG_AT: Final = TAG_SHIFT // 8  # of an entry

# Plain integers and tuples: the operators of enums cost more than the rest of a sample.
_TORN = int(SampleFlag.TORN)
_PAIRED = int(SampleFlag.PAIRED)
_SETTLED = int(SampleFlag.SETTLED)
_COUNTED = int(SampleFlag.COUNTED)
_SEVERAL = int(SampleFlag.SEVERAL)
FLAGS: Final = _TORN | _PAIRED | _SETTLED | _COUNTED | _SEVERAL
"""The flags of a record that are its stack's."""
_MARKERS_MAX: Final = 128  # state.bpf.h: MAX_MARKERS
_INCOMPLETE, _MARKER = int(EntryKind.INCOMPLETE), int(EntryKind.MARKER)
_RESYNC = int(Step.RESYNC)
_STEPS: Final = tuple(Step)
_NATIVE_ENDS: Final = tuple(NativeEnd)
_CHAIN_ENDS: Final = tuple(ChainEnd)
_ENTRY_TAGS: Final = bytes(map(int, EntryKind))
_STEP_TAGS: Final = bytes(map(int, Step))

# What the NamedTuples' constructors call, without a call of Python for each.
_native_frame = partial(tuple.__new__, NativeFrame)
_segment = partial(tuple.__new__, Segment)


def check_stack(key: bytes) -> None:
    """Raises Malformed if the bytes of a stack, without the thread's name, are not one."""
    n_kernel, n_chain, n_native, native_end, chain_end, _, _, end_pc = _STACK.unpack_from(key)
    latest = max(native_end, end_pc >> TAG_SHIFT)
    if latest >= len(_NATIVE_ENDS) or chain_end >= len(_CHAIN_ENDS):
        raise Malformed("a sample's walk ended in an unknown way")
    chain_at, native_at, end = _places(n_kernel, n_chain, n_native)
    if _tags(key, chain_at, native_at).translate(None, _ENTRY_TAGS):
        raise Malformed("an entry of the interpreter's chain is of an unknown kind")
    if _tags(key, native_at, end).translate(None, _STEP_TAGS):
        raise Malformed("a native frame was reached in an unknown way")


def _places(n_kernel: int, n_chain: int, n_native: int) -> tuple[int, int, int]:
    """Where the chain's entries begin, where the native frames do, and where they end."""
    chain_at = _ARRAYS_AT + 8 * n_kernel
    native_at = chain_at + ENTRY_SIZE * n_chain
    return chain_at, native_at, native_at + ENTRY_SIZE * n_native


def _tags(key: bytes, begin: int, end: int) -> bytes:
    """The tags of the entries from `begin` to `end`, as they lie."""
    return key[begin + _TAG_AT : end : ENTRY_SIZE]


class StackDecoder:
    """Makes stacks of records that were checked; entries of the chain that are equal are one."""

    def __init__(self) -> None:
        self._chain_entries = _ChainEntries()

    def decode(self, key: bytes) -> RawStack:
        """The stack, of its bytes without the thread's name, and a byte of FLAGS if it has any."""
        n_kernel, n_chain, n_native, native_end, chain_end, span, sp, end_pc = _STACK.unpack_from(
            key
        )
        chain_at, native_at, end = _places(n_kernel, n_chain, n_native)
        flags = key[end] if len(key) > end else 0
        segments = self._chain(key, chain_at, native_at, flags, chain_end == ChainEnd.ROOT)
        unmarked = flags & _SEVERAL and any(segment.marker is None for segment in segments)
        if unmarked and chain_end == ChainEnd.ROOT:
            # In which order these thread states call each other is not known.
            chain_end = ChainEnd.INVALID
        return RawStack(
            struct.unpack_from(f"<{n_kernel}Q", key, _ARRAYS_AT)[::-1],
            _native(key, native_at, n_native),
            _NATIVE_ENDS[native_end],
            segments,
            _CHAIN_ENDS[chain_end],
            sp or None,
            bool(flags & _TORN),
            end_pc & ADDRESS_MASK if end_pc else None,
            bool(flags & _PAIRED and flags & _COUNTED),
            span or None,
            _NATIVE_ENDS[end_pc >> TAG_SHIFT] if end_pc >> TAG_SHIFT else None,
        )

    def _chain(
        self, key: bytes, chain_at: int, native_at: int, flags: int, whole: bool
    ) -> tuple[Segment, ...]:
        """The segments; whole: the chain was walked to its end."""
        tags = _tags(key, chain_at, native_at)[::-1]
        wire_entries = struct.unpack_from(f"{ENTRY_SIZE}s" * len(tags), key, chain_at)
        entries = tuple(map(self._chain_entries.__getitem__, wire_entries[::-1]))
        segments: Iterable[Segment]
        if not flags & _PAIRED:  # the other flags say how frames and markers are paired
            segments = _segments(entries, tags)
        elif flags & _COUNTED:
            segments = (Segment(None, (e,)) for e in entries if not isinstance(e, int))
        else:
            segments = _paired(entries, bool(flags & _SETTLED), whole)
        if flags & _SEVERAL:
            segments = _by_address(segments)
        return tuple(segments)


def _native(key: bytes, at: int, count: int) -> tuple[NativeFrame, ...]:
    tags = _tags(key, at, at + ENTRY_SIZE * count)[::-1]
    words = struct.unpack_from(f"<{2 * count}Q", key, at)
    pcs: Sequence[int | None] = [word & ADDRESS_MASK for word in words[-2::-2]]
    if _RESYNC in tags:  # such a frame has none
        pcs = [None if tag == _RESYNC else pc for tag, pc in zip(tags, pcs, strict=True)]
    steps = map(_STEPS.__getitem__, tags)
    return tuple(map(_native_frame, zip(pcs, words[-1::-2], steps, strict=True)))


def _segments(entries: tuple[PythonFrame | int, ...], tags: bytes) -> list[Segment]:
    """Group frames and markers, outermost first, into segments.

    On the wire a marker follows the frames that it closes; so here it comes before them, and frames
    before the first marker have none.
    """
    begin = tags.find(_MARKER)
    if begin < 0:
        begin = len(tags)
    segments = [Segment(None, entries[:begin])] if begin else []  # type: ignore[arg-type]
    while begin < len(tags):
        end = tags.find(_MARKER, begin + 1)
        if end < 0:
            end = len(tags)
        segments.append(_segment((entries[begin], entries[begin + 1 : end])))
        begin = end
    return segments


def _by_address(segments: Iterable[Segment]) -> list[Segment]:
    """The segments of several thread states, which call each other in any order, outermost first.

    Their markers are addresses on one stack. Where one is unknown, the order stays as it was sent.
    """
    marked = [(segment.marker, segment) for segment in segments]
    known = [(marker, segment) for marker, segment in marked if marker is not None]
    if len(known) == len(marked):
        known.sort(key=itemgetter(0), reverse=True)
        return [segment for _, segment in known]
    return [segment for _, segment in marked]


def _paired(entries: Iterable[PythonFrame | int], settled: bool, whole: bool) -> Iterator[Segment]:
    """Pair each frame with its marker; of each thread state first come its markers, then frames.

    settled: of the newest thread state, the innermost of both belong together. Those of the others
    do: they are inside a call. whole: the outermost thread state's lists are not cut.
    """
    groups: list[tuple[list[int], list[PythonFrame]]] = [([], [])]
    for entry in entries:
        if not isinstance(entry, int):
            groups[-1][1].append(entry)
            continue
        if groups[-1][1]:
            groups.append(([], []))
        groups[-1][0].append(entry)
    *outer, (markers, frames) = groups
    for group in outer:
        yield from _from_the_leaf(*group)
    if settled:
        yield from _from_the_leaf(markers, frames)
    else:
        uncut = (whole or bool(outer)) and len(markers) < _MARKERS_MAX
        yield from _from_the_root(markers, frames, uncut)


def _from_the_leaf(markers: list[int], frames: list[PythonFrame]) -> Iterator[Segment]:
    """The segments of a thread state whose newest marker is its newest frame's.

    At the root a library that switches C stacks may have added a marker, which has no frame here;
    and a limit may have cut either list: outer frames then have no marker.
    """
    excess = len(markers) - len(frames)
    markers = [0] * -excess + markers[max(0, excess) :]
    for marker, frame in zip(markers, frames, strict=True):
        yield Segment(marker or None, (frame,))


def _from_the_root(markers: list[int], frames: list[PythonFrame], whole: bool) -> Iterator[Segment]:
    """The segments of a thread state whose newest evaluator is being entered or left.

    Being entered it has a marker and no frame yet; being left, a frame and no marker any more: that
    frame is left out. Where the lists cannot be read so, no marker is believed.
    """
    if not whole or abs(len(markers) - len(frames)) > 1:
        markers = [0] * len(frames)
    for marker, frame in zip_longest(markers, frames[: len(markers)]):
        yield Segment(marker or None, () if frame is None else (frame,))


class _ChainEntries(dict[bytes, "PythonFrame | int"]):
    """Frames, or markers, by their bytes on the wire (`struct ms_python`); of a checked tag."""

    def __missing__(self, wire_entry: bytes) -> PythonFrame | int:
        tagged, offset, fingerprint = _CHAIN_ENTRY.unpack(wire_entry)
        tag, address = tagged >> TAG_SHIFT, tagged & ADDRESS_MASK
        entry: PythonFrame | int
        if tag == _MARKER:
            entry = address
        else:
            entry = PythonFrame(CodeKey(address, fingerprint), offset, tag == _INCOMPLETE)
        self[wire_entry] = entry
        return entry
