"""A stack that was corrupted says so, or what is left of it is joined rightly.

The stacks are made at random from fixed seeds: two numbers may be equal by chance, and how often
that happens is part of what is tested. tests/live/test_corrupted.py does it to real stacks.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from mixstack.merge.splice import splice
from mixstack.model import RawStack
from tests.unit.merge.corruptions import KINDS, Corruption, claims_all, labelled, misplaced, tally
from tests.unit.merge.truth import true_stack

STACKS = 500
BY_CHANCE = 0.004  # two distances of a made-up stack are the same


def made_stacks(rng: Random) -> Iterator[RawStack]:
    # Not re-synced: that a frame's extent is unknown is another matter, and graded as such.
    return (labelled(true_stack(rng, resync=False).raw) for _ in range(STACKS))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_what_was_corrupted_is_not_hidden(kind: Corruption) -> None:
    found = tally(kind, Random(1), made_stacks(Random(2)), splice)
    done = found.partial + found.right + found.hidden + found.alone
    assert done >= STACKS / 2
    assert found.hidden <= BY_CHANCE * done, found
    if kind.hopeless:
        assert found.partial == done, found
        assert found.strays == 0, found


def test_sound_stacks_are_joined_rightly() -> None:
    """The check itself: it knows a right stack, and it knows a wrong one."""
    rights = wrongs = 0
    for raw in made_stacks(Random(3)):
        merged = splice(raw)
        assert claims_all(merged)
        assert misplaced(raw, merged) == []
        rights += 1
        filled = [j for j, segment in enumerate(raw.segments) if segment.frames]
        if len(filled) > 1:
            a, b = filled[:2]
            swapped = list(raw.segments)
            swapped[a] = raw.segments[a]._replace(frames=raw.segments[b].frames)
            swapped[b] = raw.segments[b]._replace(frames=raw.segments[a].frames)
            shown = [f for f in raw.segments[a].frames if not f.incomplete]
            wrongs += bool(shown) and bool(
                misplaced(raw, splice(raw._replace(segments=tuple(swapped))))
            )
    assert rights == STACKS
    assert wrongs > STACKS / 10
