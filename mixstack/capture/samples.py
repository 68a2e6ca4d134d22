"""Sample records as the probe sends them, as columns; quick: a million per merge.

A record is `struct ms_sample` of mixstack.h: a head of 72 bytes, then kernel addresses, entries of
the interpreter's chain and native frames.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from mixstack.bpf.wire import Record
from mixstack.capture.layout import Malformed
from mixstack.capture.runs import SampleRuns
from mixstack.capture.stacks import COMM, ENTRY_SIZE, FLAGS, STACK_AT, StackDecoder, check_stack
from mixstack.columns import Part, PlainStack, SampleColumns
from mixstack.model import RawStack, Sample

HEAD_SIZE: Final = 72
# Record, flags, time, pid | tid << 32, cpu, and the counts of kernel, chain and native entries.
_HEAD: Final = struct.Struct("<IIQQIHHH")
_SAMPLE: Final = int(Record.SAMPLE)

# Records that are recognised at a glance, about 60 MB; others are recognised by their parts.
_GLANCE_MAX = 1 << 16


def record_size(block: memoryview, at: int) -> int:
    """The size of the record at `at`. Raises Malformed if no sample record lies there whole."""
    if len(block) - at < HEAD_SIZE:
        raise Malformed("a sample's head is cut off")
    record, _, _, _, _, kernel, chain, native = _HEAD.unpack_from(block, at)
    size = HEAD_SIZE + 8 * kernel + ENTRY_SIZE * (chain + native)
    if record != _SAMPLE or len(block) - at < size:
        raise Malformed("a sample is not one, or its frames are cut off")
    return int(size)


class SampleTable:
    """The samples of a capture as columns; each different stack is kept once, as bytes."""

    def __init__(self) -> None:
        self._runs = SampleRuns()
        self._thread_ids = _ThreadIds()
        self._seen = _Sights()
        self._glance: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def add_block(self, raw: bytes) -> None:
        """Take the records of a block; those before a bad one are kept. Raises Malformed."""
        run = self._runs.open_run()
        glance, thread_ids, unpack = self._glance, self._thread_ids, _HEAD.unpack_from
        add_time, add_thread = run.times_ns.append, run.threads.append
        add_cpu, add_sight = run.cpus.append, run.sights.append
        at, end = 0, len(raw)
        while at < end:
            if end - at < HEAD_SIZE:
                raise Malformed("a sample's head is cut off")
            record, flags, time_ns, thread, cpu, kernel, chain, native = unpack(raw, at)
            following = at + HEAD_SIZE + 8 * kernel + ENTRY_SIZE * (chain + native)
            if record != _SAMPLE or following > end:
                raise Malformed("a sample is not one, or its frames are cut off")
            key = raw[at + STACK_AT : following]
            if flags & FLAGS:
                key += bytes((flags & FLAGS,))
            found = glance.get(key)
            if found is None:
                found = self._recognise(key)
            add_time(time_ns)
            add_thread(thread_ids[thread])
            add_cpu(cpu)
            add_sight(found)
            at = following

    def columns(self) -> SampleColumns:
        """All samples in order of time; those of the same nanosecond as they lie in the file."""
        parts = (Part(run.times_ns, run.threads, run.sights) for run in self._runs.in_time_order())
        return SampleColumns(parts, self._thread_ids.pairs, self._seen)

    def in_time_order(self) -> Iterator[Sample]:
        """The same, one by one; equal stacks are one object."""
        seen, thread_ids = self._seen, self._thread_ids.pairs
        stacks: dict[int, RawStack] = {}
        for run in self._runs.in_time_order():
            for time_ns, thread, cpu, sight in zip(*run, strict=True):
                number = seen.stack_number(sight)
                if number not in stacks:
                    stacks[number] = seen.stack(sight)
                yield Sample(time_ns, *thread_ids[thread], cpu, seen.name(sight), stacks[number])

    def _recognise(self, key: bytes) -> int:
        """The index of name and stack of a record that was not recognised at a glance."""
        if len(self._glance) >= _GLANCE_MAX:
            self._glance.clear()
        found = self._glance[key] = self._seen.add(key)
        return found


class _ThreadIds(dict[int, int]):
    """Threads by pid | tid << 32, numbered as they come; `pairs` are their (pid, tid)."""

    def __init__(self) -> None:
        self.pairs: list[tuple[int, int]] = []

    def __missing__(self, thread: int) -> int:
        number = self[thread] = len(self.pairs)
        self.pairs.append((thread & 0xFFFFFFFF, thread >> 32))
        return number


class _Sights:
    """What was seen, by its bytes in the records: each different stack once, under each name."""

    def __init__(self) -> None:
        self._stack_numbers: dict[bytes, int] = {}  # by all but the thread's name
        self._stacks: list[bytes] = []
        self._sight_numbers: dict[tuple[bytes, int], int] = {}  # by the thread's name and stack
        self._sights: list[tuple[str, int]] = []
        self._decoder = StackDecoder()

    def add(self, key: bytes) -> int:
        """The number of what a record has from STACK_AT on, with a byte of flags if it has any.

        Raises Malformed.
        """
        comm, stack = key[COMM], key[: COMM.start] + key[COMM.stop :]
        check_stack(stack)
        number = self._stack_numbers.setdefault(stack, len(self._stacks))
        if number == len(self._stacks):
            self._stacks.append(stack)
        sight = self._sight_numbers.setdefault((comm, number), len(self._sights))
        if sight == len(self._sights):
            name = comm.partition(b"\0")[0].decode("utf-8", "surrogateescape")
            self._sights.append((name, number))
        return sight

    def name(self, sight: int) -> str:
        return self._sights[sight][0]

    def stack_number(self, sight: int) -> int:
        return self._sights[sight][1]

    def stack(self, sight: int) -> RawStack:
        return self._decoder.decode(self._stacks[self._sights[sight][1]])

    def plain(self, sight: int) -> PlainStack | None:
        return self._decoder.decode_plain(self._stacks[self._sights[sight][1]])
