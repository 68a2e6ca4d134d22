"""Sample records as the probe sends them → `model.Sample`; pure, and quick: a million per merge.

A record is `struct ms_sample` of mixstack.h: a head of 72 bytes, then kernel addresses, entries of
the interpreter's chain and native frames, each innermost first. Here, once, they are turned round.
"""

from __future__ import annotations

import struct
from array import array
from typing import NamedTuple

from mixstack.bpf.wire import ADDRESS_MASK, TAG_SHIFT, EntryKind, Record, SampleFlag
from mixstack.capture.layout import Malformed
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
# Where record, time, the three counts and the two ends stand in the head.
_INDEXED = struct.Struct("<I4xQ12xHHHBB")
# Flags, time, pid, tid, cpu: from offset 4 on.
_MOMENT = struct.Struct("<IQIII")
_MOMENT_AT = 4
# Counts, ends, sp, end_pc, comm: from offset 28 on. What follows in the record is the arrays, so
# these bytes to the record's end are a stack's identity (with the torn flag) and its cache key.
_STACK = struct.Struct("<HHHBB4xQQ16s")
_STACK_AT = 28
_ARRAYS_IN_STACK = HEAD_SIZE - _STACK_AT

# Plain integers and tuples: the operators of enums cost more than the rest of a sample.
_SAMPLE = int(Record.SAMPLE)
_TORN = int(SampleFlag.TORN)
_MARKER = int(EntryKind.MARKER)
_INCOMPLETE = int(EntryKind.INCOMPLETE)
_STEPS = tuple(Step)
_CHAIN_TAGS = bytes(list(EntryKind))
_NATIVE_TAGS = bytes(list(Step))
_NATIVE_ENDS = tuple(NativeEnd)
_CHAIN_ENDS = tuple(ChainEnd)

# How many different stacks are kept for reuse: about 100 MB. A recording repeats its stacks within
# seconds; one that does not gains nothing from a larger cache.
_CACHE_MAX = 1 << 16


class SampleIndex(NamedTuple):
    """Where the records of a block begin, in the order in which they lie there.

    offsets: one per record, and the end of the last; times: `time_ns` of each.
    problem: what is wrong with the bytes behind the last record that could be read, or None.
    """

    offsets: array[int]
    times: array[int]
    problem: str | None


def record_size(block: bytes | bytearray | memoryview, at: int) -> int:
    """The size of the record at `at`. Raises Malformed if no sample record lies there whole."""
    return _check_record(block, at)[0]


def index_samples(raw: bytes) -> SampleIndex:
    """Check every length and tag of a block's records, so that `StackDecoder` need not."""
    offsets, times = array("I", [0]), array("Q")
    at, end = 0, len(raw)
    while at < end:
        try:
            size, time_ns, chain_at, native_at = _check_record(raw, at)
        except Malformed as e:
            return SampleIndex(offsets, times, str(e))
        # The tags are the top bytes of every other word.
        chain_tags = raw[chain_at + 7 : native_at : _ENTRY_SIZE]
        native_tags = raw[native_at + 7 : at + size : _ENTRY_SIZE]
        if chain_tags.strip(_CHAIN_TAGS) or native_tags.strip(_NATIVE_TAGS):
            return SampleIndex(offsets, times, "a sample has a frame of an unknown kind")
        at += size
        offsets.append(at)
        times.append(time_ns)
    return SampleIndex(offsets, times, None)


def _check_record(block: bytes | bytearray | memoryview, at: int) -> tuple[int, int, int, int]:
    """Size, time, start of the chain, start of the native frames."""
    if len(block) - at < HEAD_SIZE:
        raise Malformed("a sample's head is cut off")
    record, time_ns, kernel, chain, native, native_end, chain_end = _INDEXED.unpack_from(block, at)
    if record != _SAMPLE or native_end >= len(_NATIVE_ENDS) or chain_end >= len(_CHAIN_ENDS):
        raise Malformed("a sample's head is not one")
    chain_at = at + HEAD_SIZE + 8 * kernel
    native_at = chain_at + _ENTRY_SIZE * chain
    size = native_at + _ENTRY_SIZE * native - at
    if len(block) - at < size:
        raise Malformed("a sample's frames are cut off")
    return size, time_ns, chain_at, native_at


