"""What is made of it: joined and named stacks, profiles, and how good they are."""

from __future__ import annotations

import enum
from array import array
from dataclasses import dataclass, field
from typing import NamedTuple

from mixstack.model.raw import NativeEnd, NativeFrame, PythonFrame
from mixstack.model.recorded import Losses


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


class Stop(NamedTuple):
    """Where native walks died, and why.

    place: the path of the file, or what the memory is. reason: None in recordings that do not say.
    went_on: the walk started again further out, by a marker or a frame pointer.
    """

    place: str
    reason: NativeEnd | None
    went_on: bool


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
    stops: dict[Stop, int] = field(default_factory=dict)  # in how many samples
    losses: Losses = field(default_factory=Losses)
    complete: bool = True  # False: the capture was cut off


@dataclass(frozen=True, slots=True)
class Profile:
    """What a capture says, ready for an exporter. `threads` sorted by (pid, tid).

    stacks: each distinct stack once, as numbers of `frames`, outermost first; index 0 is the empty
    stack: time off the CPU.
    thinned_ns: of long time lines equal stacks within such windows became one, in any order; or 0.
    """

    title: str
    exporter: str
    period_ns: int
    frames: tuple[Frame, ...]
    stacks: tuple[tuple[int, ...], ...]
    threads: tuple[ThreadProfile, ...]
    quality: Quality
    thinned_ns: int = 0
