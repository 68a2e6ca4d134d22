"""The names that a program has given to its threads, from the `threading` module in its memory.

`threading._active` leads from pthread_self() to the Thread object. Nothing is stopped, so each name
is believed only if all of this agrees: the object has the same ident as its key; that ident is the
thread pointer of a thread, whose own structure holds the kernel's number of a live thread; the
object has the same number; and after all was read, the object and its name are still where they
were.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final, NamedTuple

from mixstack.target.layouts import Layout, Minor
from mixstack.target.objects import HEAD, MODULE_DICT, OBJECTS, Objects, Slot, read_word
from mixstack.target.text import ReadMemory

_INTERPRETERS_MAX: Final = 256
_THREADS_MAX: Final = 4096
_PTHREAD_TID: Final = 0x2D0  # struct pthread of glibc on x86-64: the kernel's number of the thread
_MAIN: Final = "MainThread"
_DUMMY: Final = re.compile(r"Dummy-\d+")  # of a thread that `threading` did not start


class _Known(NamedTuple):
    """What was read of an entry of `_active`. A tid is one thread's for as long as it lives."""

    tid: int
    name_at: Slot
    name: str


class ThreadNames:
    """Of one program in one process."""

    def __init__(self, read: ReadMemory, interp_head: int, layout: Layout, version: Minor) -> None:
        """interp_head: as in FoundInterpreter."""
        self._read = read
        self._interp_head = interp_head
        self._layout = layout
        row = OBJECTS.get(version)
        self._row = row if layout.object_type == HEAD else None
        self._active: Slot | None = None  # where `threading` has `_active`
        self._without: tuple[int, bytes] | None = None  # of `sys.modules`, searched in vain
        self._known: dict[Slot, _Known] = {}

    def look(self, pid: int, tids: Collection[int]) -> dict[int, str]:
        """The names by thread, as far as they are certain; those that say nothing are left out.

        pid, tids: of the process and its live threads, as it sees them itself.
        """
        if self._row is None:
            return {}
        objects = Objects(self._read, self._layout, self._row)
        if self._active is None or not self._active.holds(self._read):
            self._active = self._find_active(objects)
        if self._active is None:
            return {}
        known: dict[Slot, _Known] = {}
        for slot in objects.items(self._active.value)[:_THREADS_MAX]:
            found = self._known.get(slot)
            if found is None or found.tid not in tids or not found.name_at.holds(self._read):
                found = self._look_at(objects, slot, pid, tids)
            if found is not None:
                known[slot] = found
        self._known = known if self._active.holds(self._read) else {}
        return {
            tid: name
            for tid, _, name in self._known.values()
            if name and not _DUMMY.fullmatch(name) and (tid, name) != (pid, _MAIN)
        }

    def _find_active(self, objects: Objects) -> Slot | None:
        modules = self._modules()
        state = objects.keys_state(modules) if modules else None
        if not modules or state is None or state == self._without:
            return None  # most programs have no threads, and some hundred modules
        found = objects.items(modules)
        (threading,) = objects.find(found, "threading")
        if threading is None:
            self._without = state if found else None
            return None
        variables = read_word(self._read, threading.value + MODULE_DICT)
        (active,) = objects.find(objects.items(variables) if variables else [], "_active")
        return active

    def _modules(self) -> int | None:
        """`sys.modules` of the oldest interpreter, the last one of the list."""
        oldest = 0
        interp = read_word(self._read, self._interp_head)
        for _ in range(_INTERPRETERS_MAX):
            if not interp:
                return read_word(self._read, oldest + self._layout.interp_modules)
            oldest = interp
            interp = read_word(self._read, interp + self._layout.interp_next)
        return None

    def _look_at(
        self, objects: Objects, slot: Slot, pid: int, tids: Collection[int]
    ) -> _Known | None:
        ident = objects.integer(slot.key)
        tid = self._tid(ident)
        if tid is None or tid not in tids:
            return None
        name, its_ident, number = objects.find(
            objects.attributes(slot.value), "_name", "_ident", "_native_id"
        )
        if name is None or its_ident is None or number is None:
            return None
        # A fork makes the thread that called it the main one, and may leave the old number there.
        if objects.integer(its_ident.value) != ident or (
            objects.integer(number.value) != tid and tid != pid
        ):
            return None
        text = objects.text(name.value)
        unchanged = name.holds(self._read) and slot.holds(self._read)
        return _Known(tid, name, text) if text is not None and unchanged else None

    def _tid(self, ident: int | None) -> int | None:
        """The kernel's number of the thread with this pthread_self()."""
        # The x86-64 ABI has a thread's FS base point at a pointer to itself.
        if not ident or read_word(self._read, ident) != ident:
            return None
        tid = read_word(self._read, ident + _PTHREAD_TID)
        return None if tid is None else tid & 0xFFFFFFFF
