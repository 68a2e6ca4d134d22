"""From a capture and a namer to a profile; both are small stand-ins here."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field

import pytest

from mixstack.columns import SampleColumns
from mixstack.compiled.joins import Named, PlainJoins
from mixstack.merge import lines
from mixstack.merge.numbers import FrameNumbers
from mixstack.merge.profile import ALL, Wanted, build_profile
from mixstack.model import (
    ChainEnd,
    Fit,
    Footer,
    Frame,
    FrameKind,
    Item,
    KernelItem,
    Losses,
    NativeEnd,
    NativeItem,
    Profile,
    PythonItem,
    RawStack,
    Recording,
    Sample,
    ThreadProfile,
)
from tests.columns import columns
from tests.unit.merge.notation import name_of, raw_stack

RATE = 100
PERIOD = 10_000_000
START = 5_000_000_000
RECORDING = Recording(
    mixstack_version="1.2",
    command=("python", "my app.py"),
    rate_hz=RATE,
    event="cpu-clock",
    start_ns=START,
    start_unix_ns=0,
    hostname="host",
    kernel="6.1",
    machine="x86_64",
    cpus=2,
)
LOSSES = Losses(ring_full=3)


@dataclass
class FakeCapture:
    taken: list[Sample]
    footer: Footer | None = None
    complete: bool = True
    recording: Recording = RECORDING
    thread_names: dict[tuple[int, int], str] = field(default_factory=dict)

    def columns(self) -> SampleColumns:
        return columns(self.taken)


@dataclass
class FakeNamer:
    """Names frames as the notation does; `run` is plumbing; `?` names are unresolved."""

    asked: list[Item] = field(default_factory=list)
    generations: tuple[int, ...] = ()
    modules: dict[str, str] = field(default_factory=dict)
    inlined: bool = False

    def has_module(self, pid: int, prefixes: tuple[str, ...]) -> bool:
        return False

    def generation(self, pid: int, time_ns: int) -> int:
        return sum(time_ns >= start for start in self.generations)

    def frames(self, pid: int, time_ns: int, item: Item) -> tuple[Frame, ...]:
        frame = self.frame(pid, time_ns, item)
        return (frame, frame._replace(name="small", inlined=True)) if self.inlined else (frame,)

    def frame(self, pid: int, time_ns: int, item: Item) -> Frame:
        self.asked.append(item)
        if isinstance(item, NativeItem):
            assert item.frame.pc is not None
            name = name_of(item.frame.pc)
            if name.startswith("eval"):
                name = "_PyEval_EvalFrameDefault"
            if self.generations:
                name += f"/{self.generation(pid, time_ns)}"
            return Frame(
                FrameKind.NATIVE,
                name,
                self.modules.get(name),
                plumbing=item.evaluator or name == "run",
                resolved=not name.startswith("?"),
            )
        if isinstance(item, PythonItem):
            name = name_of(item.frame.code.address)
            return Frame(FrameKind.PYTHON, name, resolved=not name.startswith("?"))
        if isinstance(item, KernelItem):
            return Frame(FrameKind.KERNEL, name_of(item.address), resolved=False)
        return Frame(FrameKind.MARK, item.reason.value)


SORT = raw_stack("run@900 evalA@800 sort@700", "760:main")
WAIT = raw_stack("run@900 evalA@800 wait@650", "760:main", kernel="futex")
CLEANUP = raw_stack("run@900")


def sample(period: float, stack: RawStack, tid: int = 1, pid: int = 10, name: str = "t") -> Sample:
    return Sample(START + int(period * PERIOD), pid, tid, 0, name, stack)


def footer(periods: int) -> Footer:
    return Footer(START + periods * PERIOD, 0, LOSSES, "duration")


def build(
    *samples: Sample,
    end: Footer | None = None,
    show_interpreter: bool = False,
    wanted: Wanted = ALL,
    thread_names: dict[tuple[int, int], str] | None = None,
) -> Profile:
    return build_profile(
        FakeCapture(list(samples), end, thread_names=thread_names or {}),
        FakeNamer(),
        show_interpreter=show_interpreter,
        wanted=wanted,
    )


def shown(profile: Profile, thread: int = 0) -> list[tuple[str, float]]:
    """A thread's line: stacks as words, durations in periods."""
    line = profile.threads[thread]
    return [
        (" ".join(profile.frames[n].name for n in profile.stacks[i]), duration / PERIOD)
        for i, duration in zip(line.stack_ids, line.durations_ns, strict=True)
    ]


def test_a_thread_in_order_of_time() -> None:
    profile = build(
        sample(1, SORT), sample(2, SORT), sample(3, WAIT), sample(6, SORT), end=footer(8)
    )
    assert shown(profile) == [
        ("", 1),
        ("main sort", 2),
        ("main wait futex", 1),
        ("", 2),
        ("main sort", 1),
        ("", 1),
    ]
    assert profile.threads[0].start_ns == START
    assert profile.threads[0].end_ns == START + 8 * PERIOD
    assert profile.period_ns == PERIOD
    assert profile.title == "python 'my app.py'"
    assert profile.exporter == "mixstack 1.2"


