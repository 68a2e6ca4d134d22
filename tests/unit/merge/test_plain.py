"""The quick join of plain stacks says what the splice says, or nothing."""

from __future__ import annotations

from random import Random

import pytest

from mixstack.bpf.wire import SampleFlag
from mixstack.capture.samples import SampleTable
from mixstack.capture.stacks import StackDecoder
from mixstack.compiled.joins import NAMELESS, SHOWN, Kind, PlainJoins
from mixstack.merge.splice import splice
from mixstack.model import (
    ChainEnd,
    CodeKey,
    Fit,
    Item,
    KernelItem,
    NativeEnd,
    NativeFrame,
    NativeItem,
    PythonFrame,
    PythonItem,
    RawStack,
    Sample,
    Segment,
    Step,
)
from tests.columns import raw
from tests.encode import encode_with_chain, marker_entry, python_entry
from tests.unit.merge.corruptions import KINDS, Corruption, labelled
from tests.unit.merge.notation import raw_stack
from tests.unit.merge.splice_cases import CASES
from tests.unit.merge.truth import true_stack

STACKS = 2000
Words = tuple[Kind, int, int]


class Numbers:
    """A number for each item, given as it is met."""

    def __init__(self) -> None:
        self._numbers: dict[Words, int] = {}
        self.joins = PlainJoins(lambda *words: [self.of(words) | SHOWN])

    def of(self, words: Words) -> int:
        return self._numbers.setdefault(words, len(self._numbers))


def words(item: Item) -> Words:
    if isinstance(item, NativeItem):
        assert item.frame.lookup_pc is not None
        return (Kind.EVALUATOR if item.evaluator else Kind.NATIVE, item.frame.lookup_pc, 0)
    if isinstance(item, KernelItem):
        return Kind.KERNEL, item.address, 0
    assert isinstance(item, PythonItem), item
    code, offset, _ = item.frame
    return Kind.PYTHON, code.address, offset & 0xFFFFFFFF | code.fingerprint << 32


def agrees(stack: RawStack) -> bool:
    """Whether the quick join says anything; if so, it must be what the splice says."""
    return agrees_on(raw(stack))


def agrees_on(wire: bytes) -> bool:
    """The same of a stack as it lies in a record, which cannot say all that the values can."""
    numbers = Numbers()
    named = numbers.joins.join(wire)
    if named is None:
        return False
    merged = splice(StackDecoder().decode(wire))
    assert list(memoryview(named.shown).cast("I")) == [numbers.of(words(i)) for i in merged.items]
    assert merged.fit is (Fit.EXACT if named.segments else Fit.NATIVE_ONLY)
    assert not merged.native_truncated
    assert not merged.python_truncated
    return True


def test_sound_stacks_are_joined_quickly() -> None:
    rng = Random(1)
    stacks = [true_stack(rng).raw for _ in range(STACKS)]
    whole = [s for s in stacks if (s.native_end, s.chain_end) == (NativeEnd.ROOT, ChainEnd.ROOT)]
    plain = [s for s in whole if {f.step for f in s.native[:-1]} <= {Step.CALLER} and not s.torn]
    assert len(plain) > STACKS / 10
    # A frame without a size, which they have now and then, is one thing that has to be asked.
    assert sum(map(agrees, stacks)) > len(plain) / 3


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_corrupted_stacks(kind: Corruption) -> None:
    rng = Random(2)
    for _ in range(STACKS):
        corrupted = kind.corrupt(rng, labelled(true_stack(rng, resync=False).raw))
        if corrupted is not None:
            agrees(corrupted)


def test_the_named_cases() -> None:
    assert sum(agrees(raw_stack(**case.given)) for case in CASES) > 1


