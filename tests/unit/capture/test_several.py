"""The chains of several thread states, which the probe sends one after the other, as one stack.

The notation is that of test_paired.py. Markers are addresses: the outermost one is the highest.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixstack.bpf.wire import SampleFlag
from mixstack.model import ChainEnd
from tests.unit.capture.test_paired import COUNTED, CUT, PAIRED, ROOT, SETTLED, TORN, read, words

SEVERAL = SampleFlag.SEVERAL


@pytest.mark.parametrize(
    ("chain", "flags", "end", "segments"),
    [
        pytest.param("", SEVERAL, ROOT, "", id="nothing"),
        pytest.param(
            "d 10 c 20 b 30 a 40",
            SEVERAL,
            ROOT,
            "40:a 30:b 20:c 10:d",
            id="the newer one was entered last",
        ),
        pytest.param(
            "b 30 a 40 d 10 c 20", SEVERAL, ROOT, "40:a 30:b 20:c 10:d", id="and the other one"
        ),
        pytest.param(
            "d 10 b 30 c 20 a 40", SEVERAL, ROOT, "40:a 30:b 20:c 10:d", id="they call each other"
        ),
        pytest.param(
            "d 10 b 30 c 20 a 40",
            SampleFlag(0),
            ROOT,
            "40:a 20:c 30:b 10:d",
            id="without the flag the order is that of the chain",
        ),
        pytest.param(
            "e d 10 b 30 20 c a 40",
            SEVERAL,
            ROOT,
            "40:a,c 30:b 20: 10:d,e",
            id="several frames, and none, in a segment",
        ),
        pytest.param(
            "d 10 b 30 c 20 a 40",
            SEVERAL | TORN,
            ROOT,
            "40:a 30:b 20:c 10:d",
            id="the newest evaluator's record was skipped",
        ),
        pytest.param(
            "d 10 b 30 c 20 a",
            SEVERAL,
            CUT,
            "?:a 20:c 30:b 10:d",
            id="cut in a segment: what has no marker cannot be sorted in",
        ),
        pytest.param(
            "d 10 b 30 c 20 a 40", SEVERAL, CUT, "40:a 30:b 20:c 10:d", id="cut behind a segment"
        ),
        pytest.param(
            "d 10 b 20 c 20 a 40",
            SEVERAL,
            ROOT,
            "40:a 20:c 20:b 10:d",
            id="one of two equal markers is wrong: their order stays",
        ),
        pytest.param(
            "d b 10 30 c a 20 40",
            SEVERAL | PAIRED | SETTLED,
            ROOT,
            "40:a 30:b 20:c 10:d",
            id="before 3.11",
        ),
        pytest.param(
            "b 10 30 c a 20 40",
            SEVERAL | PAIRED,
            ROOT,
            "40:a 30:b 20:c 10:",
            id="before 3.11, an evaluator is being entered",
        ),
        pytest.param(
            "d b 10 30 c a 0 40",
            SEVERAL | PAIRED | SETTLED,
            ROOT,
            "40:a ?:c 30:b 10:d",
            id="before 3.11, a marker was not found",
        ),
        pytest.param(
            "d b 10 30 c a 20 40",
            SEVERAL | PAIRED | SETTLED | COUNTED,
            ROOT,
            "?:a ?:c ?:b ?:d",
            id="no marker is believed",
        ),
    ],
)
def test_rows(chain: str, flags: SampleFlag, end: ChainEnd, segments: str) -> None:
    stack = read(chain, flags, end)
    assert words(stack.segments) == segments
    assert stack.torn == bool(flags & TORN)
    if flags & SEVERAL and "?" in segments and end is ROOT:
        assert stack.chain_end is ChainEnd.INVALID  # in which order they call is not known
    else:
        assert stack.chain_end is end


owners = st.lists(st.integers(0, 2), max_size=12)
"""Of each segment, outermost first: the thread state."""


def _chain(owners: list[int], paired: bool) -> tuple[str, str]:
    """What the probe sends of such a stack, and the stack; every segment holds one frame."""
    true = [(f"{500 - 10 * i}", chr(ord("a") + i), owner) for i, owner in enumerate(owners)]
    sent: list[str] = []
    for number in range(3):
        own = [segment for segment in reversed(true) if segment[2] == number]
        if paired:
            sent += [*(name for _, name, _ in own), *(marker for marker, _, _ in own)]
        else:
            sent += [f"{name} {marker}" for marker, name, _ in own]
    return " ".join(sent), " ".join(f"{marker}:{name}" for marker, name, _ in true)


@given(owners=owners, paired=st.booleans())
def test_however_they_are_interleaved_the_stack_comes_back(owners: list[int], paired: bool) -> None:
    chain, true = _chain(owners, paired)
    flags = SEVERAL | PAIRED | SETTLED if paired else SEVERAL
    assert words(read(chain, flags).segments) == true


@given(
    entries=st.lists(st.integers(1, 60).map(str) | st.sampled_from("abcdef"), max_size=12),
    flags=st.sampled_from([SampleFlag(0), PAIRED, PAIRED | SETTLED, PAIRED | SETTLED | COUNTED]),
)
def test_whatever_is_sent_no_segment_is_lost_or_changed(
    entries: list[str], flags: SampleFlag
) -> None:
    chain = " ".join(entries)
    before = words(read(chain, flags).segments).split()
    after = words(read(chain, flags | SEVERAL).segments).split()
    assert sorted(after) == sorted(before)
    if any(segment.startswith("?") for segment in before):
        assert after == before
