"""The mapped files of a recording: a `Module` each, its unwind table, its place in the probe."""

from __future__ import annotations

import os
from threading import Lock
from typing import Final, NamedTuple

from mixstack.elf import BadElf, Elf, LoadSegment, build_id_of_notes, open_elf
from mixstack.model import Module
from mixstack.record.roots import Roots
from mixstack.record.tables import Placed, TableSpace
from mixstack.symbolize.debug_files import separate_debug_frame
from mixstack.target.maps import MapLine, load_bias
from mixstack.target.process import TargetProcess
from mixstack.unwind.cfi import compile_table, compile_vdso
from mixstack.unwind.roots import with_roots
from mixstack.unwind.rows import UnwindTable

VDSO: Final = "[vdso]"


class LoadedModule(NamedTuple):
    """A module, how its segments are loaded, its table, and where to read its symbols.

    table is None if the file has no usable unwind information. path leads through a descriptor
    that stays open until the registry is closed, so it outlives the process and the file's name;
    image is set instead for the vDSO.
    """

    module: Module
    segments: tuple[LoadSegment, ...]
    table: UnwindTable | None
    path: str | None
    image: bytes | None

    def bias(self, line: MapLine) -> int | None:
        """Load bias of an executable mapping of this file."""
        return load_bias(
            ((s.vaddr, s.offset, s.file_size) for s in self.segments if s.executable), line
        )


class ModuleRegistry:
    """Knows every file by device and inode; a file is read once."""

    def __init__(self) -> None:
        self._unannounced: list[Module] = []
        self._known: dict[tuple[int, int, str], LoadedModule | None] = {}
        self._placed: dict[int, Placed | None] = {}
        self._descriptors: list[int] = []
        self._roots = Roots()
        self._count = 0
        self._numbering = Lock()
        self.without_table = 0  # modules whose stacks cannot be unwound

    def close(self) -> None:
        """Let go of all files; nothing that was found can be read after that."""
        for fd in self._descriptors:
            os.close(fd)
        self._descriptors.clear()
        self._roots.close()

    def find(self, process: TargetProcess, line: MapLine) -> LoadedModule | None:
        """The module behind a mapping; None without a file, or if it is no ELF."""
        key = _key(line)
        if key is None:
            return None
        if key not in self._known:
            found = (
                self._load_vdso(process)
                if line.path == VDSO
                else self._load_file(
                    process.open_path(line),
                    line.file_path or line.path,
                    self._roots.of(process.pid),
                )
            )
            if found is None and not process.alive():
                return None  # that says nothing of the file: another process may still have it
            self._known[key] = found
        return self._known[key]

    def knows(self, line: MapLine) -> bool:
        """Whether `find` answers at once."""
        key = _key(line)
        return key is None or key in self._known

    def preload(self, path: str) -> None:
        """Read a file that is about to be mapped by this path; one that cannot be is no error."""
        try:
            info = os.stat(path)
        except OSError:
            return
        key = (info.st_dev, info.st_ino, path)
        if key not in self._known:
            self._known[key] = self._load_file(path, path, ("/",))

    def take_new(self) -> list[Module]:
        """The modules that were found since the last call."""
        with self._numbering:
            new, self._unannounced = self._unannounced, []
        return new

    def place(self, loaded: LoadedModule, space: TableSpace) -> Placed | None:
        """Where the module's table is in the probe; None if it has none or it did not fit."""
        key = loaded.module.id
        if key not in self._placed:
            placed = space.place(loaded.table) if loaded.table is not None else None
            self._placed[key] = placed
            if placed is None:
                self.without_table += 1
        return self._placed[key]

    def _load_file(self, path: str, name: str, roots: tuple[str, ...]) -> LoadedModule | None:
        """`path`: where we open it; `name`: what the target calls it.

        roots: in which its debug file is looked for. That takes a fifth of a millisecond.
        """
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return None
        lasting = f"/proc/self/fd/{fd}"
        try:
            with open_elf(lasting) as elf:
                loaded = self._loaded(elf, name, lasting, roots)
        except (OSError, BadElf):
            os.close(fd)
            return None
        self._descriptors.append(fd)
        return loaded

    def _loaded(self, elf: Elf, name: str, path: str, roots: tuple[str, ...]) -> LoadedModule:
        frames = separate_debug_frame(elf, name, roots)
        try:
            table: UnwindTable | None = with_roots(compile_table(elf, frames), elf)
        except BadElf:
            table = None
        return LoadedModule(self._module(name, elf.build_id), elf.segments, table, path, None)

    def _load_vdso(self, process: TargetProcess) -> LoadedModule | None:
        image = process.vdso()
        if image is None:
            return None
        try:
            elf = Elf(memoryview(image), VDSO)
            table = compile_vdso(image)
        except BadElf:
            return None
        notes = elf.section(".note")
        build_id = build_id_of_notes(bytes(notes.data)) if notes is not None else None
        return LoadedModule(self._module(VDSO, build_id), elf.segments, table, None, image)

    def _module(self, path: str, build_id: str | None) -> Module:
        with self._numbering:  # files are read in a thread of their own, too
            module = Module(self._count, path, build_id)
            self._count += 1
            self._unannounced.append(module)
        return module


def _key(line: MapLine) -> tuple[int, int, str] | None:
    """What tells files apart; None for memory without a file."""
    if line.path == VDSO:
        return 0, 0, VDSO
    if line.file_path is None:
        return None
    return line.device, line.inode, line.file_path
