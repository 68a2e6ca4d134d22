"""`SourceLines`: file, line and inlined calls of native code, for every file that has DWARF."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from mixstack.elf import BadElf, Elf, open_elf
from mixstack.model import SourceCall
from mixstack.symbolize.debug_files import find_debug_file, find_shared_file
from mixstack.symbolize.dwarf.debug_info import DebugInfo
from mixstack.symbolize.dwarf.sections import BadDwarf, has_debug_info

_FILES_KEPT: Final = 2  # whose units and decompressed sections are kept


class NativeFile(NamedTuple):
    """A mapped file: `path` as its process sees it; where it can be opened now; its build-id.

    roots: the trees in which its debug file is looked for, as `find_debug_file` takes them.
    build_id: None if it is not known; else a file with another one is not read.
    """

    path: str
    open_path: str
    build_id: str | None
    roots: tuple[str, ...] = ("/",)


class SourceLines:
    """Reads of each file what is asked for, once. `warn` gets a sentence that names the file."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._known: dict[NativeFile, DebugInfo | None] = {}
        self._warned: set[NativeFile] = set()

    def calls_at(self, file: NativeFile, vaddr: int) -> tuple[SourceCall, ...]:
        """The calls at the file's own address, outermost first; empty where nothing is known.

        The first is the function that the stack frame is of; the others were inlined into it. Its
        name is for the symbol table to give, where that has one. Ask in the order of addresses:
        neighbours share what was decoded.
        """
        info = self._open(file)
        if info is None:
            return ()
        frames = info.calls_at(vaddr)
        if info.problem is not None and file not in self._warned:
            self._warned.add(file)
            self._warn(
                f"{file.path}: parts of its debug information cannot be read: {info.problem}"
            )
        return frames

    def _open(self, file: NativeFile) -> DebugInfo | None:
        if file not in self._known:
            while len(self._known) >= _FILES_KEPT:
                self._known.pop(next(iter(self._known)))
            self._known[file] = self._read(file)
        return self._known[file]

    def _read(self, file: NativeFile) -> DebugInfo | None:
        try:
            with open_elf(file.open_path) as elf:
                if file.build_id is not None and elf.build_id != file.build_id:
                    return None
                return debug_info(elf, file.path, file.roots)
        except BadDwarf as e:
            self._warn(f"{file.path}: its debug information cannot be read: {e}")
        except (OSError, BadElf):
            return None
        return None


def debug_info(elf: Elf, path: str, roots: tuple[str, ...]) -> DebugInfo | None:
    """The DWARF of a file, its own or its debug file's; None without any. Raises BadDwarf."""
    code = elf.segments
    if not has_debug_info(elf):
        found = find_debug_file(elf, path, roots)
        if found is None or not has_debug_info(found.elf):
            return None
        path, elf = found
    return DebugInfo(elf, code, find_shared_file(elf, path, roots))
