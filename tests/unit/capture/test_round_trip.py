"""What is written is read back equal, in the order and under the keys that `Capture` promises."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from mixstack.capture.reader import read_capture
from mixstack.capture.samples import SampleTable
from mixstack.capture.writer import CaptureWriter
from mixstack.jit.model import JitSource
from mixstack.model import Sample, Symbol
from tests import strategies
from tests.encode import encode_sample
from tests.unit.capture.captures import FOOTER, RECORDING, SMALL, Contents, in_time_order, write

contents = st.builds(
    Contents,
    recording=strategies.recordings,
    modules=st.lists(strategies.modules, max_size=3).map(tuple),
    processes=st.lists(strategies.processes, max_size=3).map(tuple),
    mappings=st.lists(strategies.snapshots, max_size=3).map(tuple),
    codes=st.lists(strategies.codes, max_size=3).map(tuple),
    symbols=st.lists(strategies.symbols, max_size=3).map(tuple),
    kernel_symbols=st.lists(strategies.kernel_symbols, max_size=3).map(tuple),
    jit_symbols=st.lists(strategies.jit_symbols, max_size=3).map(tuple),
    source_calls=st.lists(strategies.source_calls, max_size=3).map(tuple),
    thread_names=st.lists(strategies.thread_names, max_size=3).map(tuple),
    samples=st.lists(strategies.samples, max_size=4).map(tuple),
    footer=strategies.footers,
)


@settings(max_examples=60, deadline=None)
@given(contents=contents, flush_every=st.integers(1, 5))
def test_everything_comes_back_equal(contents: Contents, flush_every: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "out.data")
        write(path, contents, flush_every)
        capture = read_capture(str(path))
        assert capture.file_size == path.stat().st_size
    assert capture.problem is None
    assert capture.complete
    assert capture.recording == contents.recording
    assert capture.footer == contents.footer
    assert capture.modules == {m.id: m for m in contents.modules}
    assert capture.processes == {p.pid: p for p in contents.processes}
    assert capture.codes == {(c.pid, c.key): c for c in contents.codes}
    assert Counter(s for found in capture.mappings.values() for s in found) == Counter(
        contents.mappings
    )
    assert all(s.pid == pid for pid, found in capture.mappings.items() for s in found)
    assert all(_ascend(s.time_ns for s in found) for found in capture.mappings.values())
    assert {s for found in capture.symbols.values() for s in found} == set(contents.symbols)
    assert all(s.module_id == of for of, found in capture.symbols.items() for s in found)
    assert all(_ascend(s.start for s in found) for found in capture.symbols.values())
    assert set(capture.kernel_symbols) == set(contents.kernel_symbols)
    assert _ascend(s.start for s in capture.kernel_symbols)
    assert {s for found in capture.jit_symbols.values() for s in found} == set(contents.jit_symbols)
    for pid, of_process in capture.jit_symbols.items():
        assert all(s.pid == pid for s in of_process)
        for source in JitSource:
            assert _ascend(s.order for s in of_process if s.source is source)
    assert capture.source_calls == {(c.module_id, c.vaddr): c.calls for c in contents.source_calls}
    last = {(n.pid, n.tid): n.name for n in contents.thread_names}
    assert capture.thread_names == {of: name for of, name in last.items() if name is not None}
    assert list(capture.samples()) == in_time_order(contents.samples)
    assert capture.sample_count == len(contents.samples)


def _ascend(values: Iterable[int]) -> bool:
    found = list(values)
    return found == sorted(found)


def test_samples_are_enums_and_tuples_not_numbers(tmp_path: Path) -> None:
    """Equality alone would take `0` for `NativeEnd.ROOT`."""
    write(tmp_path / "out.data", SMALL)
    written = in_time_order(SMALL.samples)
    assert [repr(s) for s in read_capture(str(tmp_path / "out.data")).samples()] == [
        repr(s) for s in written
    ]


def test_equal_stacks_are_one_object(tmp_path: Path) -> None:
    stack = SMALL.samples[0].stack
    many = tuple(Sample(i, 1, 2 + i % 3, 0, f"thread{i % 3}", stack) for i in range(9))
    write(tmp_path / "out.data", Contents(samples=many), flush_every=2)
    first, *others = read_capture(str(tmp_path / "out.data")).samples()
    assert all(s.stack is first.stack for s in others)


def test_of_a_value_written_twice_the_later_counts(tmp_path: Path) -> None:
    early, late = SMALL.modules[0], SMALL.modules[0].__class__(1, "/elsewhere", None)
    write(tmp_path / "out.data", Contents(modules=(early, late)))
    assert read_capture(str(tmp_path / "out.data")).modules == {1: late}


def test_many_samples_in_one_call_are_cut_between_records(tmp_path: Path) -> None:
    path = tmp_path / "out.data"
    samples = [SMALL.samples[i % 3]._replace(time_ns=i) for i in range(20_000)]
    data = b"".join(map(encode_sample, samples))
    assert len(data) > 2 << 20
    writer = CaptureWriter(str(path), RECORDING)
    writer.add_samples(memoryview(data))
    writer.close(FOOTER)
    capture = read_capture(str(path))
    assert capture.problem is None
    assert list(capture.samples()) == samples


def test_a_large_call_with_a_bad_record_is_kept_up_to_it(tmp_path: Path) -> None:
    record = encode_sample(SMALL.samples[0])
    good = (2 << 20) // len(record)
    for bad in (record[:-8], bytes(len(record)), record[:70]):
        path = tmp_path / "out.data"
        writer = CaptureWriter(str(path), RECORDING)
        writer.add_samples(record * good + bad)
        writer.close(FOOTER)
        capture = read_capture(str(path))
        assert capture.sample_count == good
        assert capture.problem == "1 damaged block was left out"


def test_many_values_are_cut_into_blocks(tmp_path: Path) -> None:
    path = tmp_path / "out.data"
    symbols = [Symbol(1, i, i + 1, f"function_{i}") for i in range(22_000)]
    writer = CaptureWriter(str(path), RECORDING)
    head = writer.size
    writer.add_symbols(symbols)
    assert writer.size > head
    writer.close(FOOTER)
    assert read_capture(str(path)).symbols == {1: tuple(symbols)}


def test_samples_are_written_without_a_flush_once_there_are_enough(tmp_path: Path) -> None:
    path = tmp_path / "out.data"
    writer = CaptureWriter(str(path), RECORDING)
    head = writer.size
    record = encode_sample(SMALL.samples[0])
    for _ in range((1 << 20) // len(record)):
        writer.add_samples(bytearray(record))
    assert writer.size == head
    writer.add_samples(record)
    assert writer.size == path.stat().st_size > head
    writer.abandon()


def test_more_stacks_than_there_is_room_for_at_first(tmp_path: Path) -> None:
    base = SMALL.samples[0]
    many = tuple(
        base._replace(
            time_ns=i, tid=i % 2100, stack=base.stack._replace(stack_pointer=1 + i % 2500)
        )
        for i in range(5000)
    )
    write(tmp_path / "out.data", Contents(samples=many))
    read = list(read_capture(str(tmp_path / "out.data")).samples())
    assert read == list(many)
    assert len({id(s.stack) for s in read}) == 2500


@settings(max_examples=60, deadline=None)
@given(pair=st.tuples(strategies.samples, strategies.samples))
def test_different_stacks_stay_different(pair: tuple[Sample, Sample]) -> None:
    table = SampleTable()
    one, other = pair
    flipped = one._replace(stack=one.stack._replace(torn=not one.stack.torn))
    written = [s._replace(time_ns=i) for i, s in enumerate((one, flipped, other, one))]
    table.add_block(b"".join(map(encode_sample, written)))
    assert list(table.in_time_order()) == written
