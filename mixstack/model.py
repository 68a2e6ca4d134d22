"""The values that pass between the stages; this module imports nothing of ours.

Every stack here is **outermost first** (the thread's root at index 0, the leaf last): the probe's
records are turned round on the way in. Unknown is `None` or an enum member, never `0` or `"?"`.
"""

from __future__ import annotations

import enum
from array import array
from dataclasses import dataclass, field
from typing import NamedTuple


class NativeEnd(enum.IntEnum):
    """Why the native walk stopped, at the outer end; values are `enum ms_native_end`."""

    ROOT = 0  # a frame whose return address is undefined: the thread's root
    TRUNCATED = 1  # the frame limit
    NO_MAPPING = 2  # the address lies in no known executable mapping
    NO_TABLE = 3  # the mapping's file has no unwind table
    NO_RULE = 4  # the table has a gap here, or a rule that the probe cannot follow
    READ_FAULT = 5  # the stack could not be read
    NO_PROGRESS = 6  # the next CFA was not above this one
    NO_USER_REGS = 7  # the user registers could not be recovered
    TAIL_CALLS = 8  # the kernel's limit on tail calls
    EXITING = 9  # the thread is ending and has no user memory any more: there is no stack


class ChainEnd(enum.IntEnum):
    """Why the walk of the interpreter's frames stopped, at the outer end (`enum ms_chain_end`)."""

    ROOT = 0  # the end of the chain
    NOT_PYTHON = 1  # the process runs no interpreter that we know
    NO_THREAD_STATE = 2  # this thread has no Python thread state: a native thread
    TRUNCATED = 3  # the frame limit
    READ_FAULT = 4  # interpreter memory could not be read
    INVALID = 5  # what stood there was no frame (a torn or overwritten chain)
    TAIL_CALLS = 6  # the kernel's limit on tail calls


class Step(enum.IntEnum):
    """How the walk came to a native frame (`enum ms_step`)."""

    LEAF = 0  # the sampled registers: `pc` is the instruction that was running
    CALLER = 1  # by unwind table: `pc` is a return address
    SIGNAL = 2  # interrupted by a signal: `pc` is the instruction that was interrupted
    FRAME_POINTER = 3  # by saved frame pointer where no table had a rule: frames may be missing
    RESYNC = 4  # at a marker, after the walk had died: `pc` is None, the frame is the evaluator


class NativeFrame(NamedTuple):
    """One native frame: its stack range is `[cfa of the next inner frame (or SP), cfa)`.

    `pc` is as the CPU had it: a caller's lies behind the call, so a symbol goes by `lookup_pc`.
    """

    pc: int | None
    cfa: int
    step: Step

    @property
    def lookup_pc(self) -> int | None:
        """The address to look up: inside the call instruction, not behind it."""
        if self.pc is not None and self.step in (Step.CALLER, Step.FRAME_POINTER):
            return self.pc - 1
        return self.pc


class CodeKey(NamedTuple):
    """A code object: its address, and a fingerprint of its header: memory is used again."""

    address: int
    fingerprint: int


class PythonFrame(NamedTuple):
    """One interpreter frame. `offset`: bytes from the start of its bytecode; < 0 before that.

    `incomplete`: the frame has not reached its first traceable instruction (or is the synthetic
    `__init__` frame of a class call); it is dropped by rule when stacks are joined.
    """

    code: CodeKey
    offset: int
    incomplete: bool = False


class Segment(NamedTuple):
    """The Python frames of one evaluator, outermost first, and the marker it left on the C stack.

    `marker` is None where it is not known: for the outermost segment of a chain that broke off
    before its marker, and before 3.10 for frames whose evaluator was not found on the C stack.
    `frames` may be empty: an evaluator that is just returning, or running a finalizer.
    """

    marker: int | None
    frames: tuple[PythonFrame, ...]


class RawStack(NamedTuple):
    """Both stacks of one moment, as the probe took them, before they are joined.

    kernel: kernel addresses; native: user frames; segments: the interpreter's; all outermost first.
    stack_pointer: the user stack pointer at the leaf (None without user registers).
    torn: the newest evaluator's record was half written and was skipped.
    end_pc: where the native walk died last, of any cause, even if it was re-synced; else None.
    counted: each segment is one frame without a marker; they can only be counted (3.8, 3.9).
    marker_span: `CFA - marker` of the interpreter's evaluators, if the probe knew it by then.
    """

    kernel: tuple[int, ...]
    native: tuple[NativeFrame, ...]
    native_end: NativeEnd
    segments: tuple[Segment, ...]
    chain_end: ChainEnd
    stack_pointer: int | None
    torn: bool
    end_pc: int | None
    counted: bool = False
    marker_span: int | None = None


