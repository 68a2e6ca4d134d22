"""Unwind tables on disk, by build-id: what was compiled once is read in a few milliseconds.

A file: magic; u32 format, u32 compiler version, u32 CRC-32 of all behind it; 16 bytes digest of
what the table was made from; u64 base, u64 bytes of rows, u64 bytes of pages; rows; pages. All
little-endian.

The digest is there because a build-id is the word of the file that bears it: a target could bear
libc's, and the next recording must not take the target's rules for libc. And what a file has is
not all: its debug file, which has its build-id, may be installed later.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import struct
import time
import zlib
from collections.abc import Iterator

from mixstack.elf import Elf

from .cfi import COMPILER_VERSION, compile_table, frame_sections
from .rows import UnwindTable

_MAGIC = b"mixstkUW"
_FORMAT = 1
_HEAD = struct.Struct("<8sIII")
_BODY = struct.Struct("<16sQQQ")
_FILE_MAX = 1 << 30
FOLDER_MAX = 1 << 29  # bytes of tables; the least recently used go first
_SUFFIX = ".unwind"
_TEMPORARY = ".tmp"
_ABANDONED_S = 3600.0  # a temporary file of a writer that was killed
_BUILD_ID_MAX = 128  # hex digits; longer ones are nobody's
_SHARED = stat.S_IWGRP | stat.S_IWOTH


def load_table(elf: Elf, cache_dir: str | None, debug_frame: bytes = b"") -> UnwindTable:
    """The unwind table of a file, from `cache_dir` if it is there, else compiled and left there.

    debug_frame: that of its debug file, as `compile_table` takes it.
    A file without a build-id is known by its digest alone. Without a folder, or if the folder is
    not this user's own, it is compiled each time. A cache that cannot be read or written is no
    error. Raises BadElf as `compile_table` does.
    """
    if cache_dir is None:
        return compile_table(elf, debug_frame)
    with _own_folder(cache_dir) as folder:
        if folder is None:
            return compile_table(elf, debug_frame)
        source = _digest(elf, debug_frame)
        build_id = elf.build_id
        if not build_id or len(build_id) > _BUILD_ID_MAX:
            build_id = source.hex()
        name = build_id + _SUFFIX
        table = _decode(_read(folder, name), source)
        if table is None:
            table = compile_table(elf, debug_frame)
            _write(folder, name, _encode(table, source))
            _evict(folder, keep=name)
        else:
            with contextlib.suppress(OSError):
                os.utime(name, dir_fd=folder, follow_symlinks=False)
        return table


@contextlib.contextmanager
def _own_folder(path: str) -> Iterator[int | None]:
    """A descriptor of the folder, made if need be; None unless it is ours alone to write.

    All that follows goes through the descriptor, so nobody can put another folder in its place.
    """
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (OSError, ValueError):
        yield None
        return
    try:
        info = os.fstat(folder)
        ours = info.st_uid == os.geteuid() and not info.st_mode & _SHARED
        yield folder if ours else None
    finally:
        os.close(folder)


def _digest(elf: Elf, debug_frame: bytes) -> bytes:
    """What the table is made from: the segments and the frame sections, in 16 bytes."""
    sections = frame_sections(elf, debug_frame)
    digest = hashlib.blake2b(digest_size=16)
    sizes = [(name, section.vaddr, len(section.data)) for name, section in sections.items()]
    digest.update(repr((elf.segments, sizes)).encode())
    for section in sections.values():
        digest.update(section.data)
    return digest.digest()


def _encode(table: UnwindTable, source: bytes) -> bytes:
    body = _BODY.pack(source, table.base, len(table.rows), len(table.pages))
    crc = zlib.crc32(table.pages, zlib.crc32(table.rows, zlib.crc32(body)))
    head = _HEAD.pack(_MAGIC, _FORMAT, COMPILER_VERSION, crc)
    return b"".join((head, body, table.rows, table.pages))


def _decode(data: bytes | None, source: bytes) -> UnwindTable | None:
    """The table in a file's bytes; None if they are not one, or one of another file or version."""
    if data is None or len(data) < _HEAD.size + _BODY.size:
        return None
    magic, version, compiler, crc = _HEAD.unpack_from(data)
    if (magic, version, compiler) != (_MAGIC, _FORMAT, COMPILER_VERSION):
        return None
    made_from, base, rows_size, pages_size = _BODY.unpack_from(data, _HEAD.size)
    rows_at = _HEAD.size + _BODY.size
    pages_at = rows_at + rows_size
    if made_from != source or len(data) != pages_at + pages_size:
        return None
    if zlib.crc32(memoryview(data)[_HEAD.size :]) != crc:
        return None
    return UnwindTable(base, data[rows_at:pages_at], data[pages_at:])


def _read(folder: int, name: str) -> bytes | None:
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        with open(os.open(name, flags, dir_fd=folder), "rb") as file:
            info = os.fstat(file.fileno())
            if not stat.S_ISREG(info.st_mode) or info.st_size > _FILE_MAX:
                return None
            return file.read()
    except OSError:
        return None


def _write(folder: int, name: str, data: bytes) -> None:
    """Put a file into the folder, whole or not at all; a failure leaves nothing behind."""
    temporary = f".{os.urandom(8).hex()}{_TEMPORARY}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(temporary, flags, mode=0o600, dir_fd=folder)
    except OSError:
        return
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
        os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        _remove(folder, temporary)


def _evict(folder: int, keep: str) -> None:
    """Remove what was used least recently, until the folder is within its bound.

    Another recorder may do the same at the same time: what is gone already is no error, and a table
    that it has open stays readable.
    """
    now = time.time()
    tables: list[tuple[float, int, str]] = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            info = entry.stat(follow_symlinks=False)
            if entry.name.endswith(_SUFFIX):
                tables.append((info.st_mtime, info.st_size, entry.name))
            elif entry.name.endswith(_TEMPORARY) and now - info.st_mtime > _ABANDONED_S:
                _remove(folder, entry.name)
    total = sum(size for _, size, _ in tables)
    for _, size, name in sorted(tables):
        if total <= FOLDER_MAX:
            break
        if name != keep:
            _remove(folder, name)
            total -= size


def _remove(folder: int, name: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(name, dir_fd=folder)