def test_stack_0_is_the_empty_one_and_each_is_there_once() -> None:
    again = raw_stack("run@930 evalA@830 sort@730", "790:main")  # elsewhere, the same names
    profile = build(sample(0, SORT), sample(1, again), sample(2, WAIT))
    assert profile.stacks[0] == ()
    assert len(profile.stacks) == len(set(profile.stacks)) == 3
    assert shown(profile) == [("main sort", 2), ("main wait futex", 1)]


def test_python_s_name_of_a_thread_comes_before_the_kernel_s() -> None:
    profile = build(
        sample(0, SORT, tid=2, name="python3"),
        sample(0, SORT, tid=3, name="python3"),
        thread_names={(10, 3): "feeder of the database", (11, 2): "another process'"},
    )
    assert [t.name for t in profile.threads] == ["python3", "feeder of the database"]


def test_threads_are_sorted_and_bear_their_last_name() -> None:
    profile = build(
        sample(0, SORT, tid=9, pid=11, name="other"),
        sample(0, SORT, tid=3, name="python"),
        sample(0, SORT, tid=2, name="python"),
        sample(1, SORT, tid=3, name="worker"),
    )
    assert [(t.pid, t.tid, t.name) for t in profile.threads] == [
        (10, 2, "python"),
        (10, 3, "worker"),
        (11, 9, "other"),
    ]


@pytest.mark.parametrize(
    ("wanted", "kept"),
    [
        pytest.param(Wanted(), [(10, 1), (10, 2), (11, 3)], id="all"),
        pytest.param(Wanted(pids=frozenset({11})), [(11, 3)], id="a process"),
        pytest.param(Wanted(threads=frozenset({1, 3})), [(10, 1), (11, 3)], id="two threads"),
        pytest.param(Wanted(threads=frozenset({1, "feeder"})), [(10, 1), (11, 3)], id="or named"),
        pytest.param(Wanted(threads=frozenset({"pool"})), [], id="the kernel's name is another"),
        pytest.param(Wanted(comms=frozenset({"pool"})), [(10, 2), (11, 3)], id="a name"),
        pytest.param(
            Wanted(frozenset({10}), comms=frozenset({"pool"})), [(10, 2)], id="both must fit"
        ),
        pytest.param(Wanted(pids=frozenset({12})), [], id="none"),
    ],
)
def test_only_what_is_wanted_counts(wanted: Wanted, kept: list[tuple[int, int]]) -> None:
    profile = build(
        sample(0, SORT, tid=1, pid=10, name="main"),
        sample(0, SORT, tid=2, pid=10, name="pool"),
        sample(0, WAIT, tid=3, pid=11, name="pool"),
        wanted=wanted,
        thread_names={(11, 3): "feeder"},
    )
    assert [(t.pid, t.tid) for t in profile.threads] == kept
    assert profile.quality.samples == len(kept)


def test_all_threads_share_one_span_of_time() -> None:
    profile = build(sample(0, SORT, tid=1), sample(4, SORT, tid=2))
    for thread in profile.threads:
        assert (thread.start_ns, thread.end_ns) == (START, START + 5 * PERIOD)
        assert sum(thread.durations_ns) == 5 * PERIOD


def test_a_sample_behind_the_end_moves_the_end() -> None:
    profile = build(sample(4, SORT), end=footer(3))
    assert profile.threads[0].end_ns == START + 4 * PERIOD


def test_no_samples() -> None:
    profile = build()
    assert profile.threads == ()
    assert profile.stacks == ((),)
    assert profile.quality.samples == 0
    assert profile.quality.fits == {}


def test_the_interpreter_is_shown_when_asked_for() -> None:
    profile = build(sample(0, SORT), show_interpreter=True)
    assert shown(profile) == [("run _PyEval_EvalFrameDefault main sort", 1)]


def test_a_stack_of_nothing_but_plumbing_is_not_time_off_the_cpu() -> None:
    assert shown(build(sample(0, CLEANUP))) == [("run", 1)]
    numbers = FrameNumbers(show_interpreter=False)
    plumbing = numbers.number(Frame(FrameKind.NATIVE, "run", plumbing=True))
    other = numbers.number(Frame(FrameKind.NATIVE, "sort"))
    assert numbers.visible((plumbing, other)) == array("I", [other]).tobytes()
    assert numbers.visible((plumbing,)) == array("I", [plumbing]).tobytes()
    assert numbers.visible(()) == b""


