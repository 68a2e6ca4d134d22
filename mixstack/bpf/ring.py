"""The ring buffer between the probe and us, read in bulk through its memory.

Layout (kernel/bpf/ringbuf.c): page 0 holds our position, page 1 the probe's, then the data, mapped
twice in a row so that no record is ever split; of the second time we need but the beginning. A
record: u32 length with two flag bits, u32 unused, the data, padded to 8 bytes.
"""

from __future__ import annotations

import mmap
import struct
from typing import NamedTuple

from mixstack.bpf.wire import ADDRESS_MASK, Life, Record, SampleFlag, SampleHead

_BUSY = 1 << 31
_DISCARD = 1 << 30
# length, unused, then a sample's first fields: kind, flags, time, pid
_HEAD = struct.Struct("<IIIIQI")
_RECORD_HEAD = 8
_RECORD_MAX = 1 << 16  # no record is that long (state.bpf.h); mapped memory counts as ours
_LIVES = (int(Record.FORK), int(Record.EXEC), int(Record.EXIT))
_NO_TABLE = int(SampleFlag.NO_TABLE)
_END_PC = struct.Struct("<Q")
_END_PC_AT = SampleHead.end_pc.offset


class Drained(NamedTuple):
    """Sample records back to back, code records, and what the samples want of us.

    lives: forks, execs and exits, as they came. counts: samples by process; flags: of all samples
    of a process, or-ed; without_table: addresses in mappings whose table is missing, by process.
    """

    samples: bytes
    codes: list[bytes]
    lives: list[Life]
    counts: dict[int, int]
    flags: dict[int, int]
    without_table: dict[int, set[int]]

    @property
    def sample_count(self) -> int:
        return sum(self.counts.values())


class Ring:
    """The consumer's side. `size`: bytes of data, a power of two."""

    def __init__(self, fd: int, size: int) -> None:
        page = mmap.PAGESIZE
        self.size = size
        self._consumer = mmap.mmap(fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        length = page + size + min(size, _RECORD_MAX)
        self._producer = mmap.mmap(fd, length, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        self._ours = memoryview(self._consumer).cast("Q")
        self._theirs = memoryview(self._producer)[:8].cast("Q")
        self._data = memoryview(self._producer)[page:]

    def drain(self) -> Drained:
        """Take all finished records out."""
        at = self._ours[0]
        end = self._theirs[0]
        mask = self.size - 1
        data = self._data
        samples: list[memoryview] = []
        codes: list[bytes] = []
        lives: list[Life] = []
        counts: dict[int, int] = {}
        flags: dict[int, int] = {}
        without_table: dict[int, set[int]] = {}
        unpack = _HEAD.unpack_from
        while at < end:
            offset = at & mask
            marked, _, kind, record_flags, _, pid = unpack(data, offset)
            if marked & _BUSY:  # being written on another CPU; it and what follows stay for later
                break
            length = marked & ~_DISCARD
            at += (length + _RECORD_HEAD + 7) & ~7
            if marked & _DISCARD:
                continue
            start = offset + _RECORD_HEAD
            if kind == Record.SAMPLE:
                samples.append(data[start : start + length])
                counts[pid] = counts.get(pid, 0) + 1
                flags[pid] = flags.get(pid, 0) | record_flags
                if record_flags & _NO_TABLE:
                    (end_pc,) = _END_PC.unpack_from(data, start + _END_PC_AT)
                    without_table.setdefault(pid, set()).add(end_pc & ADDRESS_MASK)
            elif kind in _LIVES:
                lives.append(Life.from_buffer_copy(data, start))
            else:
                codes.append(bytes(data[start : start + length]))
        out = Drained(b"".join(samples), codes, lives, counts, flags, without_table)
        self._ours[0] = at  # only now may the probe write there again
        return out

    @property
    def fill(self) -> float:
        """The share of the ring that waits to be read, 0 to 1."""
        return (self._theirs[0] - self._ours[0]) / self.size

    def close(self) -> None:
        for view in (self._ours, self._theirs, self._data):
            view.release()
        self._consumer.close()
        self._producer.close()
