"""Hypothesis strategies for the values of `mixstack.model`, as probe and recorder make them.

Stacks are arbitrary, but encodable: what `tests.encode.encode_sample` writes is read back equal.
"""

from __future__ import annotations

import os
from typing import Any

from hypothesis import strategies as st

from mixstack.jit.model import JitLine, JitSource, JitSymbol
from mixstack.model import (
    ChainEnd,
    Code,
    CodeKey,
    Footer,
    Interpreter,
    KernelSymbol,
    Losses,
    Mapping,
    MappingSnapshot,
    Module,
    NativeEnd,
    NativeFrame,
    Process,
    PythonFrame,
    RawStack,
    Recording,
    Sample,
    Segment,
    SourceCall,
    SourceCalls,
    Step,
    Symbol,
)

_U32 = (1 << 32) - 1
_U64 = (1 << 64) - 1

u32 = st.integers(0, _U32)
u64 = st.integers(0, _U64)
user_addresses = st.integers(0, (1 << 56) - 1)
"""What fits beside a tag of the wire: 56 bits."""

words = st.text(max_size=12)
paths = st.one_of(words, st.binary(max_size=12).map(os.fsdecode))
"""Text, and paths that are no Unicode."""

# --- stacks -----------------------------------------------------------------------------------

code_keys = st.builds(CodeKey, address=user_addresses, fingerprint=u32)
python_frames = st.builds(
    PythonFrame,
    code=code_keys,
    offset=st.integers(-(1 << 31), (1 << 31) - 1),
    incomplete=st.booleans(),
)
_frames = st.lists(python_frames, max_size=4).map(tuple)
_marked = st.builds(Segment, marker=user_addresses, frames=_frames)
_unmarked = st.builds(
    Segment, marker=st.none(), frames=st.lists(python_frames, min_size=1, max_size=4).map(tuple)
)


def _with_outermost(outer: Segment | None, inner: list[Segment]) -> tuple[Segment, ...]:
    return (*([] if outer is None else [outer]), *inner)


segment_lists = st.builds(_with_outermost, st.none() | _unmarked, st.lists(_marked, max_size=4))
"""Segments, outermost first; only the outermost may lack a marker, and then it has frames."""


def _native_frame(pc: int, cfa: int, step: Step) -> NativeFrame:
    return NativeFrame(None if step is Step.RESYNC else pc, cfa, step)


native_frames = st.builds(_native_frame, user_addresses, u64, st.sampled_from(Step))


_stops = (
    st.just((None, None))
    | st.tuples(st.integers(1, (1 << 56) - 1), st.none())  # in the first recordings
    | st.tuples(user_addresses, st.sampled_from([end for end in NativeEnd if end]))
)


def _raw_stack(stop: tuple[int | None, NativeEnd | None], **fields: Any) -> RawStack:
    return RawStack(end_pc=stop[0], end_why=stop[1], **fields)


def _raw_stacks(segments: st.SearchStrategy[object], counted: bool) -> st.SearchStrategy[RawStack]:
    return st.builds(
        _raw_stack,
        kernel=st.lists(u64, max_size=4).map(tuple),
        native=st.lists(native_frames, max_size=5).map(tuple),
        native_end=st.sampled_from(NativeEnd),
        segments=segments,
        chain_end=st.sampled_from(ChainEnd),
        stack_pointer=st.none() | st.integers(1, _U64),
        torn=st.booleans(),
        stop=_stops,
        counted=st.just(counted),
        marker_span=st.none() | st.integers(1, _U32),
    )


_to_count = st.builds(Segment, marker=st.none(), frames=st.tuples(python_frames))
raw_stacks = _raw_stacks(segment_lists, False) | _raw_stacks(
    st.lists(_to_count, max_size=4).map(tuple), True
)
thread_names = st.binary(max_size=15).map(
    lambda raw: raw.replace(b"\0", b"").decode("utf-8", "surrogateescape")
)
samples = st.builds(
    Sample, time_ns=u64, pid=u32, tid=u32, cpu=u32, thread_name=thread_names, stack=raw_stacks
)

# --- what the recorder adds -------------------------------------------------------------------

small_ids = st.integers(0, 5)
modules = st.builds(
    Module, id=small_ids, path=paths, build_id=st.none() | st.binary(max_size=20).map(bytes.hex)
)
versions = st.tuples(*[st.integers(0, 99)] * 3)
interpreters = st.builds(
    Interpreter,
    version=versions,
    module_id=small_ids,
    evaluator=st.none() | st.tuples(u64, u64),
)
processes = st.builds(
    Process,
    pid=small_ids,
    command=st.lists(paths, max_size=3).map(tuple),
    interpreter=st.none() | interpreters,
    note=st.none() | words,
)
mappings = st.builds(
    Mapping,
    start=u64,
    end=u64,
    load_bias=st.integers(-_U64, _U64),
    module_id=st.none() | small_ids,
    label=st.none() | words,
)
snapshots = st.builds(
    MappingSnapshot, pid=small_ids, time_ns=u64, mappings=st.lists(mappings, max_size=3).map(tuple)
)
codes = st.builds(
    Code,
    pid=small_ids,
    key=code_keys,
    name=words,
    qualname=words,
    filename=paths,
    first_line=st.integers(-(1 << 31), (1 << 31) - 1),
    linetable=st.none() | st.binary(max_size=30),
    version=st.none() | versions,
)
symbols = st.builds(Symbol, module_id=small_ids, start=u64, end=u64, name=paths)
jit_symbols = st.builds(
    JitSymbol,
    pid=small_ids,
    source=st.sampled_from(JitSource),
    order=u64,
    start=u64,
    end=u64,
    name=st.none() | words,
    after_ns=u64,
    by_ns=u64,
    lines=st.lists(st.builds(JitLine, u64, u32, paths), max_size=3).map(tuple),
)
kernel_symbols = st.builds(KernelSymbol, start=u64, end=u64, name=words, module=st.none() | words)
source_calls = st.builds(
    SourceCalls,
    module_id=small_ids,
    vaddr=u64,
    calls=st.lists(
        st.builds(
            SourceCall, st.none() | words, st.none() | paths, st.none() | st.integers(1, 1 << 31)
        ),
        max_size=3,
    ).map(tuple),
)
recordings = st.builds(
    Recording,
    mixstack_version=words,
    command=st.lists(paths, max_size=3).map(tuple),
    rate_hz=u32,
    event=words,
    start_ns=u64,
    start_unix_ns=u64,
    hostname=words,
    kernel=words,
    machine=words,
    cpus=u32,
)
losses = st.builds(Losses, ring_full=u64, code_unreadable=u64, tables_missing=u64)
footers = st.builds(
    Footer,
    end_ns=u64,
    samples=u64,
    losses=losses,
    reason=words,
    exit_status=st.none() | st.integers(-64, 255),
)
