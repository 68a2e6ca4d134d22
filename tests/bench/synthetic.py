"""Captures of a known shape, written here: what a merge is measured with."""

from __future__ import annotations

import random
import struct
from pathlib import Path
from typing import Final

from mixstack.capture.writer import CaptureWriter
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
    Step,
    Symbol,
)
from tests.encode import encode_sample

DISTINCT: Final = 20_000
_PID: Final = 4242
_CODES: Final = 2000
_FUNCTIONS: Final = 3000
_LIBPYTHON: Final = 0x7F10_0000_0000
_LIBRARY: Final = 0x7F20_0000_0000
_FUNCTION_SIZE: Final = 0x100
_CALLS_PER_FUNCTION: Final = 4
_LINES_PER_CODE: Final = 5
_TIME_AT: Final = 8  # of `time_ns` in struct ms_sample
_THREADS: Final = 8
_EVALUATORS: Final = 3
_BATCH: Final = 1000


def stack(chance: random.Random) -> RawStack:
    """40 frames: three evaluators with six Python frames each, C between and below them."""
    native: list[NativeFrame] = []
    segments: list[Segment] = []
    top = 0x7FFD_0000_0000
    for _ in range(_EVALUATORS):
        for _ in range(6):
            native.append(NativeFrame(_native_pc(chance), top, Step.CALLER))
            top -= 0x60
        native.append(NativeFrame(_LIBPYTHON + 0x44, top, Step.CALLER))
        top -= 0x200
        frames = tuple(_python_frame(chance) for _ in range(6))
        segments.append(Segment(top + 0x40, frames))
    native.append(NativeFrame(_native_pc(chance), top, Step.LEAF))
    return RawStack(
        (), tuple(native), NativeEnd.ROOT, tuple(segments), ChainEnd.ROOT, top - 0x40, False, None
    )


def _native_pc(chance: random.Random) -> int:
    call = chance.randrange(_CALLS_PER_FUNCTION)
    return _LIBRARY + chance.randrange(_FUNCTIONS) * _FUNCTION_SIZE + 0x20 + 0x10 * call


def _python_frame(chance: random.Random) -> PythonFrame:
    number = chance.randrange(_CODES)
    return PythonFrame(_key(number), 2 * chance.randrange(_LINES_PER_CODE))


def _key(number: int) -> CodeKey:
    return CodeKey(0x5500_0000_0000 + number * 0x200, number * 2654435761 % (1 << 32))


def write_capture(path: Path, samples: int, distinct: int = DISTINCT) -> None:
    """A recording at 999 Hz of eight threads; every stack is as likely as every other."""
    chance = random.Random(1)
    records = [
        bytearray(encode_sample(Sample(0, _PID, _PID + i % _THREADS, 0, "worker", stack(chance))))
        for i in range(distinct)
    ]
    recording = Recording(
        "0.1.0", ("python", "app.py"), 999, "cpu-clock", 0, 0, "machine", "6.1", "x86_64", 8
    )
    writer = CaptureWriter(str(path), recording)
    writer.add_modules([Module(0, "/lib/libpython.so", None), Module(1, "/lib/lib.so", None)])
    writer.add_processes(
        [Process(_PID, ("python", "app.py"), Interpreter((3, 12, 1), 0, (0x40, 0x1000)))]
    )
    size = _FUNCTIONS * _FUNCTION_SIZE
    mappings = (
        Mapping(_LIBPYTHON, _LIBPYTHON + 0x1000, _LIBPYTHON, 0, None),
        Mapping(_LIBRARY, _LIBRARY + size, _LIBRARY, 1, None),
    )
    writer.add_mappings(MappingSnapshot(_PID, 0, mappings))
    writer.add_symbols([Symbol(0, 0x40, 0x1000, "_PyEval_EvalFrameDefault")])
    writer.add_symbols(
        Symbol(1, i * _FUNCTION_SIZE, (i + 1) * _FUNCTION_SIZE, f"function_{i}")
        for i in range(_FUNCTIONS)
    )
    writer.add_kernel_symbols([KernelSymbol(1 << 63, (1 << 63) + 1, "entry", None)])
    table = b"\xd8\x01" * _LINES_PER_CODE  # one code unit each, each a line further (PEP 626)
    writer.add_codes(
        Code(_PID, _key(i), f"f{i}", f"Class{i % 97}.f{i}", f"/app/m{i % 211}.py", i, table)
        for i in range(_CODES)
    )
    pack_time = struct.Struct("<Q").pack_into
    step = 1_001_001 // _THREADS
    for start in range(0, samples, _BATCH):
        batch = bytearray()
        for number in range(start, min(start + _BATCH, samples)):
            record = records[chance.randrange(distinct)]
            pack_time(record, _TIME_AT, number * step)
            batch += record
        writer.add_samples(batch)
    writer.close(Footer(samples * step, samples, Losses(), "duration"))
