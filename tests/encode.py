"""The way back: `model.Sample` to the bytes that the probe would have sent, for tests."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from mixstack.bpf.wire import TAG_SHIFT, ChainEntry, EntryKind, NativeEntry, SampleFlag, SampleHead
from mixstack.model import NativeFrame, PythonFrame, Sample, Segment


def encode_sample(sample: Sample) -> bytes:
    """One record: `struct ms_sample` and its three arrays, innermost first."""
    stack = sample.stack
    chain = [entry for segment in reversed(stack.segments) for entry in _chain_entries(segment)]
    flags = SampleFlag.TORN if stack.torn else SampleFlag(0)
    if stack.counted:
        # The probe leaves room for markers that it then does not find.
        chain += [marker_entry(0)] * len(chain)
        flags |= SampleFlag.PAIRED | SampleFlag.SETTLED | SampleFlag.COUNTED
    return encode_with_chain(sample, chain, flags)


def encode_with_chain(sample: Sample, chain: Sequence[ChainEntry], flags: SampleFlag) -> bytes:
    """The same with these entries (innermost first) and flags in place of the stack's own."""
    stack = sample.stack
    head = SampleHead(
        record=1,
        flags=flags,
        time_ns=sample.time_ns,
        pid=sample.pid,
        tid=sample.tid,
        cpu=sample.cpu,
        n_kernel=len(stack.kernel),
        n_chain=len(chain),
        n_native=len(stack.native),
        native_end=stack.native_end,
        chain_end=stack.chain_end,
        marker_span=stack.marker_span or 0,
        sp=stack.stack_pointer or 0,
        end_pc=(stack.end_pc or 0) | (stack.end_why or 0) << TAG_SHIFT,
        comm=sample.thread_name.encode("utf-8", "surrogateescape"),
    )
    kernel = struct.pack(f"<{len(stack.kernel)}Q", *reversed(stack.kernel))
    native = (_native_entry(frame) for frame in reversed(stack.native))
    return b"".join((bytes(head), kernel, *map(bytes, chain), *map(bytes, native)))


def _chain_entries(segment: Segment) -> list[ChainEntry]:
    entries = [python_entry(frame) for frame in reversed(segment.frames)]
    if segment.marker is not None:
        entries.append(marker_entry(segment.marker))
    return entries


def marker_entry(marker: int) -> ChainEntry:
    return ChainEntry(address=marker | EntryKind.MARKER << TAG_SHIFT)


def python_entry(frame: PythonFrame) -> ChainEntry:
    kind = EntryKind.INCOMPLETE if frame.incomplete else EntryKind.FRAME
    return ChainEntry(
        address=frame.code.address | kind << TAG_SHIFT,
        offset=frame.offset,
        fingerprint=frame.code.fingerprint,
    )


def _native_entry(frame: NativeFrame) -> NativeEntry:
    return NativeEntry(pc=(frame.pc or 0) | frame.step << TAG_SHIFT, cfa=frame.cfa)
