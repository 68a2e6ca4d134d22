"""What a capture holds besides samples: the world that they refer to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from mixstack.model.raw import CodeKey


@dataclass(frozen=True, slots=True)
class Module:
    """A mapped file (or the vDSO). `path`: as the target sees it. `build_id`: lower-case hex."""

    id: int
    path: str
    build_id: str | None


@dataclass(frozen=True, slots=True)
class Mapping:
    """An executable mapping. `load_bias`: pc - load_bias = the address as the ELF file counts it.

    label: what memory without a file is: "[vdso]", "[anon]", ...; only the vDSO has a module then.
    """

    start: int
    end: int
    load_bias: int
    module_id: int | None
    label: str | None


@dataclass(frozen=True, slots=True)
class MappingSnapshot:
    """A process' executable mappings, sorted by start, as read at `time_ns` (CLOCK_MONOTONIC)."""

    pid: int
    time_ns: int
    mappings: tuple[Mapping, ...]


@dataclass(frozen=True, slots=True)
class Interpreter:
    """The CPython of a process. `version`: (3, 12, 1). `module_id`: the evaluator's file.

    `evaluator`: [start, end) of `_PyEval_EvalFrameDefault` in that file's own addresses, as far as
    its symbol covers it; None without the symbol. Nothing is joined by it.
    """

    version: tuple[int, int, int]
    module_id: int
    evaluator: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Process:
    """A recorded process. `note`: why it has no interpreter, or why its frames may be wrong.

    family: the pid under which its code objects stand. inner_pid: that in its container.
    """

    pid: int
    command: tuple[str, ...]
    interpreter: Interpreter | None
    note: str | None = None
    family: int | None = None
    inner_pid: int | None = None


@dataclass(frozen=True, slots=True)
class ThreadName:
    """What Python calls a thread (`threading.Thread.name`); None: nothing any more."""

    pid: int
    tid: int
    name: str | None


@dataclass(frozen=True, slots=True)
class Code:
    """What a code object says of itself. `linetable`: `co_linetable`; None if not readable.

    version: of the interpreter that made it (a process may exec another); None in captures of 0.1.
    """

    pid: int
    key: CodeKey
    name: str
    qualname: str
    filename: str
    first_line: int
    linetable: bytes | None
    version: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class Symbol:
    """A function of a module: `[start, end)` in the file's own addresses; `name` as in the file.

    `name` (mangled) is None where the unwind table knows the function and no symbol names it.
    """

    module_id: int
    start: int
    end: int
    name: str | None


@dataclass(frozen=True, slots=True)
class KernelSymbol:
    """A kernel function that covers `[start, end)`; `module` is None for the kernel proper."""

    start: int
    end: int
    name: str
    module: str | None


class SourceCall(NamedTuple):
    """A call as the source has it. `function`: as the linker knows it (mangled), or its plain name.

    file, line: where this function is: its current line, or where it calls the next inner one;
    the path is the compiler's.
    """

    function: str | None
    file: str | None
    line: int | None


@dataclass(frozen=True, slots=True)
class SourceCalls:
    """The calls at an address of a module (the file's own), as its debug information has them.

    Outermost first: the first has the stack frame, the others were inlined into it.
    """

    module_id: int
    vaddr: int
    calls: tuple[SourceCall, ...]


@dataclass(frozen=True, slots=True)
class Recording:
    """How and where a capture was made: the self-describing head of the file.

    start_ns: CLOCK_MONOTONIC; start_unix_ns: wall clock of the same moment.
    """

    mixstack_version: str
    command: tuple[str, ...]
    rate_hz: int
    event: str
    start_ns: int
    start_unix_ns: int
    hostname: str
    kernel: str
    machine: str
    cpus: int


@dataclass(frozen=True, slots=True)
class Losses:
    """What was not recorded, counted at its source."""

    ring_full: int = 0  # samples that found no room in the ring buffer
    code_unreadable: int = 0  # code objects whose names could not be read
    tables_missing: int = 0  # modules without an unwind table
    throttled: int = 0  # pauses that the kernel made in the sampling of a CPU
    process_unknown: int = 0  # samples of programs that had just begun: only the leaf is known


@dataclass(frozen=True, slots=True)
class Footer:
    """The last word of a complete recording."""

    end_ns: int
    samples: int
    losses: Losses
    reason: str  # "interrupted", "duration", "target ended"
    exit_status: int | None = None
    table_bytes: int | None = None  # kernel memory of the unwind tables; None in captures of 0.1
