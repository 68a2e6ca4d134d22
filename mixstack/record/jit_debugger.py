"""What a process' JIT compilers register for debuggers, followed while it changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from mixstack.elf import BadElf, open_elf
from mixstack.elf_names import find_symbols
from mixstack.jit.debugger import (
    DESCRIPTOR,
    Registered,
    is_registered,
    object_code,
    registered,
    state,
)
from mixstack.jit.model import JitSource
from mixstack.record.growing_file import Window
from mixstack.record.jit_entries import JitEntries
from mixstack.target.process import READ_LIMIT, TargetProcess

_OBJECTS_MAX: Final = 1 << 14
_FUNCTIONS_MAX: Final = 1 << 12  # of an object
_AT_ONCE: Final = 1 << 23  # bytes of objects per look
_ORDER_SHIFT: Final = 32
_FRAMES_MAX: Final = 1 << 20  # bytes of an object's .eh_frame
_CODE_MAX: Final = 1 << 24  # bytes from an object's first function to its last


class JitFrames(NamedTuple):
    """Unwind information for the code at `[start, end)`: `.eh_frame` as it lies at `address`."""

    start: int
    end: int
    eh_frame: bytes
    address: int


class _Object(NamedTuple):
    """A registered object: which entries are its functions', and its unwind information."""

    numbers: range
    frames: JitFrames | None


class Debugger:
    """One list of registered objects. `frames` is replaced whenever it changes."""

    def __init__(
        self, process: TargetProcess, descriptor: int, note: Callable[[str], None], number: int
    ) -> None:
        """`number`: which of the process' lists this is: each has orders of its own."""
        self._process = process
        self._descriptor = descriptor
        self._note = note
        self._state: bytes | None = None
        self._looked_ns = 0
        self._order = number << _ORDER_SHIFT
        self._objects: dict[Registered, _Object | None] = {}
        self.entries = JitEntries(process.pid, JitSource.DEBUGGER)
        self.frames: tuple[JitFrames, ...] = ()

    def poll(self, now_ns: int) -> None:
        """Look at the list, if it has changed."""
        window = Window(self._looked_ns, now_ns)
        self._looked_ns = now_ns
        read = self._process.read
        head = state(read, self._descriptor)
        if head is None or head == self._state or self.entries.full:
            return
        found = registered(read, head, _OBJECTS_MAX)
        if found is None or state(read, self._descriptor) != head:
            return  # it changes just now: the next look will do
        gone = self._objects.keys() - set(found)
        for each in gone:
            self._remove(self._objects.pop(each), window)
        new = [each for each in reversed(found) if each not in self._objects]
        size = 0
        for each in new:
            size += each.size
            if size > _AT_ONCE and each is not new[0]:
                break
            self._objects[each] = self._read(each, window)
        else:
            self._state = head
        if gone or new:
            self.frames = tuple(o.frames for o in self._objects.values() if o and o.frames)
        if self.entries.full:
            self._note("it registers more JIT code for debuggers than can be kept")

    def _read(self, each: Registered, window: Window) -> _Object | None:
        """The object's functions as entries; None if it cannot be understood."""
        read = self._process.read
        image = read(each.address, each.size) if each.size <= READ_LIMIT else None
        if image is None or not is_registered(read, each):
            return None
        try:
            code = object_code(image, _FUNCTIONS_MAX)
        except BadElf:
            self._note("some of the JIT code that it registers for debuggers is not understood")
            return None
        first = len(self.entries.index)
        for function in code.functions:
            self._order += 1
            self.entries.add(self._order, *function, window)
        frames = code.eh_frame
        if frames is None and 0 < code.eh_frame_size <= _FRAMES_MAX:
            frames = read(code.eh_frame_at, code.eh_frame_size)
        unwinding = None
        if frames and len(frames) <= _FRAMES_MAX and code.code is not None:
            start, end = code.code
            if end - start <= _CODE_MAX:
                unwinding = JitFrames(start, end, frames, code.eh_frame_at)
        return _Object(range(first, len(self.entries.index)), unwinding)

    def _remove(self, gone: _Object | None, window: Window) -> None:
        """From now on nothing is known of its code."""
        for number in gone.numbers if gone is not None else ():
            start, end = self.entries.index.range(number)
            self._order += 1
            self.entries.add(self._order, start, end - start, b"", window)


def jit_descriptor(path: str | None) -> int | None:
    """Where a file keeps its list of JIT code, the file's own address; None if it keeps none."""
    if path is None:
        return None
    try:
        with open_elf(path) as elf:
            found = find_symbols(elf, [DESCRIPTOR]).get(DESCRIPTOR)
    except (OSError, BadElf):
        return None
    return found.address if found is not None else None