def test_quality_counts_samples_not_stacks() -> None:
    lost = raw_stack(
        "?a@900 ?b@800 ?a@700", "", native_end=NativeEnd.TRUNCATED, chain_end=ChainEnd.NOT_PYTHON
    )
    chain = raw_stack("run@900 evalA@800", "760:?main,?f", chain_end=ChainEnd.TRUNCATED)
    quality = build(
        sample(0, SORT),
        sample(1, lost),
        sample(2, lost),
        sample(3, WAIT),
        sample(4, chain),
        end=footer(5),
    ).quality
    assert quality.samples == 5
    assert quality.fits == {Fit.EXACT: 2, Fit.PARTIAL: 3}
    assert quality.native_truncated == 2
    assert quality.python_truncated == 1
    assert quality.unresolved_frames == 6
    assert quality.unresolved_distinct == 2
    assert quality.unnamed_codes == 2
    assert quality.losses == LOSSES
    assert quality.complete


def test_an_incomplete_capture_is_said_to_be_so() -> None:
    capture = FakeCapture([sample(0, SORT)], complete=False)
    quality = build_profile(capture, FakeNamer(), show_interpreter=False).quality
    assert not quality.complete
    assert quality.losses == Losses()


def counted_joins(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The stacks that are joined from now on, as they lie in a record."""
    joined: list[bytes] = []
    real = PlainJoins.join

    def join(self: PlainJoins, stack: bytes) -> Named | None:
        joined.append(stack)
        return real(self, stack)

    monkeypatch.setattr(PlainJoins, "join", join)
    return joined


def test_equal_stacks_are_joined_and_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    joined = counted_joins(monkeypatch)
    namer = FakeNamer()
    capture = FakeCapture([sample(i, SORT) for i in range(50)])
    build_profile(capture, namer, show_interpreter=False)
    assert len(joined) == 1
    # Once per item, and for the function that held the marker.
    assert len(namer.asked) == 5


def test_a_stack_is_named_anew_after_the_mappings_changed() -> None:
    namer = FakeNamer(generations=(START + 2 * PERIOD,))
    capture = FakeCapture([sample(i, CLEANUP) for i in range(4)])
    profile = build_profile(capture, namer, show_interpreter=False)
    assert shown(profile) == [("run/0", 2), ("run/1", 2)]


def test_equal_stacks_of_differently_named_threads_are_joined_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    joined = counted_joins(monkeypatch)
    profile = build(*(sample(i, SORT, tid=i, name=f"worker {i}") for i in range(5)))
    assert len(joined) == 1
    assert [thread.name for thread in profile.threads] == [f"worker {i}" for i in range(5)]
    assert profile.quality.samples == 5


def test_long_time_lines_are_thinned_and_no_time_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [sample(i, (SORT, WAIT, CLEANUP)[i % 3], tid=i % 2) for i in range(40_000)]
    whole = build(*samples)
    assert whole.thinned_ns == 0
    monkeypatch.setattr(lines, "TURNS_MAX", 1000)
    thinned = build(*samples)
    assert thinned.stacks == whole.stacks
    assert thinned.quality == whole.quality
    assert thinned.thinned_ns > PERIOD
    assert sum(len(thread.stack_ids) for thread in thinned.threads) <= 1000
    for thread, before in zip(thinned.threads, whole.threads, strict=True):
        assert (thread.tid, thread.start_ns, thread.end_ns) == (
            before.tid,
            before.start_ns,
            before.end_ns,
        )
        assert time_by_stack(thread) == time_by_stack(before)


def time_by_stack(thread: ThreadProfile) -> Counter[int]:
    spent = Counter[int]()
    for stack_id, duration_ns in zip(thread.stack_ids, thread.durations_ns, strict=True):
        spent[stack_id] += duration_ns
    return spent


# A chain cut inside its only segment: nothing on the stack says which frame ran it.
DEEP = raw_stack("run@900 code@800", "?:f,f", chain_end=ChainEnd.TRUNCATED)
DEEP_IN_SYMBOL = raw_stack("run@900 eval@800", "?:f,f", chain_end=ChainEnd.TRUNCATED)
SHALLOW = raw_stack("run@900 code@800", "760:f")


@pytest.mark.parametrize(
    ("samples", "last"),
    [
        pytest.param([DEEP], "[truncated] f f [unplaced Python frames] code", id="nothing known"),
        pytest.param([SHALLOW, DEEP], "[truncated] f f", id="the function held a marker before"),
        pytest.param([DEEP_IN_SYMBOL], "[truncated] f f", id="the symbol is the evaluator's"),
    ],
)
def test_where_the_frames_of_a_cut_chain_go(samples: list[RawStack], last: str) -> None:
    profile = build(*(sample(i, stack) for i, stack in enumerate(samples)))
    assert shown(profile)[-1][0] == last


def test_a_marker_in_another_process_proves_nothing() -> None:
    profile = build(sample(0, SHALLOW, pid=10), sample(0, DEEP, pid=11))
    assert "[unplaced Python frames]" in shown(profile, 1)[-1][0]


def test_progress_is_told() -> None:
    heard: list[int] = []
    capture = FakeCapture([sample(i, SORT) for i in range(40_000)])
    build_profile(capture, FakeNamer(), show_interpreter=False, progress=heard.append)
    assert heard == [16_384, 32_768, 40_000]
