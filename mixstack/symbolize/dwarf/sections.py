"""The debug sections of an ELF file, decompressed where they were compressed."""

from __future__ import annotations

import struct
import zlib
from typing import Final, NamedTuple

from mixstack.elf import Elf

_CHDR: Final = struct.Struct("<IIQQ")  # Elf64_Chdr: type, reserved, size, alignment
_ELFCOMPRESS_ZLIB: Final = 1
_ELFCOMPRESS_ZSTD: Final = 2
_ZDEBUG: Final = struct.Struct(">4sQ")  # "ZLIB", size: GNU's older form, by the section's name
_LONGEST: Final = 1 << 30  # bytes of a section once decompressed: it is held in memory


class BadDwarf(Exception):
    """The bytes break off, or are not DWARF that can be understood."""


class DebugSections(NamedTuple):
    """What lines and inlined calls are read from; a section that the file lacks is empty."""

    info: memoryview
    abbrev: memoryview
    line: memoryview
    str: memoryview
    line_str: memoryview
    addr: memoryview
    str_offsets: memoryview
    ranges: memoryview
    rnglists: memoryview
    aranges: memoryview


def debug_sections(elf: Elf) -> DebugSections:
    """The debug sections of a file. Raises BadDwarf where one cannot be decompressed."""
    return DebugSections(*(debug_section(elf, name) for name in DebugSections._fields))


def has_debug_info(elf: Elf) -> bool:
    """Whether the file itself holds the section that all others hang on."""
    found = elf.section(".debug_info") or elf.section(".zdebug_info")
    return found is not None and len(found.data) > 0


def debug_section(elf: Elf, name: str, longest: int = _LONGEST) -> memoryview:
    """`.debug_NAME`, empty if the file lacks it. Raises BadDwarf where it cannot be decompressed.

    longest: bytes of it once decompressed; to have more is no better than to be damaged.
    """
    section = elf.section(f".debug_{name}")
    if section is None:
        section = elf.section(f".zdebug_{name}")
        return memoryview(b"") if section is None else _old_compressed(section.data, longest)
    if not section.compressed:
        return section.data
    if len(section.data) < _CHDR.size:
        raise BadDwarf(f".debug_{name}: too short to be compressed")
    kind, _, size, _ = _CHDR.unpack_from(section.data)
    body = section.data[_CHDR.size :]
    if kind == _ELFCOMPRESS_ZLIB:
        return _inflated(body, size, longest)
    if kind == _ELFCOMPRESS_ZSTD:
        return _unpacked(body, size, longest)
    raise BadDwarf(f".debug_{name}: compressed in an unknown way ({kind})")


def _old_compressed(data: memoryview, longest: int) -> memoryview:
    if len(data) < _ZDEBUG.size:
        raise BadDwarf("a .zdebug section is too short")
    magic, size = _ZDEBUG.unpack_from(data)
    if magic != b"ZLIB":
        raise BadDwarf("a .zdebug section is not compressed by zlib")
    return _inflated(data[_ZDEBUG.size :], size, longest)


def _inflated(body: memoryview, size: int, longest: int) -> memoryview:
    _check_size(size, longest)
    try:
        return memoryview(zlib.decompressobj().decompress(body, size))
    except zlib.error as e:
        raise BadDwarf(f"a compressed section is damaged: {e}") from e


def _unpacked(body: memoryview, size: int, longest: int) -> memoryview:
    import zstandard

    _check_size(size, longest)
    try:
        reader = zstandard.ZstdDecompressor().stream_reader(body)
        return memoryview(reader.read(size))
    except zstandard.ZstdError as e:
        raise BadDwarf(f"a compressed section is damaged: {e}") from e


def _check_size(size: int, longest: int) -> None:
    if not 0 < size <= longest:
        raise BadDwarf(f"a compressed section would have {size} bytes")
