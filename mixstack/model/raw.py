"""What the probe sees at one moment of one thread."""

from __future__ import annotations

import enum
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
    EXITING = 9  # the thread is ending: its stack is gone, or may be another's by now


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
    end_why: for what cause, where the recording says so.
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
    end_why: NativeEnd | None = None


class Sample(NamedTuple):
    """One moment of one thread. `time_ns`: CLOCK_MONOTONIC. `thread_name`: the kernel's, then."""

    time_ns: int
    pid: int
    tid: int
    cpu: int
    thread_name: str
    stack: RawStack
