"""The ring buffer's consumer against a producer in a file that is laid out as the kernel's."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixstack.bpf.ring import Drained, Ring
from mixstack.bpf.wire import Life, Record, SampleFlag, SampleHead

SIZE = 4096
BUSY, DISCARD = 1 << 31, 1 << 30
NOTHING = Drained(b"", [], [], {}, {}, {})


class Producer:
    """The kernel's side: page 0 ours, page 1 its own, the data twice (here: written twice)."""

    def __init__(self, start: int = 0) -> None:
        page = mmap.PAGESIZE
        self.fd = os.memfd_create("ring")
        os.ftruncate(self.fd, 2 * page + 2 * SIZE)
        self._memory = mmap.mmap(self.fd, 0)
        self._data_at = 2 * page
        self.end = start
        self._memory[:8] = struct.pack("<Q", start)
        self._publish()

    def put(self, data: bytes, flags: int = 0) -> int:
        """Append a record; returns where it begins."""
        at = self.end
        record = struct.pack("<II", len(data) | flags, 0) + data
        self._write(at, record.ljust(-(-len(record) // 8) * 8, b"\0"))
        self.end += -(-len(record) // 8) * 8
        self._publish()
        return at

    def commit(self, at: int, size: int) -> None:
        """Clear the mark of a record that was being written."""
        self._write(at, struct.pack("<I", size))

    def free(self) -> int:
        return SIZE - (self.end - self.consumed)

    @property
    def consumed(self) -> int:
        return int.from_bytes(self._memory[:8], "little")

    def _publish(self) -> None:
        self._memory[mmap.PAGESIZE : mmap.PAGESIZE + 8] = struct.pack("<Q", self.end)

    def _write(self, at: int, data: bytes) -> None:
        for i, byte in enumerate(data):
            offset = (at + i) % SIZE
            self._memory[self._data_at + offset] = byte
            self._memory[self._data_at + SIZE + offset] = byte

    def close(self) -> None:
        self._memory.close()
        os.close(self.fd)


@pytest.fixture
def producer() -> Iterator[Producer]:
    made = Producer()
    yield made
    made.close()


@pytest.fixture
def ring(producer: Producer) -> Iterator[Ring]:
    made = Ring(producer.fd, SIZE)
    yield made
    made.close()


def sample(words: int, fill: int = 0, flags: int = 0, pid: int = 7) -> bytes:
    """Of process 7; at least its head up to there."""
    assert words > 1
    head = struct.pack("<IIQII", Record.SAMPLE, flags, 0, pid, fill)
    return head + bytes([fill]) * (8 * (words - 2))


def code(size: int, fill: int = 0) -> bytes:
    return struct.pack("<II", Record.CODE, 0xFFFF) + bytes([fill]) * size


def test_an_empty_ring(ring: Ring) -> None:
    assert ring.drain() == NOTHING
    assert ring.fill == 0


def test_samples_come_back_to_back_and_codes_apart(producer: Producer, ring: Ring) -> None:
    producer.put(sample(3, 1, flags=1))
    producer.put(code(5, 2))
    producer.put(sample(2, 3, flags=4))
    assert ring.fill == pytest.approx((40 + 24 + 32) / SIZE)
    drained = ring.drain()
    assert drained == Drained(
        sample(3, 1, 1) + sample(2, 3, 4), [code(5, 2)], [], {7: 2}, {7: 1 | 4}, {}
    )
    assert producer.consumed == producer.end
    assert ring.drain() == NOTHING


def test_a_record_across_the_end_of_the_data_is_whole(producer: Producer, ring: Ring) -> None:
    producer.put(sample(400))
    ring.drain()
    data = sample(200, 7)
    at = producer.put(data)
    assert at % SIZE + len(data) > SIZE
    assert ring.drain().samples == data


def test_a_busy_record_holds_back_what_follows(producer: Producer, ring: Ring) -> None:
    producer.put(sample(2, 1))
    at = producer.put(sample(2, 2), BUSY)
    producer.put(sample(2, 3))
    assert ring.drain().samples == sample(2, 1)
    assert producer.consumed == at
    assert ring.drain() == NOTHING
    producer.commit(at, len(sample(2, 2)))
    assert ring.drain().samples == sample(2, 2) + sample(2, 3)


def test_a_discarded_record_is_skipped(producer: Producer, ring: Ring) -> None:
    producer.put(sample(2, 1, flags=1))
    producer.put(sample(5, 2, flags=2), DISCARD)
    producer.put(sample(2, 3))
    assert ring.drain() == Drained(sample(2, 1, 1) + sample(2, 3), [], [], {7: 2}, {7: 1}, {})


def test_what_samples_want_is_told_by_process(producer: Producer, ring: Ring) -> None:
    for pid, flags in ((7, 1), (8, 2), (7, 4)):
        producer.put(sample(2, flags=flags, pid=pid))
    drained = ring.drain()
    assert drained.counts == {7: 2, 8: 1}
    assert drained.flags == {7: 1 | 4, 8: 2}
    assert drained.sample_count == 3


def test_lives_come_apart_and_in_order(producer: Producer, ring: Ring) -> None:
    told = [
        Life(record=Record.FORK, pid=8, parent=7, time_ns=1),
        Life(record=Record.EXEC, pid=8, time_ns=2),
        Life(record=Record.EXIT, pid=8, time_ns=3),
    ]
    for life in told:
        producer.put(bytes(life))
        producer.put(sample(2))
    drained = ring.drain()
    assert list(map(bytes, drained.lives)) == list(map(bytes, told))
    assert drained.sample_count == 3
    assert drained.codes == []


def test_where_a_table_is_missing_is_told(producer: Producer, ring: Ring) -> None:
    for flags, end_pc in ((SampleFlag.NO_TABLE, 0x7F00), (SampleFlag.KERNEL, 0x8F00)):
        head = SampleHead(record=Record.SAMPLE, flags=flags, end_pc=end_pc)
        producer.put(bytes(head))
    assert ring.drain().without_table == {0: {0x7F00}}


def test_what_was_drained_stays_when_the_ring_goes_on(producer: Producer, ring: Ring) -> None:
    producer.put(sample(300, 1))
    producer.put(code(800, 1))
    drained = ring.drain()
    producer.put(sample(400, 2))
    assert drained.samples == sample(300, 1)
    assert drained.codes == [code(800, 1)]


records = st.one_of(
    st.builds(sample, st.integers(2, 40), st.integers(0, 255)),
    st.builds(code, st.integers(0, 300), st.integers(0, 255)),
)


@given(
    start=st.integers(0, 1 << 40).map(lambda n: n * 8),
    batches=st.lists(st.lists(st.tuples(records, st.booleans()), max_size=12), max_size=12),
)
def test_everything_comes_out_once_and_in_order(
    start: int, batches: list[list[tuple[bytes, bool]]]
) -> None:
    producer = Producer(start)
    ring = Ring(producer.fd, SIZE)
    samples, codes, expected_samples, expected_codes = b"", [], b"", []
    for batch in batches:
        for data, kept in batch:
            if producer.free() < len(data) + 16:
                break
            producer.put(data, 0 if kept else DISCARD)
            if kept and data[0] == Record.SAMPLE:
                expected_samples += data
            elif kept:
                expected_codes.append(data)
        drained = ring.drain()
        samples += drained.samples
        codes += drained.codes
    ring.close()
    producer.close()
    assert (samples, codes) == (expected_samples, expected_codes)
