"""`JitFollower`: the JIT code of one program, its names and its unwind tables."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable
from typing import Final

from mixstack.jit.model import JitSymbol
from mixstack.model import Mapping
from mixstack.record.jit import JitBook
from mixstack.record.jit_debugger import JitFrames, jit_descriptor
from mixstack.record.jit_tables import JitTables
from mixstack.record.shared import Shared
from mixstack.target.maps import MapLine
from mixstack.target.process import TargetProcess

_SEARCH_S: Final = 0.05
VSYSCALL: Final = "[vsyscall]"


class JitFollower:
    """Keeps a `JitBook` from the first look on, and the tables that it leads to; `close` it.

    Of one process and one program: an exec makes all of it void.
    """

    def __init__(self, process: TargetProcess, shared: Shared) -> None:
        self._process = process
        self._shared = shared
        self._book: JitBook | None = None
        self._frames: tuple[JitFrames, ...] = ()
        self._asked: set[int] = set()  # modules: whether they hold a list of JIT code
        self._descriptors: set[int] = set()  # where those lists are
        self._mappings: tuple[Mapping, ...] = ()
        self.lively = False  # whether there is memory that may hold JIT code
        self.tables = JitTables(shared.describer.jit_room)

    def forked(self, process: TargetProcess) -> JitFollower:
        """Of a child: the lists in its memory are copies, and so is their code."""
        child = JitFollower(process, self._shared)
        child._frames = self._frames
        child._asked, child._descriptors = set(self._asked), set(self._descriptors)
        child.tables = self.tables.copy()
        return child

    def look(self, mappings: tuple[Mapping, ...], *, at_once: bool = False) -> bool:
        """Read what compilers say of their code; whether there are other unwind tables for it.

        Where all executable memory is that of files there is none. at_once: look in any case.
        """
        if mappings is not self._mappings:
            self._mappings = mappings
            self.lively = any(m.module_id is None and m.label != VSYSCALL for m in mappings)
        first = self._book is None
        book = self._opened()
        if not (self.lively or first or at_once):
            return False
        book.look(at_once=at_once)
        if book.wants_descriptors:
            self._look_for_descriptors(book, mappings)
        changed = self.tables.forget_changed(self._process.read)
        if self._frames != book.frames:
            self._frames = book.frames
            self.tables.update(self._frames)
            changed = True
        return changed

    def look_for_dumps(self, lines: Iterable[MapLine]) -> None:
        """Follow the jitdump files among the executable mappings: so their writers show them."""
        self._opened().look_for_dumps(lines)

    def add_place(self, address: int, within: tuple[int, int]) -> bool:
        """Find rules for code in which a walk died, in a mapping; whether there are new ones.

        Those of a jitdump file are taken where they are needed only: such a file names all code
        that there is, and each rule takes a mapping of the probe.
        """
        read = self._process.read
        dumped = self._opened().dumped_at(address, within)
        if dumped is not None and self.tables.add_dumped(*dumped, read):
            return True
        return self.tables.add_place(address, within, read)

    def new_symbols(self, addresses: Iterable[int], *, last: bool = False) -> list[JitSymbol]:
        """What was learned of these addresses (in no module), and since then of earlier ones.

        last: the program makes no more code: read all that there is.
        """
        homeless = list(addresses)
        if self._book is None and not homeless:
            return []  # nothing of it was ever met
        return self._opened().new_symbols(homeless, last=last)

    def close(self) -> None:
        """Let go of its files."""
        if self._book is not None:
            self._book.close()
            self._book = None

    def _opened(self) -> JitBook:
        if self._book is None:
            note = functools.partial(self._shared.listener.note, self._process.pid)
            self._book = JitBook(self._process, note)
            for descriptor in self._descriptors:
                self._book.add_descriptor(descriptor)
        return self._book

    def _look_for_descriptors(self, book: JitBook, mappings: tuple[Mapping, ...]) -> None:
        """Which modules keep a list of JIT code; for a moment only, as the samples wait."""
        end = time.monotonic() + _SEARCH_S
        for mapping in mappings:
            if mapping.module_id is None or mapping.module_id in self._asked:
                continue
            self._asked.add(mapping.module_id)
            at = self._descriptor_in(mapping.module_id)
            if at is not None:
                self._descriptors.add(mapping.load_bias + at)
                book.add_descriptor(mapping.load_bias + at)
            if time.monotonic() >= end:
                return

    def _descriptor_in(self, module_id: int) -> int | None:
        known = self._shared.jit_descriptors
        if module_id not in known:
            known[module_id] = jit_descriptor(self._shared.describer.modules[module_id].path)
        return known[module_id]
