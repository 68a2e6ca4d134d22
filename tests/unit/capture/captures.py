"""Captures that the tests write: everything that goes into one, and a small fixed one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mixstack.bpf.wire import SampleFlag
from mixstack.capture.reader import Capture
from mixstack.capture.writer import CaptureWriter
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
    ThreadName,
)
from tests.encode import encode_sample, encode_with_chain, marker_entry, python_entry

RECORDING = Recording(
    mixstack_version="0.1.0",
    command=("mixstack", "record", "-p", "4242"),
    rate_hz=99,
    event="cpu-clock",
    start_ns=5_000_000_000,
    start_unix_ns=1_763_800_000_000_000_000,
    hostname="machine",
    kernel="6.18.44",
    machine="x86_64",
    cpus=2,
)
FOOTER = Footer(
    end_ns=6_000_000_000,
    samples=3,
    losses=Losses(ring_full=1, code_unreadable=2, tables_missing=3, throttled=4),
    reason="interrupted",
    exit_status=None,
)


@dataclass(frozen=True)
class Contents:
    """What is put into a capture, in this order."""

    recording: Recording = RECORDING
    modules: tuple[Module, ...] = ()
    processes: tuple[Process, ...] = ()
    mappings: tuple[MappingSnapshot, ...] = ()
    codes: tuple[Code, ...] = ()
    symbols: tuple[Symbol, ...] = ()
    kernel_symbols: tuple[KernelSymbol, ...] = ()
    jit_symbols: tuple[JitSymbol, ...] = ()
    source_calls: tuple[SourceCalls, ...] = ()
    thread_names: tuple[ThreadName, ...] = ()
    samples: tuple[Sample, ...] = ()
    records: tuple[bytes, ...] = ()  # of samples, as the probe sends them
    footer: Footer = FOOTER


def write(path: Path, contents: Contents, flush_every: int = 1) -> None:
    """A complete capture, with a flush after that many samples."""
    writer = CaptureWriter(str(path), contents.recording)
    add_all_but_samples(writer, contents)
    records = (*map(encode_sample, contents.samples), *contents.records)
    for number, record in enumerate(records, start=1):
        writer.add_samples(record)
        if number % flush_every == 0:
            writer.flush()
    writer.close(contents.footer)


def add_all_but_samples(writer: CaptureWriter, contents: Contents) -> None:
    writer.add_modules(contents.modules)
    writer.add_processes(contents.processes)
    for snapshot in contents.mappings:
        writer.add_mappings(snapshot)
    writer.add_codes(contents.codes)
    writer.add_symbols(contents.symbols)
    writer.add_kernel_symbols(contents.kernel_symbols)
    writer.add_jit_symbols(contents.jit_symbols)
    writer.add_source_calls(contents.source_calls)
    for name in contents.thread_names:
        writer.add_thread_name(name)


def in_time_order(samples: tuple[Sample, ...]) -> list[Sample]:
    return sorted(samples, key=lambda s: s.time_ns)


def is_part_of(capture: Capture, whole: Capture) -> bool:
    """Whether nothing in `capture` is foreign to `whole`, and its samples are in the same order."""
    remaining = whole.samples()
    return (
        capture.recording == whole.recording
        and capture.modules.items() <= whole.modules.items()
        and capture.processes.items() <= whole.processes.items()
        and capture.codes.items() <= whole.codes.items()
        and all(set(found) <= set(whole.mappings[pid]) for pid, found in capture.mappings.items())
        and all(set(found) <= set(whole.symbols[of]) for of, found in capture.symbols.items())
        and set(capture.kernel_symbols) <= set(whole.kernel_symbols)
        and all(set(of) <= set(whole.jit_symbols[pid]) for pid, of in capture.jit_symbols.items())
        and capture.source_calls.items() <= whole.source_calls.items()
        and capture.thread_names.items() <= whole.thread_names.items()
        and capture.footer in (None, whole.footer)
        and all(sample in remaining for sample in capture.samples())
    )


_KEY = CodeKey(0x7F20_0000_1000, 0xCAFE)
_OUTER = PythonFrame(CodeKey(0x7F20_0000_2000, 0xBEEF), 12)
_EVALUATOR = NativeFrame(0x7F10_0000_5678, 0x7FFD_0000_0400, Step.CALLER)
_ROOT = NativeFrame(0x7F10_0000_1234, 0x7FFD_0000_0800, Step.CALLER)
_MIXED = RawStack(
    kernel=(),
    native=(_ROOT, _EVALUATOR, NativeFrame(0x7F10_0000_9ABC, 0x7FFD_0000_0200, Step.LEAF)),
    native_end=NativeEnd.ROOT,
    segments=(Segment(0x7FFD_0000_0390, (_OUTER, PythonFrame(_KEY, 34))),),
    chain_end=ChainEnd.ROOT,
    stack_pointer=0x7FFD_0000_0180,
    torn=False,
    end_pc=None,
)
_CUT = RawStack(
    kernel=(0xFFFF_FFFF_8100_0010, 0xFFFF_FFFF_8100_0200),
    native=(
        NativeFrame(None, 0x7FFD_0000_0400, Step.RESYNC),
        NativeFrame(0x7F10_0000_7777, 0x7FFD_0000_0300, Step.LEAF),
    ),
    native_end=NativeEnd.NO_RULE,
    segments=(
        Segment(None, (_OUTER,)),
        Segment(0x7FFD_0000_0390, (PythonFrame(_KEY, -6, incomplete=True),)),
        Segment(0x7FFD_0000_0310, ()),
    ),
    chain_end=ChainEnd.INVALID,
    stack_pointer=0x7FFD_0000_0280,
    torn=True,
    end_pc=0x7F66_0000_0001,
)
SMALL = Contents(
    modules=(
        Module(1, "/usr/lib/libpython3.12.so.1.0", "0123456789abcdef"),
        Module(2, "/tmp/odd-\udcff\udcfe.so", None),
    ),
    processes=(
        Process(4242, ("python3", "app.py"), Interpreter((3, 12, 1), 1, (0x1000, 0x9000))),
        Process(4243, ("sleep", "1"), None, "not a Python process"),
    ),
    mappings=(
        MappingSnapshot(
            4242,
            5_000_000_001,
            (
                Mapping(0x7F10_0000_0000, 0x7F10_0001_0000, 0x7F10_0000_0000, 1, None),
                Mapping(0x7FFF_0000_0000, 0x7FFF_0000_2000, 0x7FFF_0000_0000, None, "[vdso]"),
            ),
        ),
        MappingSnapshot(4242, 5_500_000_000, ()),
    ),
    codes=(
        Code(4242, _KEY, "load", "Loader.load", "/srv/app.py", 40, b"\x80\x00\xff\n"),
        Code(4242, _OUTER.code, "<module>", "<module>", "/srv/наш.py", 1, None),
    ),
    symbols=(
        Symbol(1, 0x1000, 0x9000, "_PyEval_EvalFrameDefault"),
        Symbol(1, 0x9000, 0x9100, "_ZN1fEv"),
    ),
    kernel_symbols=(KernelSymbol(0xFFFF_FFFF_8100_0000, 0xFFFF_FFFF_8100_0100, "vfs_read", None),),
    jit_symbols=(
        JitSymbol(
            4242,
            JitSource.DUMP,
            3,
            0x7F30_0000_0000,
            0x7F30_0000_0040,
            "_Z4loopv",
            5_000_000_100,
            5_000_000_100,
            (JitLine(0x7F30_0000_0000, 7, "/srv/loop.js"),),
        ),
    ),
    source_calls=(
        SourceCalls(
            0,
            0x5678,
            (SourceCall("loop", "/src/ceval.c", 12), SourceCall(None, "/src/\udcff.h", None)),
        ),
    ),
    thread_names=(
        ThreadName(4242, 4242, "loader"),
        ThreadName(4242, 4243, "поток"),
        ThreadName(4242, 4242, None),
    ),
    samples=(
        Sample(5_100_000_000, 4242, 4242, 0, "python3", _MIXED),
        Sample(5_300_000_000, 4242, 4250, 1, "worker-\udcff", _CUT),
        Sample(5_200_000_000, 4242, 4242, 0, "python3", _MIXED),
    ),
)


def _record(at: int, chain: Sequence[PythonFrame | int], flags: SampleFlag) -> bytes:
    """A record whose chain is these frames and markers, innermost first."""
    native = tuple(
        NativeFrame(0x7F10_0000_1000 + i, 0x7FFD_0000_0800 - 0x200 * i, step)
        for i, step in enumerate((Step.CALLER, Step.CALLER, Step.LEAF))
    )
    stack = _MIXED._replace(native=native, segments=())
    sample = Sample(5_000_000_000 + at, 4242, 4242, 0, "python3", stack)
    entries = [marker_entry(e) if isinstance(e, int) else python_entry(e) for e in chain]
    return encode_with_chain(sample, entries, flags)


_INNER = PythonFrame(_KEY, -2)
_A, _B, _C = 0x7FFD_0000_0790, 0x7FFD_0000_0590, 0x7FFD_0000_0390
_SETTLED = SampleFlag.PAIRED | SampleFlag.SETTLED
BEFORE_3_11 = Contents(
    processes=(Process(4242, ("python3", "app.py"), Interpreter((3, 10, 13), 1, None)),),
    codes=(
        Code(4242, _KEY, "load", "load", "/srv/app.py", 40, b"\x02\x01", (3, 10, 13)),
        Code(4242, _OUTER.code, "<module>", "<module>", "/srv/app.py", 1, None, (3, 9, 18)),
    ),
    records=(
        _record(1, (_INNER, _OUTER, _B, _A), _SETTLED),
        _record(2, (_INNER, _OUTER, _C, _B, _A), _SETTLED),
        _record(3, (_INNER, _OUTER, _B), _SETTLED),
        _record(4, (_INNER, _OUTER, _C, _B, _A), SampleFlag.PAIRED),
        _record(5, (_INNER, _OUTER, _A), SampleFlag.PAIRED),
        _record(6, (_INNER, _OUTER, _C, _B, _A, 0x7FFD_0000_0990), SampleFlag.PAIRED),
        _record(7, (_INNER, _C, _OUTER, _B, _A), _SETTLED),
        _record(8, (_INNER, _OUTER, _B, 0), _SETTLED | SampleFlag.KERNEL),
        _record(9, (_INNER, _OUTER, 0, 0), _SETTLED | SampleFlag.COUNTED),
    ),
)
"""Every way in which frames and markers are paired."""

_D = 0x7FFD_0000_0190
SEVERAL = Contents(
    samples=(Sample(5_000_000_000, 4242, 4242, 0, "python3", _MIXED._replace(marker_span=112)),),
    records=(
        _record(1, (_INNER, _D, _OUTER, _OUTER, _B, _INNER, _C, _OUTER, _A), SampleFlag.SEVERAL),
        _record(2, (_INNER, _D, _OUTER, _B, _INNER, _C, _OUTER), SampleFlag.SEVERAL),
        _record(3, (_INNER, _OUTER, _D, _B, _OUTER, _INNER, _C, _A), _SETTLED | SampleFlag.SEVERAL),
        _record(4, (_OUTER, _D, _B, _INNER, _C), SampleFlag.PAIRED | SampleFlag.SEVERAL),
    ),
)
"""Two thread states of a thread, which call each other; and a stack of which K is known."""

EVERYTHING = replace(
    SMALL,
    processes=(
        *SMALL.processes,
        Process(4244, ("python3", "worker.py"), SMALL.processes[0].interpreter, None, 4242, 7),
        Process(4244, ("python3", "other.py"), SMALL.processes[0].interpreter, None, 4244, 7),
    ),
    codes=(*SMALL.codes, *BEFORE_3_11.codes),
    samples=(
        *SMALL.samples,
        *SEVERAL.samples,
        Sample(5_400_000_000, 4244, 4244, 1, "worker", _CUT._replace(end_why=NativeEnd.NO_TABLE)),
    ),
    records=SEVERAL.records,
    footer=replace(
        FOOTER, losses=replace(FOOTER.losses, process_unknown=5), exit_status=3, table_bytes=1 << 20
    ),
)
"""Every type of block, and every field of a sample."""
