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
from mixstack.columns import Part, SampleColumns
from mixstack.compiled.samples import SampleReader
from mixstack.model import RawStack, Sample

HEAD_SIZE: Final = 72
# Record, flags, time, pid | tid << 32, cpu, and the counts of kernel, chain and native entries.
_HEAD: Final = struct.Struct("<IIQQIHHH")
_FLAGS_AT: Final = 4  # their lowest byte
_SAMPLE: Final = int(Record.SAMPLE)


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
        self._reader = SampleReader(FLAGS)
        self._seen = _Sights()

    def __len__(self) -> int:
        return len(self._runs)

    def add_block(self, raw: bytes) -> None:
        """Take the records of a block; those before a bad one are kept. Raises Malformed."""

        def recognise(start: int, end: int) -> tuple[int, bytes]:
            key = raw[start + STACK_AT : end]
            flags = raw[start + _FLAGS_AT] & FLAGS
            return self._seen.add(key + bytes((flags,)) if flags else key)

        if not self._reader.read(raw, self._runs.open_run(), recognise):
            raise Malformed("a sample is not one, or it is cut off")

    def columns(self) -> SampleColumns:
        """All samples in order of time; those of the same nanosecond as they lie in the file."""
        parts = (Part(run.times_ns, run.threads, run.sights) for run in self._runs.in_time_order())
        return SampleColumns(parts, self._reader.threads, self._seen)

    def in_time_order(self) -> Iterator[Sample]:
        """The same, one by one; equal stacks are one object."""
        seen, thread_ids = self._seen, self._reader.threads
        stacks: dict[int, RawStack] = {}
        for run in self._runs.in_time_order():
            for time_ns, thread, cpu, sight in zip(*run, strict=True):
                number = seen.stack_number(sight)
                if number not in stacks:
                    stacks[number] = seen.stack(sight)
                yield Sample(time_ns, *thread_ids[thread], cpu, seen.name(sight), stacks[number])


class _Sights:
    """What was seen, by its bytes in the records: each different stack once, under each name."""

    def __init__(self) -> None:
        self._stack_numbers: dict[bytes, int] = {}  # by all but the thread's name
        self._stacks: list[bytes] = []
        self._sights: list[tuple[str, int]] = []
        self._decoder = StackDecoder()

    def add(self, key: bytes) -> tuple[int, bytes]:
        """Number what a record has from STACK_AT on, with a byte of flags if it has any.

        Never given before. Returns the number, and the stack, which stays. Raises Malformed.
        """
        comm, stack = key[COMM], key[: COMM.start] + key[COMM.stop :]
        number = self._stack_numbers.get(stack)
        if number is None:
            check_stack(stack)
            number = self._stack_numbers[stack] = len(self._stacks)
            self._stacks.append(stack)
        name = comm.partition(b"\0")[0].decode("utf-8", "surrogateescape")
        self._sights.append((name, number))
        return len(self._sights) - 1, self._stacks[number]

    def name(self, sight: int) -> str:
        return self._sights[sight][0]

    def stack_number(self, sight: int) -> int:
        return self._sights[sight][1]

    def stack(self, sight: int) -> RawStack:
        return self._decoder.decode(self.raw(sight))

    def raw(self, sight: int) -> bytes:
        return self._stacks[self._sights[sight][1]]
