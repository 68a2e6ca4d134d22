"""Sample records as the probe sends them → `model.Sample`; pure, and quick: a million per merge.

A record is `struct ms_sample` of mixstack.h: a head of 72 bytes, then kernel addresses, entries of
the interpreter's chain and native frames, each innermost first. Here, once, they are turned round.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Iterator
from itertools import islice, zip_longest
from operator import itemgetter, le

from mixstack.bpf.wire import ADDRESS_MASK, TAG_SHIFT, EntryKind, Record, SampleFlag
from mixstack.capture.layout import Malformed
from mixstack.columns import SampleColumns
from mixstack.model import (
    ChainEnd,
    CodeKey,
    NativeEnd,
    NativeFrame,
    PythonFrame,
    RawStack,
    Sample,
    Segment,
    Step,
)

HEAD_SIZE = 72
_ENTRY_SIZE = 16  # struct ms_python, struct ms_native
# Record, flags, time, pid | tid << 32, cpu, and the counts of kernel, chain and native entries.
_HEAD = struct.Struct("<IIQQIHHH")
# The counts again, both ends, marker span, sp, end_pc, comm. From offset 28 to the record's end the
# bytes are a stack's identity (with some of the flags); what precedes them differs from sample to
# sample.
_STACK = struct.Struct("<HHHBBIQQ16s")
_STACK_AT = 28
_COMM_AT = 56 - _STACK_AT
_ARRAYS_AT = HEAD_SIZE - _STACK_AT

# Plain integers and tuples: the operators of enums cost more than the rest of a sample.
_SAMPLE = int(Record.SAMPLE)
_TORN = int(SampleFlag.TORN)
_PAIRED = int(SampleFlag.PAIRED)
_SETTLED = int(SampleFlag.SETTLED)
_COUNTED = int(SampleFlag.COUNTED)
_SEVERAL = int(SampleFlag.SEVERAL)
_OF_STACK = _TORN | _PAIRED | _SETTLED | _COUNTED | _SEVERAL
_MARKERS_MAX = 128  # state.bpf.h: MAX_MARKERS
_WHOLE = 1 << 8  # our own: the paired list has all frames and all markers
_FRAME, _INCOMPLETE, _MARKER = (int(kind) for kind in EntryKind)
_STEPS = tuple(Step)
_NATIVE_ENDS = tuple(NativeEnd)
_CHAIN_ENDS = tuple(ChainEnd)

# Records that are recognised at a glance, about 60 MB; others are recognised by their parts.
_GLANCE_MAX = 1 << 17


def record_size(block: memoryview, at: int) -> int:
    """The size of the record at `at`. Raises Malformed if no sample record lies there whole."""
    if len(block) - at < HEAD_SIZE:
        raise Malformed("a sample's head is cut off")
    record, _, _, _, _, kernel, chain, native = _HEAD.unpack_from(block, at)
    size = HEAD_SIZE + 8 * kernel + _ENTRY_SIZE * (chain + native)
    if record != _SAMPLE or len(block) - at < size:
        raise Malformed("a sample is not one, or its frames are cut off")
    return int(size)


class SampleTable:
    """The samples of a capture as columns; equal stacks are one object, and decoded once."""

    def __init__(self) -> None:
        self._times = array("Q")
        self._threads = array("I")
        self._cpus = array("I")
        self._sights = array("I")
        self._thread_ids = _ThreadIds()
        self._seen: list[tuple[str, RawStack]] = []
        self._glance: dict[bytes, int] = {}
        self._ids: dict[tuple[bytes, int], int] = {}
        self._stacks = _Stacks()

    def __len__(self) -> int:
        return len(self._times)

    def add_block(self, raw: bytes) -> None:
        """Take the records of a block; those before a bad one are kept. Raises Malformed."""
        glance, thread_ids, unpack = self._glance, self._thread_ids, _HEAD.unpack_from
        add_time, add_thread = self._times.append, self._threads.append
        add_cpu, add_sight = self._cpus.append, self._sights.append
        at, end = 0, len(raw)
        while at < end:
            if end - at < HEAD_SIZE:
                raise Malformed("a sample's head is cut off")
            record, flags, time_ns, thread, cpu, kernel, chain, native = unpack(raw, at)
            following = at + HEAD_SIZE + 8 * kernel + _ENTRY_SIZE * (chain + native)
            if record != _SAMPLE or following > end:
                raise Malformed("a sample is not one, or its frames are cut off")
            key = raw[at + _STACK_AT : following]
            if flags & _OF_STACK:
                key += bytes((flags & _OF_STACK,))
            found = glance.get(key)
            if found is None:
                found = self._recognise(key)
            add_time(time_ns)
            add_thread(thread_ids[thread])
            add_cpu(cpu)
            add_sight(found)
            at = following

    def columns(self) -> SampleColumns:
        """All samples in order of time; those of the same nanosecond as they lie in the file."""
        order = self._time_order()
        return SampleColumns(
            _reordered(self._times, order),
            _reordered(self._threads, order),
            _reordered(self._sights, order),
            self._thread_ids.pairs,
            self._seen,
        )

    def in_time_order(self) -> Iterator[Sample]:
        """The same, one by one."""
        times_ns, threads, sights, thread_ids, seen = self.columns()
        cpus = _reordered(self._cpus, self._time_order())
        for time_ns, thread, cpu, sight in zip(times_ns, threads, cpus, sights, strict=True):
            yield Sample(time_ns, *thread_ids[thread], cpu, *seen[sight])

    def _time_order(self) -> array[int] | None:
        """The indices of the samples in order of time; None where they lie in it already."""
        times = self._times
        if all(map(le, times, islice(times, 1, None))):
            return None
        return array("I", sorted(range(len(times)), key=times.__getitem__))

    def _recognise(self, key: bytes) -> int:
        """The index of name and stack of a record that was not recognised at a glance."""
        if len(self._glance) >= _GLANCE_MAX:
            self._glance.clear()
        comm = key[_COMM_AT:_ARRAYS_AT]
        stack = self._stacks.get(key)
        # The stack's identity will do: it is alive as long as this table is.
        found = self._ids.setdefault((comm, id(stack)), len(self._seen))
        if found == len(self._seen):
            name = comm.partition(b"\0")[0].decode("utf-8", "surrogateescape")
            self._seen.append((name, stack))
        self._glance[key] = found
        return found


class _ThreadIds(dict[int, int]):
    """Threads by pid | tid << 32, numbered as they come; `pairs` are their (pid, tid)."""

    def __init__(self) -> None:
        self.pairs: list[tuple[int, int]] = []

    def __missing__(self, thread: int) -> int:
        number = self[thread] = len(self.pairs)
        self.pairs.append((thread & 0xFFFFFFFF, thread >> 32))
        return number


def _reordered(column: array[int], order: array[int] | None) -> array[int]:
    if order is None:
        return column
    return array(column.typecode, map(column.__getitem__, order))


class _Stacks:
    """Every distinct stack once. Parts are shared: leaves differ more often than what is below."""

    def __init__(self) -> None:
        self._native: dict[bytes, tuple[NativeFrame, ...]] = {}
        self._segments: dict[tuple[bytes, int], tuple[Segment, ...]] = {}
        self._whole: dict[tuple[bytes, bytes, int, int, int], RawStack] = {}
        self._native_frames = _NativeFrames()
        self._chain_entries = _ChainEntries()

    def get(self, key: bytes) -> RawStack:
        """The stack of a record from `_STACK_AT` on, with a byte of flags if it has any."""
        n_kernel, n_chain, n_native, native_end, chain_end, span, sp, end_pc, _ = (
            _STACK.unpack_from(key)
        )
        chain_at = _ARRAYS_AT + 8 * n_kernel
        native_at = chain_at + _ENTRY_SIZE * n_chain
        end = native_at + _ENTRY_SIZE * n_native
        native = self._native_part(key[native_at:end])
        flags = key[end] if len(key) > end else 0
        if not flags & _PAIRED:
            flags &= _TORN | _SEVERAL  # the others say how frames and markers are paired
        elif chain_end == ChainEnd.ROOT:
            flags |= _WHOLE
        kernel = key[_ARRAYS_AT:chain_at]
        segments = self._chain_part(key[chain_at:native_at], flags & ~_TORN)
        identity = key[:_COMM_AT], kernel, flags, id(native), id(segments)
        stack = self._whole.get(identity)
        if stack is None:
            end_why = end_pc >> TAG_SHIFT
            if max(native_end, end_why) >= len(_NATIVE_ENDS) or chain_end >= len(_CHAIN_ENDS):
                raise Malformed("a sample's walk ended in an unknown way")
            unmarked = any(segment.marker is None for segment in segments)
            if flags & _SEVERAL and unmarked and chain_end == ChainEnd.ROOT:
                # In which order these thread states call each other is not known.
                chain_end = ChainEnd.INVALID
            stack = self._whole[identity] = RawStack(
                kernel=struct.unpack(f"<{n_kernel}Q", kernel)[::-1],
                native=native,
                native_end=_NATIVE_ENDS[native_end],
                segments=segments,
                chain_end=_CHAIN_ENDS[chain_end],
                stack_pointer=sp or None,
                torn=bool(flags & _TORN),
                end_pc=end_pc & ADDRESS_MASK if end_pc else None,
                counted=bool(flags & _COUNTED),
                marker_span=span or None,
                end_why=_NATIVE_ENDS[end_why] if end_why else None,
            )
        return stack

    def _native_part(self, part: bytes) -> tuple[NativeFrame, ...]:
        found = self._native.get(part)
        if found is None:
            found = tuple(map(self._native_frames.__getitem__, _pairs_outermost_first(part)))
            self._native[part] = found
        return found

    def _chain_part(self, part: bytes, flags: int) -> tuple[Segment, ...]:
        found = self._segments.get((part, flags))
        if found is None:
            entries = map(self._chain_entries.__getitem__, _pairs_outermost_first(part))
            segments: Iterable[Segment]
            if flags & _COUNTED:
                segments = (Segment(None, (e,)) for e in entries if not isinstance(e, int))
            elif flags & _PAIRED:
                segments = _paired(entries, bool(flags & _SETTLED), bool(flags & _WHOLE))
            else:
                segments = _segments(entries)
            if flags & _SEVERAL:
                segments = _by_address(segments)
            found = self._segments[part, flags] = tuple(segments)
        return found


def _pairs_outermost_first(part: bytes) -> Iterator[tuple[int, int]]:
    """The 16-byte entries of an array as pairs of u64, turned round."""
    words = struct.unpack(f"<{len(part) // 8}Q", part)
    return zip(words[-2::-2], words[-1::-2], strict=True)


def _segments(entries: Iterator[PythonFrame | int]) -> Iterator[Segment]:
    """Group frames and markers (plain integers), outermost first, into segments.

    On the wire a marker follows the frames that it closes; so here it comes before them, and frames
    before the first marker have none.
    """
    marker: int | None = None
    frames: list[PythonFrame] = []
    for entry in entries:
        if not isinstance(entry, int):
            frames.append(entry)
            continue
        if marker is not None or frames:
            yield Segment(marker, tuple(frames))
            frames = []
        marker = entry
    if marker is not None or frames:
        yield Segment(marker, tuple(frames))


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


def _paired(entries: Iterator[PythonFrame | int], settled: bool, whole: bool) -> Iterator[Segment]:
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


class _NativeFrames(dict[tuple[int, int], NativeFrame]):
    """Native frames by (tagged pc, CFA). Raises Malformed for an unknown tag."""

    def __missing__(self, pair: tuple[int, int]) -> NativeFrame:
        tag = pair[0] >> TAG_SHIFT
        if tag >= len(_STEPS):
            raise Malformed("a native frame was reached in an unknown way")
        step = _STEPS[tag]
        pc = None if step is Step.RESYNC else pair[0] & ADDRESS_MASK
        frame = self[pair] = NativeFrame(pc, pair[1], step)
        return frame


class _ChainEntries(dict[tuple[int, int], "PythonFrame | int"]):
    """Frames, or markers, by (tagged address, fingerprint << 32 | offset). Raises Malformed."""

    def __missing__(self, pair: tuple[int, int]) -> PythonFrame | int:
        tag, address = pair[0] >> TAG_SHIFT, pair[0] & ADDRESS_MASK
        entry: PythonFrame | int
        if tag == _MARKER:
            entry = address
        elif tag in (_FRAME, _INCOMPLETE):
            offset, fingerprint = pair[1] & 0xFFFFFFFF, pair[1] >> 32
            entry = PythonFrame(
                CodeKey(address, fingerprint),
                offset - (1 << 32) if offset >= 1 << 31 else offset,
                tag == _INCOMPLETE,
            )
        else:
            raise Malformed("an entry of the interpreter's chain is of an unknown kind")
        self[pair] = entry
        return entry
