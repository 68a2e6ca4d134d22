"""Small ELF files that tests write: one executable segment, one symbol table."""

from __future__ import annotations

import struct
from typing import NamedTuple

TEXT_START = 0x1000
TEXT_SIZE = 0x1000
TEXT_SECTION = 1

FUNC, OBJECT, NOTYPE, IFUNC = 2, 1, 0, 10
LOCAL, GLOBAL, WEAK = 0, 1, 2


class Sym(NamedTuple):
    """A symbol: [start, start + size)."""

    name: str
    start: int
    size: int
    kind: int = FUNC
    binding: int = GLOBAL
    section: int = TEXT_SECTION


def symbol_table(symbols: list[Sym]) -> tuple[bytes, bytes]:
    """(symbol table, string table), as gabi has them."""
    strings, table = bytearray(b"\0"), bytearray(24)
    for symbol in symbols:
        at = len(strings) if symbol.name else 0
        if symbol.name:
            strings += symbol.name.encode() + b"\0"
        info = symbol.binding << 4 | symbol.kind
        table += struct.pack(
            "<IBBHQQ", at, info, 0, symbol.section, symbol.start % 2**64, symbol.size
        )
    return bytes(table), bytes(strings)


def elf(
    symtab: list[Sym] | None = None,
    dynsym: list[Sym] | None = None,
    *,
    raw_symtab: tuple[bytes, bytes] | None = None,
    build_id: bytes | None = None,
) -> bytes:
    """A file whose `.text` is [0x1000, 0x2000) in its own addresses and at that offset."""
    sections: list[tuple[str, int, bytes, int, int]] = []  # name, type, data, link, entry size
    sections.append((".text", 1, b"\xcc" * TEXT_SIZE, 0, 0))
    for name, kind, symbols in ((".symtab", 2, symtab), (".dynsym", 11, dynsym)):
        if name == ".symtab" and raw_symtab is not None:
            table, strings = raw_symtab
        elif symbols is not None:
            table, strings = symbol_table(symbols)
        else:
            continue
        sections.append((name, kind, table, len(sections) + 2, 24))
        sections.append((name.replace("sym", "str"), 3, strings, 0, 0))
    if build_id is not None:
        note = struct.pack("<III4s", 4, len(build_id), 3, b"GNU\0") + build_id
        sections.append((".note.gnu.build-id", 7, note, 0, 0))
    names = b"\0" + b"".join(name.encode() + b"\0" for name, *_ in sections) + b".shstrtab\0"
    sections.append((".shstrtab", 3, names, 0, 0))

    image = bytearray(TEXT_START)
    headers = [bytes(64)]
    for name, kind, data, link, entry_size in sections:
        at = len(image)
        name_at = names.index(b"\0" + name.encode() + b"\0") + 1
        address = at if name == ".text" else 0
        headers.append(
            struct.pack(
                "<IIQQQQIIQQ", name_at, kind, 0, address, at, len(data), link, 0, 1, entry_size
            )
        )
        image += data
    section_table = len(image)
    image += b"".join(headers)
    image[:64] = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack(
        "<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, section_table, 0, 64, 56, 1, 64, len(headers),
        len(headers) - 1,
    )  # fmt: skip
    image[64:120] = struct.pack(
        "<IIQQQQQQ", 1, 5, TEXT_START, TEXT_START, TEXT_START, TEXT_SIZE, TEXT_SIZE, 0x1000
    )
    return bytes(image)
