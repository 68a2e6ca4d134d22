"""The structure of an ELF file: segments, sections, build-id. Contents are for others to read.

Files come from the target and are untrusted: whatever is wrong with one is a `BadElf`.
"""

from __future__ import annotations

import contextlib
import io
import mmap
import os
import stat
from collections.abc import Iterator, Mapping
from typing import IO, NamedTuple, cast

from elftools.common.exceptions import ELFError
from elftools.construct import ConstructError
from elftools.elf.elffile import ELFFile

PF_X = 1
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
    """A section: its own address, where it lies in the file, and its bytes (empty for NOBITS)."""

    name: str
    vaddr: int
    data: memoryview
    entry_size: int
    link: int


class Elf:
    """A little-endian 64-bit ELF image over a buffer that outlives it."""

    def __init__(self, data: memoryview, name: str) -> None:
        self.name = name
        self._data = data
        try:
            self._file = ELFFile(cast(IO[bytes], _Stream(data)))
            if self._file.elfclass != 64 or not self._file.little_endian:
                raise BadElf(f"{name}: not a 64-bit little-endian file")
            self.segments = tuple(
                LoadSegment(
                    s["p_vaddr"], s["p_offset"], s["p_filesz"], s["p_memsz"], bool(s["p_flags"] & PF_X)
                )
                for s in self._file.iter_segments("PT_LOAD")
            )
            self._headers: dict[str, tuple[int, Mapping[str, int]]] = {}
            for index, section in enumerate(self._file.iter_sections()):
                self._headers.setdefault(section.name, (index, section.header))
        except (ELFError, ConstructError, ValueError, KeyError, AttributeError, TypeError,
                UnicodeDecodeError, OverflowError, IndexError) as e:
            raise BadElf(f"{name}: {e}") from e

    @property
    def machine(self) -> str:
        """`e_machine` as elf.h names it, e.g. "EM_X86_64"."""
        return str(self._file.header["e_machine"])

    def section(self, name: str) -> Section | None:
        """The first section of that name, or None. Its bytes are cut at the end of the file."""
        found = self._headers.get(name)
        if found is None:
            return None
        return self._section(name, found[1])

    def section_at(self, index: int) -> Section | None:
        """The section with that index in the header table (`sh_link` counts so), or None."""
        for name, (at, header) in self._headers.items():
            if at == index:
                return self._section(name, header)
        return None

    def _section(self, name: str, header: Mapping[str, int]) -> Section:
        start, size = header["sh_offset"], header["sh_size"]
        if str(header["sh_type"]) == "SHT_NOBITS":
            size = 0
        return Section(
            name, header["sh_addr"], self._data[start : start + size], header["sh_entsize"], header["sh_link"]
        )

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

    def read(self, vaddr: int, size: int) -> bytes:
        """Up to `size` bytes of the file's image at its own address `vaddr`; b"" outside of it."""
        for s in self.segments:
            if s.vaddr <= vaddr < s.vaddr + s.file_size:
                at = s.offset + (vaddr - s.vaddr)
                return bytes(self._data[at : min(at + size, s.offset + s.file_size)])
        return b""


def build_id_of_notes(notes: bytes) -> str | None:
    """The GNU build-id in a run of ELF notes (each: namesz, descsz, type, name, desc; 4-aligned)."""
    at = 0
    while at + 12 <= len(notes):
        name_size, desc_size, kind = (
            int.from_bytes(notes[at + i : at + i + 4], "little") for i in (0, 4, 8)
        )
        name_end = at + 12 + ((name_size + 3) & ~3)
        desc = notes[name_end : name_end + desc_size]
        if kind == _GNU_BUILD_ID and notes[at + 12 : at + 16] == b"GNU\0" and len(desc) == desc_size:
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


class _Stream(io.RawIOBase):
    """A memoryview as the seekable stream that pyelftools reads."""

    def __init__(self, data: memoryview) -> None:
        super().__init__()
        self._data = data
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        end = len(self._data) if size < 0 else self._at + size
        out = bytes(self._data[self._at : end])
        self._at += len(out)
        return out

    def seek(self, offset: int, whence: int = 0) -> int:
        start = (0, self._at, len(self._data))[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True
