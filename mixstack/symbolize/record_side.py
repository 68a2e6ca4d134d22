"""Symbols while recording: what would be gone with the process, or differ on another machine."""

from __future__ import annotations

from collections.abc import Iterable

from mixstack.elf import BadElf, Elf, open_elf
from mixstack.model import Symbol
from mixstack.symbolize.elf_symbols import SymbolTable
from mixstack.symbolize.kernel import kernel_symbols

__all__ = ["ModuleSymbols", "kernel_symbols"]


class ModuleSymbols:
    """Reads the symbol table of each module once, when the first address in it is asked for."""

    def __init__(self) -> None:
        self._tables: dict[int, SymbolTable | None] = {}

    def find_symbols(self, module_id: int, path: str, vaddrs: Iterable[int]) -> list[Symbol]:
        """The distinct symbols that cover these addresses (the file's own), sorted by start.

        `path` may lead through /proc/PID/root or /proc/PID/map_files. A file that cannot be opened
        gives no symbols now and is tried again; one that is no ELF file gives none at all.
        """
        if module_id not in self._tables:
            try:
                with open_elf(path) as elf:
                    self._tables[module_id] = SymbolTable.of(elf)
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
                self._tables[module_id] = SymbolTable.of(Elf(memoryview(image), "[vdso]"))
            except BadElf:
                self._tables[module_id] = None
        return self._look_up(module_id, vaddrs)

    def _look_up(self, module_id: int, vaddrs: Iterable[int]) -> list[Symbol]:
        table = self._tables[module_id]
        if table is None:
            return []
        found = {table.find(vaddr) for vaddr in vaddrs}
        return [Symbol(module_id, *each) for each in sorted(f for f in found if f is not None)]
