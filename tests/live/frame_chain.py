"""The interpreter's frames of a stopped thread, walked by the letter of CPython's own headers.

A second opinion on the probe's walk. It imports nothing of ours: it runs inside gdb.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

Read = Callable[[int, int], bytes]
Offsets = dict[str, int]

FRAMES_MAX = 2000
_BY_GENERATOR = 1  # enum _frameowner
_SHIM = 3  # FRAME_OWNED_BY_CSTACK (3.12, 3.13), FRAME_OWNED_BY_INTERPRETER (3.14, 3.15)
_TAGS = 7  # a _PyStackRef keeps them in the low bits of an aligned pointer


class Broken(Exception):
    """What lies there is no whole chain: the thread was stopped while it changed it."""


class Python(NamedTuple):
    """offset: bytes from the first instruction."""

    code: int
    offset: int
    incomplete: bool


class Run(NamedTuple):
    """What one C evaluation runs, outermost first. marker: None where the version leaves none."""

    marker: int | None
    frames: tuple[Python, ...]


class Memory:
    """Words of the target. `read` raises what gdb raises; here that is Broken."""

    def __init__(self, read: Read) -> None:
        self._read = read

    def bytes(self, address: int, size: int) -> bytes:
        try:
            return self._read(address, size)
        except Exception as e:  # gdb.MemoryError, which cannot be named outside of gdb
            raise Broken(f"unreadable: {address:#x}") from e

    def u64(self, address: int) -> int:
        return int.from_bytes(self.bytes(address, 8), "little")

    def s32(self, address: int) -> int:
        return int.from_bytes(self.bytes(address, 4), "little", signed=True)

    def s8(self, address: int) -> int:
        return int.from_bytes(self.bytes(address, 1), "little", signed=True)


def thread_states(memory: Memory, runtime: int, at: Offsets, thread_id: int) -> list[int]:
    """All thread states, of all interpreters, that belong to this thread (its FS base)."""
    found = []
    interpreter = memory.u64(runtime + at["runtime.interpreters"])
    while interpreter:
        state = memory.u64(interpreter + at["interp.threads"])
        while state:
            if memory.u64(state + at["tstate.thread_id"]) == thread_id:
                found.append(state)
            state = memory.u64(state + at["tstate.next"])
        interpreter = memory.u64(interpreter + at["interp.next"])
    return found


def walk(
    memory: Memory, state: int, at: Offsets, version: tuple[int, int], code_type: int
) -> list[Run]:
    """The runs of a thread state, outermost first. Raises Broken."""
    chain = _Chain(memory, at, version, code_type)
    if version < (3, 11):
        runs = chain.of_frame_objects(state)
    elif version == (3, 11):
        runs = chain.of_records(state)
    elif version == (3, 12):
        runs = chain.by_records_and_shims(state)
    else:
        base = memory.u64(state + at["tstate.base_frame"]) if "tstate.base_frame" in at else 0
        runs = chain.by_shims(memory.u64(state + at["tstate.frame"]), base)
    return runs[::-1]


def argument(
    memory: Memory, registers: tuple[int, int], at: Offsets, version: tuple[int, int]
) -> int:
    """The code object that the evaluator is called with; registers: rdi and rsi at its entry."""
    frame = registers[0] if tuple(version) == (3, 8) else registers[1]
    return memory.u64(frame + at["frame.code"]) & ~_TAGS


def names(memory: Memory, code: int, at: Offsets) -> tuple[str, str]:
    """Of a code object: the qualified name (before 3.11 the plain one), and the file."""
    name = at.get("code.qualname", at["code.name"])
    return _text(memory, code + name, at), _text(memory, code + at["code.filename"], at)


def _text(memory: Memory, pointer: int, at: Offsets) -> str:
    string = memory.u64(pointer)
    length = memory.u64(string + 16)
    if length > 4096:
        raise Broken("no name has this length")
    return memory.bytes(string + at["str.data"], length).decode("ascii", "replace")


class _Chain:
    """Every walk is innermost first."""

    def __init__(
        self, memory: Memory, at: Offsets, version: tuple[int, int], code_type: int
    ) -> None:
        self._memory = memory
        self._at = at
        self._version = version
        self._code_type = code_type
        self._left = FRAMES_MAX

    def of_frame_objects(self, state: int) -> list[Run]:
        """3.8 to 3.10: one PyFrameObject for each evaluation; in 3.10 one CFrame as well.

        That is linked before the frame and unlinked before it.
        """
        at, memory = self._at, self._memory
        frames = []
        frame = memory.u64(state + at["tstate.frame"])
        while frame:
            code = self._code(frame)
            offset = memory.s32(frame + at["frame.instr"])
            if self._version == (3, 10):
                offset *= 2  # f_lasti counts code units
                running = True
            else:
                running = memory.s8(frame + at["frame.executing"]) != 0
            if running:
                frames.append(Python(code, offset, False))
            frame = memory.u64(frame + at["frame.previous"])
        if self._version != (3, 10):
            return [Run(None, (frame,)) for frame in frames]
        markers = list(self._records(state))
        entering = len(markers) == len(frames) + 1
        runs = [Run(markers.pop(0), ())] if entering else []
        if len(frames) == len(markers) + 1:
            del frames[0]  # it is being left
        if len(markers) != len(frames):
            raise Broken(f"{len(frames)} frames and {len(markers)} markers")
        return runs + [Run(marker, (frame,)) for marker, frame in zip(markers, frames, strict=True)]

    def of_records(self, state: int) -> list[Run]:
        """3.11: each _PyCFrame names the newest frame of its evaluation."""
        at, memory = self._at, self._memory
        runs = []
        expected = None
        for record in self._records(state):
            frame = memory.u64(record + at["cframe.frame"])
            if expected is not None and frame != expected:
                raise Broken("an evaluation does not begin where the one inside of it ended")
            frames = []
            entry = False
            while not entry:
                if not frame:
                    raise Broken("no entry frame")
                frames.append(self._interpreter_frame(frame))
                entry = memory.s8(frame + at["frame.is_entry"]) != 0
                frame = memory.u64(frame + at["frame.previous"])
            expected = frame
            runs.append(Run(record, tuple(frames[::-1])))
        return runs

    def by_records_and_shims(self, state: int) -> list[Run]:
        """3.12: as from 3.13 on, and each _PyCFrame names the newest frame of its evaluation."""
        at, memory = self._at, self._memory
        newest = [memory.u64(record + at["cframe.frame"]) for record in self._records(state)]
        if not newest:
            return []
        runs = self.by_shims(newest[0], 0)
        outer = [memory.u64((run.marker or 0) + at["frame.previous"]) for run in runs]
        if outer != [*newest[1:], 0]:
            raise Broken("an evaluation does not begin where the one inside of it ended")
        return runs

    def by_shims(self, frame: int, base: int) -> list[Run]:
        """From 3.12 on: the frames of an evaluation end at a shim, which lies on the C stack."""
        at, memory = self._at, self._memory
        runs = []
        frames: list[Python] = []
        while frame and frame != base:
            if memory.s8(frame + at["frame.owner"]) >= _SHIM:
                runs.append(Run(frame, tuple(frames[::-1])))
                frames = []
                self._spend()
            else:
                frames.append(self._interpreter_frame(frame))
            frame = memory.u64(frame + at["frame.previous"])
        if frames:
            raise Broken("the chain does not end at a shim")
        return runs

    def _records(self, state: int) -> list[int]:
        at, memory = self._at, self._memory
        found = []
        record = memory.u64(state + at["tstate.cframe"])
        while record != state + at["tstate.root_cframe"]:
            self._spend()
            found.append(record)
            record = memory.u64(record + at["cframe.previous"])
        return found

    def _interpreter_frame(self, frame: int) -> Python:
        at, memory = self._at, self._memory
        code = self._code(frame)
        offset = memory.u64(frame + at["frame.instr"]) - (code + at["code.adaptive"])
        owner = memory.s8(frame + at["frame.owner"])
        first = 2 * memory.s32(code + at["code.first_traceable"])
        return Python(code, offset, owner != _BY_GENERATOR and offset < first)

    def _code(self, frame: int) -> int:
        self._spend()
        code = self._memory.u64(frame + self._at["frame.code"]) & ~_TAGS
        if self._memory.u64(code + 8) != self._code_type:
            raise Broken("a frame without a code object")
        return code

    def _spend(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Broken("a cycle")