NATIVE = tuple(
    NativeFrame(0x1000 * i, 0x9000 - 0x100 * i, Step.CALLER if i < 8 else Step.LEAF)
    for i in range(1, 9)
)
FRAMES = tuple(PythonFrame(CodeKey(0x500 + i, 7), -i) for i in range(3))
# Each marker 16 bytes below the CFA of native frame 1, 3 and 4.
SEGMENTS = tuple(
    Segment(NATIVE[at].cfa - 16, (frame,)) for at, frame in zip((1, 3, 4), FRAMES, strict=True)
)
PLAIN = RawStack(
    (0x77,), NATIVE, NativeEnd.ROOT, SEGMENTS, ChainEnd.ROOT, NATIVE[-1].cfa - 64, False, None
)
# What makes a stack one that has to be asked.
ODD: dict[str, RawStack] = {
    "torn": PLAIN._replace(torn=True),
    "counted": PLAIN._replace(counted=True),
    "the native walk's end": PLAIN._replace(native_end=NativeEnd.TRUNCATED),
    "the chain's end": PLAIN._replace(chain_end=ChainEnd.TRUNCATED),
    "a walk that died": PLAIN._replace(end_pc=4096),
    "no stack pointer": PLAIN._replace(stack_pointer=None),
    "no native frames": PLAIN._replace(native=()),
    "a signal": PLAIN._replace(
        native=(*NATIVE[:5], NATIVE[5]._replace(step=Step.SIGNAL), *NATIVE[6:])
    ),
    "a leaf in the middle": PLAIN._replace(
        native=(*NATIVE[:5], NATIVE[5]._replace(step=Step.LEAF), *NATIVE[6:])
    ),
    "a leaf that is a caller": PLAIN._replace(
        native=(*NATIVE[:-1], NATIVE[-1]._replace(step=Step.CALLER))
    ),
    "an address of 0": PLAIN._replace(native=(NATIVE[0]._replace(pc=0), *NATIVE[1:])),
    "two CFAs that are equal": PLAIN._replace(
        native=(*NATIVE[:5], NATIVE[5]._replace(cfa=NATIVE[4].cfa), *NATIVE[6:])
    ),
    "a leaf below the stack pointer": PLAIN._replace(stack_pointer=NATIVE[-1].cfa),
    "a frame that is incomplete": PLAIN._replace(
        segments=(
            *SEGMENTS[:2],
            SEGMENTS[2]._replace(frames=(FRAMES[2]._replace(incomplete=True),)),
        )
    ),
    "a segment without a marker": PLAIN._replace(segments=(Segment(None, FRAMES), *SEGMENTS[1:])),
    "a marker that is nearer": PLAIN._replace(
        segments=(*SEGMENTS[:2], Segment(NATIVE[4].cfa - 8, FRAMES))
    ),
    "a marker that is below its frame": PLAIN._replace(
        marker_span=0x110, segments=(Segment(NATIVE[4].cfa - 0x110, FRAMES),)
    ),
    "two markers in one frame": PLAIN._replace(segments=(SEGMENTS[0], SEGMENTS[0])),
    "markers in the wrong order": PLAIN._replace(segments=SEGMENTS[::-1]),
    "a marker beyond the stack": PLAIN._replace(segments=(Segment(0x9900, FRAMES), *SEGMENTS)),
}


def test_a_plain_stack() -> None:
    assert agrees(PLAIN)
    assert agrees(PLAIN._replace(marker_span=16))
    assert agrees(PLAIN._replace(segments=()))
    assert agrees(PLAIN._replace(segments=(SEGMENTS[0], Segment(SEGMENTS[1].marker, ()))))
    assert not agrees(PLAIN._replace(marker_span=24))


@pytest.mark.parametrize("name", ODD)
def test_what_is_odd(name: str) -> None:
    assert not agrees(ODD[name])


def paired(entries: list[int | PythonFrame], flags: SampleFlag) -> bytes:
    """A stack of before 3.11 with these entries, innermost first, as it lies in a record."""
    chain = [marker_entry(e) if isinstance(e, int) else python_entry(e) for e in entries]
    sample = Sample(0, 1, 1, 0, "", PLAIN)
    record = encode_with_chain(sample, chain, SampleFlag.PAIRED | flags)
    table = SampleTable()
    table.add_block(record)
    return table.columns().seen.raw(0)


MARKERS = [segment.marker or 0 for segment in SEGMENTS]
INNERMOST_FIRST = [*reversed(FRAMES), *reversed(MARKERS)]


@pytest.mark.parametrize("flags", [SampleFlag.SETTLED, SampleFlag(0)])
def test_before_3_11(flags: SampleFlag) -> None:
    assert agrees_on(paired(INNERMOST_FIRST, flags))
    assert not agrees_on(paired(INNERMOST_FIRST[:-1], flags))  # a marker is missing
    assert not agrees_on(paired([*INNERMOST_FIRST[:-1], 0], flags))  # one was not found
    assert not agrees_on(paired(INNERMOST_FIRST[1:], flags))  # a frame is missing
    assert not agrees_on(paired(INNERMOST_FIRST[::-1], flags))  # two thread states
    assert not agrees_on(paired(INNERMOST_FIRST, flags | SampleFlag.SEVERAL))


def test_what_is_shown_and_what_has_no_name() -> None:
    kinds = {
        Kind.NATIVE: [1 | SHOWN, 2],
        Kind.EVALUATOR: [3],
        Kind.PYTHON: [4 | SHOWN | NAMELESS],
        Kind.KERNEL: [5 | NAMELESS],
    }
    asked: list[Words] = []

    def name(*item: int) -> list[int]:
        asked.append((Kind(item[0]), item[1], item[2]))
        return kinds[Kind(item[0])]

    joins = PlainJoins(name)
    for _ in range(2):
        named = joins.join(raw(PLAIN))
        assert named is not None
        assert list(memoryview(named.shown).cast("I")) == [1, 4, 1, 4, 4, 1, 1, 1]
        assert named.nameless == (4, 4, 4, 5)
        assert named.segments == 3
    assert len(asked) == len(set(asked)) == 8 + 3 + 1


def test_a_stack_of_which_nothing_is_shown_is_shown() -> None:
    named = PlainJoins(lambda kind, first, second: [int(kind)]).join(raw(PLAIN))
    assert named is not None
    assert list(memoryview(named.shown).cast("I")) == [0, 1, 2, 0, 1, 2, 1, 2, 0, 0, 0, 3]


def test_many_items() -> None:
    numbers = Numbers()
    for number in range(3000):
        native = tuple(f._replace(pc=(f.pc or 0) + 16 * number) for f in NATIVE)
        named = numbers.joins.join(raw(PLAIN._replace(native=native)))
        assert named is not None
        expected = [numbers.of(words(i)) for i in splice(PLAIN._replace(native=native)).items]
        assert list(memoryview(named.shown).cast("I")) == expected
