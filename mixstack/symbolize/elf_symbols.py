"""Which function of an ELF file covers an address (gabi: symbol table; binding and type: elf.h).

Files come from the target and are untrusted: a corrupt table yields fewer names.
"""

from __future__ import annotations

from itertools import product
from typing import Final

from mixstack.compiled.symbols import FunctionTable
from mixstack.elf import Elf

_ENTRY_SIZE: Final = 24  # Elf64_Sym
_LONGEST_NAME: Final = 1 << 16


class SymbolTable:
    """The functions of one file as disjoint ranges: where they overlap, the later start counts.

    Addresses are the file's own. It keeps the file's string tables mapped.
    """

    def __init__(self, elf: Elf, *more: Elf) -> None:
        """Read `.symtab` and `.dynsym`; a file with neither gives an empty table.

        STT_FUNC and STT_GNU_IFUNC count, and STT_NOTYPE where it has a size and lies in code.
        `more`: files of the same addresses that add to it, such as a separate debug file; where
        the code lies is `elf`'s to say.
        """
        # By the memory, since a debug file holds nothing of the code itself.
        code = sorted((s.vaddr, s.vaddr + s.memory_size) for s in elf.segments if s.executable)
        self._functions = FunctionTable(code)
        self._strings: list[memoryview] = []
        for source, name in product((elf, *more), (".symtab", ".dynsym")):
            section = source.section(name)
            linked = None if section is None else source.section_at(section.link)
            if section is None or linked is None or section.entry_size != _ENTRY_SIZE:
                continue
            sections = elf.section_bounds() if source is elf and name == ".symtab" else ()
            self._functions.add(section.data, linked.data, sections)
            self._strings.append(linked.data)
        self._functions.finish()

    def __len__(self) -> int:
        return len(self._functions)

    def find(self, vaddr: int) -> tuple[int, int, str] | None:
        """(start, end, name) of the function that covers the file's own address, or None."""
        piece = self._functions.find(vaddr)
        if piece is None:
            return None
        name = _string(self._strings[piece.table], piece.name_at)
        return (piece.start, piece.end, name) if name else None


def _string(strings: memoryview, at: int) -> str:
    """The NUL-terminated name at an offset; "" where there is none (outside, or without an end)."""
    size = 128
    while size <= _LONGEST_NAME:
        piece = bytes(strings[at : at + size])
        end = piece.find(b"\0")
        if end >= 0:
            return piece[:end].decode("utf-8", "replace")
        if len(piece) < size:
            return ""
        size *= 4
    return ""
