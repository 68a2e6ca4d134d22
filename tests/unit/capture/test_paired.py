"""Frames and markers that the probe sends as two lists (before 3.11), paired to segments.

Chains are written as the probe sends them, innermost first: `b a 2 1` are the frames b and a (a
called b), then the markers 2 and 1; 0 is a marker that was not found. Segments are written
outermost first, `1:a 2:b`; `?` is no marker.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixstack.bpf.wire import ChainEntry, SampleFlag
from mixstack.capture.samples import SampleTable
from mixstack.model import ChainEnd, CodeKey, PythonFrame, RawStack, Segment
from tests.encode import encode_with_chain, marker_entry, python_entry
from tests.unit.capture.captures import SMALL

PAIRED, SETTLED, COUNTED, TORN = (
    SampleFlag.PAIRED,
    SampleFlag.SETTLED,
    SampleFlag.COUNTED,
    SampleFlag.TORN,
)
ROOT, CUT = ChainEnd.ROOT, ChainEnd.TRUNCATED


def read(chain: str, flags: SampleFlag, end: ChainEnd = ROOT) -> RawStack:
    """The stack of a record with this chain."""
    sample = SMALL.samples[0]
    sample = sample._replace(stack=sample.stack._replace(chain_end=end))
    table = SampleTable()
    table.add_block(encode_with_chain(sample, [_entry(word) for word in chain.split()], flags))
    (found,) = table.in_time_order()
    return found.stack


def _entry(word: str) -> ChainEntry:
    if word.isdecimal():
        return marker_entry(int(word))
    return python_entry(PythonFrame(CodeKey(ord(word), 0), 0))


def words(segments: tuple[Segment, ...]) -> str:
    return " ".join(_word(segment) for segment in segments)


def _word(segment: Segment) -> str:
    names = (chr(frame.code.address) for frame in segment.frames)
    return f"{'?' if segment.marker is None else segment.marker}:{','.join(names)}"


@pytest.mark.parametrize(
    ("chain", "segments"),
    [
        pytest.param("", "", id="nothing"),
        pytest.param("a 1", "1:a", id="one"),
        pytest.param("c b a 3 2 1", "1:a 2:b 3:c", id="as many of both"),
        pytest.param("b a 3 2 1", "2:a 3:b", id="a marker more: greenlet's, at the root"),
        pytest.param(
            "b a 4 3 2 1", "3:a 4:b", id="two markers more: the outer ones are no frame's"
        ),
        pytest.param("c b a 3 2", "?:a 2:b 3:c", id="a marker less: the outermost frame has none"),
        pytest.param("d c b a 4 3", "?:a ?:b 3:c 4:d", id="two markers less"),
        pytest.param("b a", "?:a ?:b", id="frames only"),
        pytest.param("2 1", "", id="markers only"),
        pytest.param("c b a 3 0 1", "1:a ?:b 3:c", id="a marker was not found"),
        pytest.param("b a 0 0", "?:a ?:b", id="no marker was found"),
        pytest.param("d c 4 3 b a 2 1", "1:a 2:b 3:c 4:d", id="two thread states"),
        pytest.param(
            "d 4 3 b a 3 2 1", "2:a 3:b 4:d", id="two thread states, markers more in both"
        ),
        pytest.param(
            "d c 4 b a 2", "?:a 2:b ?:c 4:d", id="two thread states, markers less in both"
        ),
    ],
)
@pytest.mark.parametrize("end", [ROOT, CUT])
def test_settled_lists_are_paired_from_the_leaf(chain: str, segments: str, end: ChainEnd) -> None:
    assert words(read(chain, PAIRED | SETTLED, end).segments) == segments


@pytest.mark.parametrize(
    ("chain", "segments"),
    [
        pytest.param("", "", id="nothing"),
        pytest.param("b a 2 1", "1:a 2:b", id="as many of both"),
        pytest.param("b a 3 2 1", "1:a 2:b 3:", id="a marker more: an evaluator is being entered"),
        pytest.param("1", "1:", id="the first evaluator is being entered"),
        pytest.param("c b a 2 1", "1:a 2:b", id="a marker less: c is being left"),
        pytest.param("a", "", id="the last frame is being left"),
        pytest.param("b a 4 3 2 1", "?:a ?:b", id="two markers more: no marker is believed"),
        pytest.param("d c b a 2 1", "?:a ?:b ?:c ?:d", id="two markers less"),
        pytest.param("4 b a 3 2 1", "2:a 3:b 4:", id="the older thread state is inside a call"),
        pytest.param(
            "d c 3 b a 2 1", "1:a 2:b 3:c", id="the newest thread state's d is being left"
        ),
    ],
)
def test_lists_that_are_not_settled_are_paired_from_the_root(chain: str, segments: str) -> None:
    assert words(read(chain, PAIRED).segments) == segments


@pytest.mark.parametrize(
    ("chain", "segments"),
    [
        pytest.param("b a 2 1", "?:a ?:b", id="as many of both"),
        pytest.param("b a 3 2 1", "?:a ?:b", id="a marker more"),
        pytest.param("c b a 2 1", "?:a ?:b ?:c", id="a marker less"),
        pytest.param("d 4 b a 3 2 1", "2:a 3:b 4:d", id="only the older thread state's are cut"),
    ],
)
def test_cut_lists_that_are_not_settled_meet_nowhere(chain: str, segments: str) -> None:
    assert words(read(chain, PAIRED, CUT).segments) == segments


def test_frames_that_must_be_counted_have_no_markers() -> None:
    stack = read("c b a 0 0 0", PAIRED | SETTLED | COUNTED)
    assert stack.counted
    assert words(stack.segments) == "?:a ?:b ?:c"


def test_of_several_thread_states_too() -> None:
    assert words(read("c 0 b a 0 0", PAIRED | SETTLED | COUNTED).segments) == "?:a ?:b ?:c"


@pytest.mark.parametrize("flags", [SampleFlag(0), SETTLED, COUNTED, SETTLED | COUNTED])
def test_without_the_flag_a_marker_closes_the_frames_before_it(flags: SampleFlag) -> None:
    stack = read("d c 2 b a 1", flags)
    assert words(stack.segments) == "1:a,b 2:c,d"
    assert not stack.counted


def test_the_flags_are_part_of_what_makes_a_stack() -> None:
    """One table reads the same bytes in as many ways as there are flags and ends."""
    table, sample = SampleTable(), SMALL.samples[0]
    chain = [_entry(word) for word in ("b", "a", "3", "2", "1")]
    ways = [(PAIRED | SETTLED, ROOT), (PAIRED, ROOT), (PAIRED, CUT), (TORN, ROOT), (PAIRED, ROOT)]
    for number, (flags, end) in enumerate(ways):
        stack = sample.stack._replace(chain_end=end)
        table.add_block(
            encode_with_chain(sample._replace(time_ns=number, stack=stack), chain, flags)
        )
    stacks = [found.stack for found in table.in_time_order()]
    assert [words(stack.segments) for stack in stacks] == [
        "2:a 3:b",
        "1:a 2:b 3:",
        "?:a ?:b",
        "1: 2: 3:a,b",
        "1:a 2:b 3:",
    ]
    assert [stack.torn for stack in stacks] == [False, False, False, True, False]
    assert stacks[1] is stacks[4]


# --- laws -------------------------------------------------------------------------------------

numbers = st.integers(0, 4)


def _thread_state(at: int, frames: int, markers: int) -> str:
    names = [chr(ord("a") + at + i) for i in range(frames)]
    return " ".join([*reversed(names), *(str(10 * at + 10 + i) for i in reversed(range(markers)))])


@given(frames=st.lists(st.integers(1, 4), max_size=3), settled=st.booleans())
def test_what_belongs_together_is_paired(frames: list[int], settled: bool) -> None:
    """Thread states of so many frames, the outermost first: at a moment between two changes."""
    starts = [sum(frames[:i]) for i in range(len(frames))]
    states = [_thread_state(at, n, n) for at, n in zip(starts, frames, strict=True)]
    found = read(" ".join(reversed(states)), PAIRED | SETTLED if settled else PAIRED).segments
    expected = [
        f"{10 * at + 10 + i}:{chr(ord('a') + at + i)}"
        for at, n in zip(starts, frames, strict=True)
        for i in range(n)
    ]
    assert words(found) == " ".join(expected)


@given(
    counts=st.lists(st.tuples(numbers, numbers), max_size=3),
    settled=st.booleans(),
    end=st.sampled_from(ChainEnd),
)
def test_frames_keep_their_order_and_are_lost_only_where_one_is_being_left(
    counts: list[tuple[int, int]], settled: bool, end: ChainEnd
) -> None:
    starts = [5 * i for i in range(len(counts))]
    states = [_thread_state(at, f, m) for at, (f, m) in zip(starts, counts, strict=True)]
    chain = " ".join(reversed(states))
    segments = read(chain, PAIRED | SETTLED if settled else PAIRED, end).segments
    names = [word for word in chain.split()[::-1] if not word.isdecimal()]
    shown = [name for name in words(segments).replace(":", " ").split() if name.isalpha()]
    assert shown in ([names] if settled else [names, names[:-1]])
    if shown != names:
        assert end is ROOT or len(counts) > 1
        assert segments == () or segments[-1].marker is not None
    assert all(len(segment.frames) <= 1 for segment in segments)
    assert all(segment.frames for segment in segments[:-1])


@given(counts=st.lists(st.tuples(numbers, numbers), max_size=3), settled=st.booleans())
def test_markers_keep_their_order_and_none_is_made_up(
    counts: list[tuple[int, int]], settled: bool
) -> None:
    starts = [5 * i for i in range(len(counts))]
    states = [_thread_state(at, f, m) for at, (f, m) in zip(starts, counts, strict=True)]
    chain = " ".join(reversed(states))
    sent = iter([int(word) for word in chain.split()[::-1] if word.isdecimal()])
    for segment in read(chain, PAIRED | SETTLED if settled else PAIRED).segments:
        if segment.marker is not None:
            assert segment.marker in sent  # which goes on from there
