"""The structure of an ELF file: segments, sections, build-id. Contents are for others to read.

Written out, as it is four structures of fixed size: a general library for ELF took 20 to 100 ms a
file and 0.1 s to import, which is a third of the time from attach to the first sample.
Source: System V ABI, chapters 4 and 5 (elf.h).

Files come from the target and are untrusted: whatever is wrong with one is a `BadElf`.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")  # Elf64_Ehdr
_PROGRAM_HEADER: Final = struct.Struct("<IIQQQQQQ")  # Elf64_Phdr
_SECTION_HEADER: Final = struct.Struct("<IIQQQQIIQQ")  # Elf64_Shdr
_MAGIC_64_LITTLE: Final = b"\x7fELF\x02\x01"
_EM_X86_64: Final = 62
_PT_LOAD: Final = 1
_PF_X: Final = 1
_SHT_NOBITS: Final = 8
_SHF_COMPRESSED: Final = 0x800
_NAME_MAX: Final = 256
_GNU_BUILD_ID = 3  # NT_GNU_BUILD_ID, elf.h


class BadElf(Exception):
    """The bytes are not an ELF file for x86-64 that can be understood."""


class LoadSegment(NamedTuple):
    """A PT_LOAD header. `vaddr` is the file's own address; sizes in bytes."""

    vaddr: int
    offset: int
    file_size: int
    memory_size: int
    executable: bool


class Section(NamedTuple):
    """A section: its own address, its bytes (empty for NOBITS), `sh_entsize` and `sh_link`.

    `compressed`: the bytes are a compression header and what it says (gabi: SHF_COMPRESSED).
    """

    vaddr: int
    data: memoryview
    entry_size: int
    link: int
    compressed: bool


class Elf:
    """A 64-bit x86-64 ELF image over a buffer that outlives it. Raises BadElf."""

    def __init__(self, data: memoryview, name: str) -> None:
        self.name = name
        self._data = data
        try:
            header = _HEADER.unpack_from(data)
        except struct.error:
            raise BadElf(f"{name}: too short for an ELF file") from None
        if not header[0].startswith(_MAGIC_64_LITTLE) or header[2] != _EM_X86_64:
            raise BadElf(f"{name}: not an x86-64 ELF file")
        program_at, sections_at = header[5:7]
        program_size, programs, section_size, sections, names_index = header[9:14]
        self.segments = tuple(
            LoadSegment(vaddr, offset, file_size, memory_size, bool(flags & _PF_X))
            for kind, flags, offset, vaddr, _, file_size, memory_size, _ in self._table(
                _PROGRAM_HEADER, program_at, program_size, programs
            )
            if kind == _PT_LOAD
        )
        self._headers = self._table(_SECTION_HEADER, sections_at, section_size, sections)
        self._by_name: dict[str, int] = {}
        if names_index < len(self._headers):
            _, _, _, _, offset, size, *_ = self._headers[names_index]
            names = bytes(data[offset : offset + size])
            for index, (at, *_) in enumerate(self._headers):
                end = names.find(b"\0", at, at + _NAME_MAX)
                if end > at:
                    self._by_name.setdefault(names[at:end].decode("latin-1"), index)

    def _table(
        self, entry: struct.Struct, at: int, stride: int, count: int
    ) -> list[tuple[int, ...]]:
        """A table of headers, as far as it lies in the file."""
        if stride < entry.size:
            return []
        last = len(self._data) - entry.size
        return [
            entry.unpack_from(self._data, offset)
            for offset in range(at, min(at + stride * count, last + 1), stride)
        ]

    def section(self, name: str) -> Section | None:
        """The first section of that name, or None. Its bytes are cut at the end of the file."""
        index = self._by_name.get(name)
        return self.section_at(index) if index is not None else None

    def section_at(self, index: int) -> Section | None:
        """The section with that index in the header table (`sh_link` counts so), or None."""
        if not 0 <= index < len(self._headers):
            return None
        _, kind, flags, vaddr, offset, size, link, _, _, entry_size = self._headers[index]
        if kind == _SHT_NOBITS:
            size = 0
        data = self._data[offset : offset + size]
        return Section(vaddr, data, entry_size, link, bool(flags & _SHF_COMPRESSED))

    def section_bounds(self) -> list[tuple[int, int]]:
        """`[start, end)` of each section's bytes in memory, by index; those of NOBITS are empty."""
        found = (self.section_at(index) for index in range(len(self._headers)))
        return [(s.vaddr, s.vaddr + len(s.data)) if s is not None else (0, 0) for s in found]

    @property
    def build_id(self) -> str | None:
        """The GNU build-id in lower-case hex, or None (gabi: SHT_NOTE; NT_GNU_BUILD_ID)."""
        for name in (".note.gnu.build-id", ".notes", ".note"):
            section = self.section(name)
            if section is not None:
                found = build_id_of_notes(bytes(section.data))
                if found is not None:
                    return found
        return None

    def vaddr_of_offset(self, offset: int) -> int | None:
        """The file's own address of a file offset inside a PT_LOAD segment, or None."""
        for s in self.segments:
            if s.offset <= offset < s.offset + s.file_size:
                return s.vaddr + (offset - s.offset)
        return None

    def code(self) -> list[tuple[int, memoryview]]:
        """The executable segments: the file's own addresses, and the bytes that lie there."""
        return [
            (s.vaddr, self._data[s.offset : s.offset + s.file_size])
            for s in self.segments
            if s.executable
        ]

    def read(self, vaddr: int, size: int) -> bytes:
        """Up to `size` bytes of the file's image at its own address `vaddr`; b"" outside of it."""
        for s in self.segments:
            if s.vaddr <= vaddr < s.vaddr + s.file_size:
                at = s.offset + (vaddr - s.vaddr)
                return bytes(self._data[at : min(at + size, s.offset + s.file_size)])
        return b""


def build_id_of_notes(notes: bytes) -> str | None:
    """The GNU build-id in a run of ELF notes (namesz, descsz, type, name, desc; 4-aligned)."""
    at = 0
    while at + 12 <= len(notes):
        name_size, desc_size, kind = (
            int.from_bytes(notes[at + i : at + i + 4], "little") for i in (0, 4, 8)
        )
        name_end = at + 12 + ((name_size + 3) & ~3)
        desc = notes[name_end : name_end + desc_size]
        owner = notes[at + 12 : at + 16]
        if kind == _GNU_BUILD_ID and owner == b"GNU\0" and len(desc) == desc_size:
            return desc.hex()
        at = name_end + ((desc_size + 3) & ~3)
    return None


@contextlib.contextmanager
def open_elf(path: str) -> Iterator[Elf]:
    """Map the regular file at `path` and read its structure.

    Raises OSError if it cannot be opened, BadElf if it is not a usable ELF file.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or info.st_size == 0:
            raise BadElf(f"{path}: not a regular file, or empty")
        mapped = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
    finally:
        os.close(fd)
    # Slices that a caller still holds keep the mapping alive; it is unmapped with the last of them.
    yield Elf(memoryview(mapped), path)
