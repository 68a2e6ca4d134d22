"""Symbols while recording: what would be gone with the process, or differ on another machine."""

from __future__ import annotations

from collections.abc import Iterable

from mixstack.elf import BadElf, Elf, open_elf
from mixstack.model import Symbol
from mixstack.symbolize.debug_files import find_debug_file, mini_debug_info
from mixstack.symbolize.elf_symbols import SymbolTable
from mixstack.symbolize.functions import FunctionRanges


def symbols_of(
    module_id: int, table: SymbolTable, functions: FunctionRanges, vaddrs: Iterable[int]
) -> list[Symbol]:
    """The distinct functions that cover these addresses, named where the file names them."""
    found: set[tuple[int, int, str | None]] = set()
    for vaddr in vaddrs:
        named = table.find(vaddr)
        nameless = None if named is not None else functions.find(vaddr)
        if named is not None:
            found.add(named)
        elif nameless is not None:
            found.add((*nameless, None))
    return [Symbol(module_id, *each) for each in sorted(found, key=lambda f: (f[0], f[1]))]


def tables_of(
    elf: Elf, path: str, roots: tuple[str, ...] = ("/",)
) -> tuple[SymbolTable, FunctionRanges]:
    """What names the functions of a file: its symbols, and where it was stripped, those elsewhere.

    Arguments as of `find_debug_file`.
    """
    more: list[Elf] = []
    if elf.section(".symtab") is None:
        debug = find_debug_file(elf, path, roots)
        mini = mini_debug_info(elf) if debug is None else None
        more = [file for file in (debug and debug.elf, mini) if file is not None]
    return SymbolTable(elf, *more), FunctionRanges(elf)


class ModuleSymbols:
    """Reads the symbol table of each module once, when the first address in it is asked for."""

    def __init__(self) -> None:
        self._tables: dict[int, tuple[SymbolTable, FunctionRanges] | None] = {}

    def find_symbols(
        self,
        module_id: int,
        path: str,
        vaddrs: Iterable[int],
        seen_as: str | None = None,
        roots: tuple[str, ...] = ("/",),
    ) -> list[Symbol]:
        """The distinct symbols that cover these addresses (the file's own), sorted by start.

        `path` may lead through /proc/PID/root or /proc/PID/map_files. A file that cannot be opened
        gives no symbols now and is tried again; one that is no ELF file gives none at all.
        `seen_as`: the path as the target sees it (by default `path`), and `roots`: the trees in
        which a separate debug file is looked for, as `find_debug_file` takes them.
        """
        if module_id not in self._tables:
            try:
                with open_elf(path) as elf:
                    self._tables[module_id] = tables_of(elf, seen_as or path, roots)
            except OSError:
                return []
            except BadElf:
                self._tables[module_id] = None
        return self._look_up(module_id, vaddrs)

    def find_symbols_in_image(
        self, module_id: int, image: bytes, vaddrs: Iterable[int]
    ) -> list[Symbol]:
        """The same for a file given as bytes, as the vDSO is read out of a process' memory."""
        if module_id not in self._tables:
            try:
                elf = Elf(memoryview(image), "[vdso]")
                self._tables[module_id] = SymbolTable(elf), FunctionRanges(elf)
            except BadElf:
                self._tables[module_id] = None
        return self._look_up(module_id, vaddrs)

    def _look_up(self, module_id: int, vaddrs: Iterable[int]) -> list[Symbol]:
        tables = self._tables[module_id]
        return [] if tables is None else symbols_of(module_id, *tables, vaddrs)
