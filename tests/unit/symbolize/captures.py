"""A small capture, written by hand, for the tests of names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from mixstack.jit.model import JitSymbol
from mixstack.model import (
    ChainEnd,
    Code,
    CodeKey,
    Interpreter,
    KernelSymbol,
    Mapping,
    MappingSnapshot,
    Module,
    NativeEnd,
    NativeFrame,
    Process,
    RawStack,
    Sample,
    SourceCall,
    Symbol,
)

PID = 7
LIBPYTHON, LIBC, EXTENSION = 1, 2, 3
CODE = CodeKey(0x5000, 99)


@dataclass
class FakeCapture:
    """What `Namer` and `missing_symbols` take of a capture."""

    modules: dict[int, Module] = field(default_factory=dict)
    processes: dict[int, Process] = field(default_factory=dict)
    mappings: dict[int, tuple[MappingSnapshot, ...]] = field(default_factory=dict)
    codes: dict[tuple[int, CodeKey], Code] = field(default_factory=dict)
    symbols: dict[int, tuple[Symbol, ...]] = field(default_factory=dict)
    kernel_symbols: tuple[KernelSymbol, ...] = ()
    jit_symbols: dict[int, tuple[JitSymbol, ...]] = field(default_factory=dict)
    source_calls: dict[tuple[int, int], tuple[SourceCall, ...]] = field(default_factory=dict)
    families: dict[int, tuple[int, ...]] = field(default_factory=dict)
    recorded: list[Sample] = field(default_factory=list)

    def samples(self) -> Iterator[Sample]:
        return iter(self.recorded)


def sample(*frames: NativeFrame, time_ns: int = 100) -> Sample:
    stack = RawStack((), frames, NativeEnd.ROOT, (), ChainEnd.ROOT, None, False, None)
    return Sample(time_ns, PID, PID, 0, "main", stack)


def capture() -> FakeCapture:
    snapshot = MappingSnapshot(
        PID,
        50,
        (
            Mapping(0x10000, 0x20000, 0x10000, LIBPYTHON, None),
            Mapping(0x30000, 0x40000, 0x30000, LIBC, None),
            Mapping(0x50000, 0x60000, 0x50000, EXTENSION, None),
            Mapping(0x70000, 0x71000, 0x70000, None, "[perf trampoline]"),
            Mapping(0x80000, 0x81000, 0x80000, None, "[anon]"),
        ),
    )
    return FakeCapture(
        modules={
            LIBPYTHON: Module(LIBPYTHON, "/opt/lib/libpython3.12.so.1.0", "aa"),
            LIBC: Module(LIBC, "/lib/libc.so.6", "bb"),
            EXTENSION: Module(EXTENSION, "/opt/lib/ext.so", None),
        },
        processes={PID: Process(PID, ("python",), Interpreter((3, 12, 1), LIBPYTHON, None))},
        mappings={PID: (snapshot,)},
        codes={
            (PID, CODE): Code(
                PID, CODE, "f", "C.f", "app.py", 10, bytes([0x80 | 13 << 3, 2, 0x80 | 15 << 3])
            )
        },
        symbols={
            LIBPYTHON: (
                Symbol(LIBPYTHON, 0x100, 0x200, "_PyEval_EvalFrameDefault"),
                Symbol(LIBPYTHON, 0x200, 0x240, "list_sort"),
                Symbol(LIBPYTHON, 0x240, 0x280, "PyObject_Vectorcall"),
            ),
            EXTENSION: (
                Symbol(EXTENSION, 0x100, 0x140, "_ZN3ext3runEi"),
                Symbol(EXTENSION, 0x140, 0x180, "method_vectorcall"),
            ),
        },
        kernel_symbols=(
            KernelSymbol(0xFFFF0000, 0xFFFF0100, "do_syscall_64", None),
            KernelSymbol(0xFFFF0200, 0xFFFF0300, "nft_do_chain", "nf_tables"),
        ),
    )
