"""The frame of the file: its head, and the head of each block (docs/format.md has every byte)."""

from __future__ import annotations

import enum
import struct
import zlib
from typing import Final, NamedTuple

MAGIC: Final = b"\x93mixstk\n"
VERSION: Final = 1
BLOCK_MAGIC: Final = b"MXBK"

RAW_MAX: Final = 64 << 20
"""Bytes that a block may unpack to: what a reader must be ready to hold."""
STORED_MAX: Final = RAW_MAX + (1 << 20)

_FILE_HEAD: Final = struct.Struct("<8sII")
_BLOCK_HEAD: Final = struct.Struct("<4sHHIIIII")
_CRC: Final = struct.Struct("<I")
FILE_HEAD_SIZE: Final = _FILE_HEAD.size
BLOCK_HEAD_SIZE: Final = _BLOCK_HEAD.size


class BlockType(enum.IntEnum):
    """What a block holds. A reader skips types that it does not know."""

    RECORDING = 1
    MODULES = 2
    PROCESSES = 3
    MAPPINGS = 4
    CODES = 5
    SYMBOLS = 6
    KERNEL_SYMBOLS = 7
    SOURCE_CALLS = 11
    SAMPLES = 8
    FOOTER = 9
    JIT_SYMBOLS = 10
    THREAD_NAMES = 12


class BlockHead(NamedTuple):
    """The head of a block. `sequence` counts from 0, so a gap shows how many blocks are missing."""

    type: int
    sequence: int
    stored_size: int
    raw_size: int
    payload_crc: int


class Malformed(Exception):
    """Bytes that are not what the format says; a reader treats their block as damaged."""


def pack_file_head(version: int = VERSION) -> bytes:
    """The first `FILE_HEAD_SIZE` bytes of a capture."""
    head = _FILE_HEAD.pack(MAGIC, version, 0)[:-4]
    return head + _CRC.pack(zlib.crc32(head))


def unpack_file_head(data: bytes) -> int:
    """The version of the file. Raises Malformed if the head is cut, foreign or damaged."""
    if len(data) < FILE_HEAD_SIZE:
        raise Malformed("the head of the file is cut off")
    magic, version, crc = _FILE_HEAD.unpack_from(data)
    if magic != MAGIC or zlib.crc32(data[: FILE_HEAD_SIZE - 4]) != crc:
        raise Malformed("the head of the file is damaged")
    return int(version)


def pack_block_head(head: BlockHead) -> bytes:
    """The `BLOCK_HEAD_SIZE` bytes before a payload."""
    packed = _BLOCK_HEAD.pack(
        BLOCK_MAGIC,
        head.type,
        0,
        head.sequence,
        head.stored_size,
        head.raw_size,
        head.payload_crc,
        0,
    )[:-4]
    return packed + _CRC.pack(zlib.crc32(packed))


def unpack_block_head(data: bytes) -> BlockHead:
    """Raises Malformed if it is cut, damaged, or claims sizes beyond the limits."""
    if len(data) < BLOCK_HEAD_SIZE:
        raise Malformed("a block head is cut off")
    magic, kind, flags, sequence, stored, raw, payload_crc, crc = _BLOCK_HEAD.unpack_from(data)
    if magic != BLOCK_MAGIC or zlib.crc32(data[: BLOCK_HEAD_SIZE - 4]) != crc:
        raise Malformed("a block head is damaged")
    if flags != 0 or stored > STORED_MAX or raw > RAW_MAX:
        raise Malformed("a block head has unknown flags or impossible sizes")
    return BlockHead(kind, sequence, stored, raw, payload_crc)