class StackDecoder:
    """Decodes records that `index_samples` has checked; equal stacks come out as one object.

    That identity is kept for speed, within the last `_CACHE_MAX` different stacks.
    """

    def __init__(self) -> None:
        # By the torn flag, which stands in the head before what differs from sample to sample.
        self._stacks: tuple[dict[bytes, tuple[str, RawStack]], ...] = ({}, {})
        self._native: dict[tuple[int, int], NativeFrame] = {}
        self._python: dict[tuple[int, int], PythonFrame] = {}

    def sample(self, raw: bytes, start: int, end: int) -> Sample:
        """The sample whose record is `raw[start:end]`."""
        flags, time_ns, pid, tid, cpu = _MOMENT.unpack_from(raw, start + _MOMENT_AT)
        key = raw[start + _STACK_AT : end]
        stacks = self._stacks[flags & _TORN]
        found = stacks.get(key)
        if found is None:
            if len(stacks) >= _CACHE_MAX:
                self._forget()
            found = stacks[key] = self._decode(key, bool(flags & _TORN))
        name, stack = found
        return Sample(time_ns, pid, tid, cpu, name, stack)

    def _forget(self) -> None:
        for stacks in self._stacks:
            stacks.clear()
        self._native.clear()
        self._python.clear()

    def _decode(self, key: bytes, torn: bool) -> tuple[str, RawStack]:
        n_kernel, n_chain, n_native, native_end, chain_end, sp, end_pc, comm = _STACK.unpack_from(
            key
        )
        chain_end_at = n_kernel + 2 * n_chain
        words = struct.unpack_from(f"<{chain_end_at + 2 * n_native}Q", key, _ARRAYS_IN_STACK)
        stack = RawStack(
            kernel=words[n_kernel - 1 :: -1] if n_kernel else (),
            native=self._native_frames(words[chain_end_at:]),
            native_end=_NATIVE_ENDS[native_end],
            segments=self._segments(words[n_kernel:chain_end_at]),
            chain_end=_CHAIN_ENDS[chain_end],
            stack_pointer=sp or None,
            torn=torn,
            end_pc=end_pc or None,
        )
        return comm.partition(b"\0")[0].decode("utf-8", "surrogateescape"), stack

    def _native_frames(self, words: tuple[int, ...]) -> tuple[NativeFrame, ...]:
        """Pairs of (tagged pc, CFA), innermost first, to frames, outermost first."""
        known = self._native
        frames = []
        for pair in zip(words[-2::-2], words[-1::-2], strict=True):
            frame = known.get(pair)
            if frame is None:
                step = _STEPS[pair[0] >> TAG_SHIFT]
                pc = None if step is Step.RESYNC else pair[0] & ADDRESS_MASK
                frame = known[pair] = NativeFrame(pc, pair[1], step)
            frames.append(frame)
        return tuple(frames)

    def _segments(self, words: tuple[int, ...]) -> tuple[Segment, ...]:
        """Pairs of (tagged address, offset and fingerprint), innermost first, to segments.

        A marker closes the segment of the frames before it (inside of it); so outermost first it
        comes before its frames, and frames before the first marker have none.
        """
        segments = []
        marker: int | None = None
        frames: list[PythonFrame] = []
        for pair in zip(words[-2::-2], words[-1::-2], strict=True):
            if pair[0] >> TAG_SHIFT != _MARKER:
                frames.append(self._python_frame(pair))
                continue
            if marker is not None or frames:
                segments.append(Segment(marker, tuple(frames)))
                frames = []
            marker = pair[0] & ADDRESS_MASK
        if marker is not None or frames:
            segments.append(Segment(marker, tuple(frames)))
        return tuple(segments)

    def _python_frame(self, pair: tuple[int, int]) -> PythonFrame:
        frame = self._python.get(pair)
        if frame is None:
            address, rest = pair
            offset = rest & 0xFFFFFFFF
            frame = self._python[pair] = PythonFrame(
                CodeKey(address & ADDRESS_MASK, rest >> 32),
                offset - (1 << 32) if offset >= 1 << 31 else offset,
                address >> TAG_SHIFT == _INCOMPLETE,
            )
        return frame