class Sample(NamedTuple):
    """One moment of one thread. `time_ns`: CLOCK_MONOTONIC. `thread_name`: the kernel's, then."""

    time_ns: int
    pid: int
    tid: int
    cpu: int
    thread_name: str
    stack: RawStack


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


class Fit(enum.Enum):
    """How well the two stacks of a sample joined."""

    EXACT = "exact"  # native walk to the root, every marker in its own native frame
    RESYNCED = "re-synced"  # the same, but the native walk had to restart at a marker
    COUNTED = "counted"  # 3.8, 3.9 without known markers: paired by count from the root
    PARTIAL = "partial"  # something could not be placed, or a walk was cut
    PYTHON_ONLY = "python-only"  # there is no native stack
    NATIVE_ONLY = "native-only"  # complete native stack of a thread that runs no Python


class MarkReason(enum.Enum):
    """A visible stand-in for frames that are missing or could not be placed, by its name."""

    TRUNCATED = "[truncated]"  # the outer end was cut by a frame limit
    CUT = "[unwinding stopped]"  # the native walk died before the root
    EXITING = "[exiting]"  # the thread was ending: nothing is missing
    GAP = "[frames missing]"  # native frames between here and the next marker are unknown
    UNPLACED = "[unplaced Python frames]"  # the segment above found no native frame
    CHAIN_CUT = "[Python stack cut]"  # the interpreter's chain could not be read to its end


class KernelItem(NamedTuple):
    """A kernel frame of a joined stack."""

    address: int


class NativeItem(NamedTuple):
    """A native frame of a joined stack; `evaluator`: it holds a marker: it is the bytecode loop."""

    frame: NativeFrame
    evaluator: bool


class PythonItem(NamedTuple):
    """A Python frame of a joined stack."""

    frame: PythonFrame


class MarkItem(NamedTuple):
    """A stand-in for what is missing. `pc`: where the native walk stopped, if it did."""

    reason: MarkReason
    pc: int | None = None


Item = KernelItem | NativeItem | PythonItem | MarkItem


class MergedStack(NamedTuple):
    """One joined stack, outermost first, before names."""

    items: tuple[Item, ...]
    fit: Fit
    native_truncated: bool
    python_truncated: bool


class FrameKind(enum.Enum):
    PYTHON = "python"
    NATIVE = "native"
    KERNEL = "kernel"
    MARK = "mark"


class Frame(NamedTuple):
    """A named call, as it is shown.

    name: qualname, demangled symbol, `module+0xoffset`, or a mark. file: the source file; of a
    native frame without a line its module's path, of a kernel frame "[kernel]" or its module's
    name. plumbing: the interpreter's own machinery, hidden unless asked for. resolved: False where
    only `module+0xoffset` or an address could be given. inlined: into the frame before.
    """

    kind: FrameKind
    name: str
    file: str | None = None
    line: int | None = None
    plumbing: bool = False
    resolved: bool = True
    inlined: bool = False


@dataclass(frozen=True, slots=True)
class ThreadProfile:
    """The time line of one thread: the stack `stack_ids[i]` of the profile for `durations_ns[i]`.

    In order of time; durations add up to `end_ns - start_ns`; consecutive ids differ.
    """

    pid: int
    tid: int
    name: str
    start_ns: int
    end_ns: int
    stack_ids: array[int]  # array("I"), array("Q"): a million objects would take too much
    durations_ns: array[int]


@dataclass(frozen=True, slots=True)
class Quality:
    """How far the numbers can be trusted; shown with every output."""

    samples: int = 0
    fits: dict[Fit, int] = field(default_factory=dict)
    native_truncated: int = 0
    python_truncated: int = 0
    unresolved_frames: int = 0  # native frames without a symbol
    unresolved_distinct: int = 0  # how many different ones these are
    unnamed_codes: int = 0  # Python frames whose code object could not be read
    stops: dict[tuple[str, NativeEnd | None], int] = field(default_factory=dict)  # merge.quality
    losses: Losses = field(default_factory=Losses)
    complete: bool = True  # False: the capture was cut off


@dataclass(frozen=True, slots=True)
class Profile:
    """What a capture says, ready for an exporter. `threads` sorted by (pid, tid).

    stacks: each distinct stack once, outermost first; index 0 is the empty stack: time off the CPU.
    thinned_ns: of long time lines equal stacks within such windows became one, in any order; or 0.
    """

    title: str
    exporter: str
    period_ns: int
    stacks: tuple[tuple[Frame, ...], ...]  # each once, outermost first; 0: empty, off the CPU
    threads: tuple[ThreadProfile, ...]
    quality: Quality
    thinned_ns: int = 0
