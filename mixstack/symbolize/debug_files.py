"""Where the symbols and lines of a file lie that it does not hold itself.

Separate debug files by build-id and by `.gnu_debuglink` (gdb's manual, 18.3), the file that dwz
made of what several of them share (`.gnu_debugaltlink`), and the symbols of `.gnu_debugdata`. And
the unwind information that is in a separate debug file only.
What is found must belong to the file: its build-id or its checksum is compared.
"""

from __future__ import annotations

import lzma
import os
import stat
import zlib
from collections.abc import Iterator
from posixpath import basename, dirname, join, normpath
from typing import Final, NamedTuple

from mixstack.elf import BadElf, Elf, open_elf
from mixstack.symbolize.dwarf.sections import BadDwarf, debug_section
from mixstack.symbolize.rooted import open_below

_DEBUG_FOLDER: Final = "/usr/lib/debug"
_SHORTEST_ID: Final = 4  # hex digits: two name the folder, the others the file
_LONGEST_MINI: Final = 1 << 26  # bytes of `.gnu_debugdata` unpacked; distributions' have up to 3 MB
_MOST_MEMORY: Final = 1 << 28  # bytes that its decoder may ask for
_LONGEST_FRAME: Final = 1 << 26  # bytes of `.debug_frame`
_PIECE: Final = 1 << 20


class DebugFile(NamedTuple):
    """A debug file that was found, and where: its path below the root that it was found in."""

    path: str
    elf: Elf


def find_debug_file(elf: Elf, path: str, roots: tuple[str, ...]) -> DebugFile | None:
    """The separate debug file of an ELF file, or None.

    path: the file's own, as seen from its root. roots: the folders in whose trees is looked, in
    order: the target's root (/proc/PID/root), then the recorder's.
    """
    build_id = elf.build_id
    named = _debug_link(elf)
    for root in roots:
        if build_id is not None:
            found = _open(root, path_by_build_id(build_id))
            if found is not None and found.elf.build_id == build_id:
                return found
        if named is None:
            continue
        name, checksum = named
        folder = dirname(path)
        for candidate in (
            join(folder, name),
            join(folder, ".debug", name),
            normpath(f"{_DEBUG_FOLDER}/{folder}/{name}"),
        ):
            if candidate == path:
                continue
            found = _open(root, candidate, checksum if build_id is None else None)
            if found is not None and found.elf.build_id == build_id:
                return found
    return None


def find_shared_file(elf: Elf, path: str, roots: tuple[str, ...]) -> Elf | None:
    """What `.gnu_debugaltlink` of a debug file names (its path, NUL, its build-id), or None."""
    section = elf.section(".gnu_debugaltlink")
    if section is None:
        return None
    link, _, raw_id = bytes(section.data).partition(b"\0")
    build_id = raw_id.hex()
    named = join(dirname(path), os.fsdecode(link))
    for root in roots:
        for candidate in (named, path_by_build_id(build_id)):
            found = _open(root, candidate)
            if found is not None and found.elf.build_id == build_id:
                return found.elf
    return None


def separate_debug_frame(elf: Elf, path: str, roots: tuple[str, ...]) -> bytes:
    """The `.debug_frame` of a file's debug file; empty if there is none, or the file has its own.

    Arguments as of `find_debug_file`. Its addresses are the file's own.
    """
    if elf.section(".debug_frame") is not None:
        return b""
    found = find_debug_file(elf, path, roots)
    if found is None:
        return b""
    try:
        data = debug_section(found.elf, "frame", _LONGEST_FRAME)
    except BadDwarf:
        return b""
    return bytes(data) if len(data) <= _LONGEST_FRAME else b""


def mini_debug_info(elf: Elf) -> Elf | None:
    """The ELF file in `.gnu_debugdata`, which has the symbols that stripping took; or None."""
    section = elf.section(".gnu_debugdata")
    if section is None:
        return None
    try:
        unpacked = lzma.LZMADecompressor(memlimit=_MOST_MEMORY).decompress(
            section.data, _LONGEST_MINI
        )
        return Elf(memoryview(unpacked), f"{elf.name}: .gnu_debugdata")
    except (lzma.LZMAError, EOFError, BadElf):
        return None


def path_by_build_id(build_id: str) -> str:
    """Where the debug file of a build-id is, if it is installed; "" if the id is too short."""
    if len(build_id) < _SHORTEST_ID:
        return ""
    return f"{_DEBUG_FOLDER}/.build-id/{build_id[:2]}/{build_id[2:]}.debug"


def _debug_link(elf: Elf) -> tuple[str, int] | None:
    """(file name, CRC-32) of `.gnu_debuglink`: the name, NULs up to four bytes, the checksum."""
    section = elf.section(".gnu_debuglink")
    if section is None:
        return None
    data = bytes(section.data)
    raw, _, _ = data.partition(b"\0")
    at = (len(raw) + 4) & ~3
    name = os.fsdecode(raw)
    if name in ("", ".", "..") or name != basename(name) or at + 4 > len(data):
        return None
    return name, int.from_bytes(data[at : at + 4], "little")


def _open(root: str, path: str, checksum: int | None = None) -> DebugFile | None:
    """The ELF file at a path below a root, if it is there and has that checksum."""
    if not path:
        return None
    try:
        descriptor = open_below(root, path)
    except (OSError, ValueError):  # a name from the file may hold anything
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        if checksum is not None and checksum != _crc(descriptor):
            return None
        with open_elf(f"/proc/self/fd/{descriptor}") as elf:
            return DebugFile(path, elf)
    except (OSError, BadElf):
        return None
    finally:
        os.close(descriptor)


def _crc(descriptor: int) -> int:
    checksum = 0
    for piece in _pieces(descriptor):
        checksum = zlib.crc32(piece, checksum)
    return checksum


def _pieces(descriptor: int) -> Iterator[bytes]:
    at = 0
    while piece := os.pread(descriptor, _PIECE, at):
        yield piece
        at += len(piece)
