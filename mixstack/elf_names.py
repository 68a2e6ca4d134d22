"""The few symbols of an ELF file that are asked for by name."""

from __future__ import annotations

import struct
from collections.abc import Collection
from typing import Final, NamedTuple

from mixstack.elf import Elf

_SYMBOL: Final = struct.Struct("<IBBHQQ")  # Elf64_Sym: name info other shndx value size


class ElfSymbol(NamedTuple):
    """A defined symbol: the file's own address, size in bytes (0: not stated)."""

    address: int
    size: int


def find_symbols(elf: Elf, wanted: Collection[bytes]) -> dict[bytes, ElfSymbol]:
    """The defined symbols with these names, from .dynsym and, for what is not there, .symtab.

    Only the wanted names are searched in the string table, and then their offsets in the symbol
    table: a table of 15,000 symbols takes milliseconds.
    """
    found: dict[bytes, ElfSymbol] = {}
    for table_name in (".dynsym", ".symtab"):
        missing = [name for name in wanted if name not in found]
        table = elf.section(table_name)
        if not missing or table is None:
            continue
        strings = elf.section_at(table.link)
        if strings is None:
            continue
        names = _offsets_of(bytes(strings.data), missing)
        if not names:
            continue
        usable = len(table.data) // _SYMBOL.size * _SYMBOL.size
        for at, _, _, section_index, value, size in _SYMBOL.iter_unpack(table.data[:usable]):
            if at in names and section_index:  # 0: defined in another file
                found.setdefault(names[at], ElfSymbol(value, size))
    return found


def _offsets_of(strings: bytes, wanted: Collection[bytes]) -> dict[int, bytes]:
    """Where in a string table each wanted name begins. A name may be the tail of a longer one."""
    offsets = {}
    for name in wanted:
        at = strings.find(name + b"\0")
        while at >= 0:
            offsets[at] = name
            at = strings.find(name + b"\0", at + 1)
    return offsets
