"""Walks the blocks of a capture, around what is damaged, and counts what had to be left out."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import zstandard

from mixstack.capture.layout import (
    BLOCK_HEAD_SIZE,
    BLOCK_MAGIC,
    FILE_HEAD_SIZE,
    BlockHead,
    Malformed,
    unpack_block_head,
)

_SCAN_SIZE = 1 << 20
# Twice the largest block: beyond it a frame of zstd is not one of ours.
_WINDOW_MAX = 128 << 20


class Block(NamedTuple):
    """A sound block: its head, and its payload, unpacked."""

    head: BlockHead
    raw: bytes


@dataclass(slots=True)
class Damage:
    """What the walk could not read.

    missing: blocks, as far as their sequence numbers tell. cut: the file ends inside the last one.
    """

    missing: int = 0
    skipped_bytes: int = 0
    cut: bool = False


def _unpack(decompressor: zstandard.ZstdDecompressor, head: BlockHead, stored: bytes) -> bytes:
    """The bytes of a block. Raises Malformed if they are not what the head says.

    Nothing is unpacked before the frame itself says the size that the head promised; a frame that
    holds more or less than it says is an error of zstd.
    """
    if len(stored) != head.stored_size or zlib.crc32(stored) != head.payload_crc:
        raise Malformed("a block does not match its checksum")
    try:
        if zstandard.frame_content_size(stored) != head.raw_size:
            raise Malformed("a block claims two sizes")
        raw: bytes = decompressor.decompress(stored, allow_extra_data=False)
    except (zstandard.ZstdError, MemoryError) as e:
        raise Malformed(f"a block cannot be unpacked: {e}") from e
    return raw


def read_blocks(fd: int, size: int, damage: Damage) -> Iterator[Block]:
    """The sound blocks of the `size` bytes of `fd`, in order; `damage` is updated on the way.

    A damaged payload is passed over by its length; behind a damaged head the next sound block is
    searched for. Sequence numbers only grow: a block that was seen, or comes late, is not one.
    """
    decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_MAX)
    at, expected = FILE_HEAD_SIZE, 0
    while at < size:
        found = _head_at(fd, at, size)
        if found is None:
            following = _next_block(fd, at + 1, size, expected)
            damage.skipped_bytes += (following or size) - at
            damage.cut = following is None
            if following is None:
                # What the damaged bytes were is unknown; they are at least one block.
                damage.missing += 1
                return
            at = following
            continue
        if found.sequence < expected:
            damage.skipped_bytes += BLOCK_HEAD_SIZE + found.stored_size
            at += BLOCK_HEAD_SIZE + found.stored_size
            continue
        damage.missing += found.sequence - expected
        expected = found.sequence + 1
        payload_at = at + BLOCK_HEAD_SIZE
        at = payload_at + found.stored_size
        try:
            raw = _unpack(decompressor, found, os.pread(fd, found.stored_size, payload_at))
        except Malformed:
            damage.missing += 1
            damage.skipped_bytes += BLOCK_HEAD_SIZE + found.stored_size
            continue
        yield Block(found, raw)


def _head_at(fd: int, at: int, size: int) -> BlockHead | None:
    """The sound head at `at` of a block that ends inside the file, or None."""
    try:
        head = unpack_block_head(os.pread(fd, BLOCK_HEAD_SIZE, at))
    except Malformed:
        return None
    return head if at + BLOCK_HEAD_SIZE + head.stored_size <= size else None


def _next_block(fd: int, at: int, size: int, expected: int) -> int | None:
    """Where the next sound head of a block that has not been seen stands, or None."""
    while at < size:
        chunk = os.pread(fd, min(_SCAN_SIZE, size - at), at)
        hit = chunk.find(BLOCK_MAGIC)
        if hit < 0:
            if at + len(chunk) >= size or len(chunk) < len(BLOCK_MAGIC):
                return None
            at += len(chunk) - len(BLOCK_MAGIC) + 1
            continue
        at += hit
        head = _head_at(fd, at, size)
        if head is not None and head.sequence >= expected:
            return at
        at += 1
    return None
