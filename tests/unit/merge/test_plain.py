"""The quick join of plain stacks says what the splice says, or nothing."""

from __future__ import annotations

from random import Random

import pytest

from mixstack.merge.arrange import merged_stack
from mixstack.merge.plain import join_plain
from mixstack.merge.splice import splice
from mixstack.model import RawStack
from tests.columns import plain_stack
from tests.unit.merge.corruptions import KINDS, Corruption, labelled
from tests.unit.merge.notation import raw_stack
from tests.unit.merge.splice_cases import CASES
from tests.unit.merge.truth import true_stack

STACKS = 2000


def agrees(stack: RawStack) -> bool:
    """Whether the quick join says anything; if so, it must be what the splice says."""
    plain = plain_stack(stack)
    joined = None if plain is None else join_plain(plain)
    if joined is None:
        return False
    assert merged_stack(stack, joined) == splice(stack)
    return True


def test_sound_stacks_are_joined_quickly() -> None:
    rng = Random(1)
    stacks = [true_stack(rng).raw for _ in range(STACKS)]
    plain = [stack for stack in stacks if plain_stack(stack) is not None]
    assert len(plain) > STACKS / 10
    # A frame without a size, which they have now and then, is one thing that has to be asked.
    assert sum(map(agrees, plain)) > len(plain) / 2
    assert sum(map(agrees, stacks)) <= len(plain)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_corrupted_stacks(kind: Corruption) -> None:
    rng = Random(2)
    for _ in range(STACKS):
        corrupted = kind.corrupt(rng, labelled(true_stack(rng, resync=False).raw))
        if corrupted is not None:
            agrees(corrupted)


def test_the_named_cases() -> None:
    assert sum(agrees(raw_stack(**case.given)) for case in CASES) > 1
