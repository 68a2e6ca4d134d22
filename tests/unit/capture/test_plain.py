"""A plain stack as columns is the same stack."""

from __future__ import annotations

from random import Random

import pytest

from mixstack.capture.samples import SampleTable
from mixstack.model import ChainEnd, NativeEnd, RawStack, Sample
from tests.columns import plain_stack
from tests.encode import encode_sample
from tests.unit.merge.truth import true_stack


def is_plain(stack: RawStack) -> bool:
    """Whether the columns are given; if so, they must be the stack's."""
    table = SampleTable()
    table.add_block(encode_sample(Sample(0, 1, 1, 0, "name", stack)))
    seen = table.columns().seen
    plain = seen.plain(0)
    assert plain == plain_stack(seen.stack(0))
    return plain is not None


def test_stacks_made_at_random() -> None:
    rng = Random(1)
    plain = sum(is_plain(true_stack(rng).raw) for _ in range(500))
    assert 50 < plain < 450


@pytest.mark.parametrize(
    "odd",
    [
        {"torn": True},
        {"native_end": NativeEnd.TRUNCATED},
        {"chain_end": ChainEnd.TRUNCATED},
        {"end_pc": 4096},
        {"stack_pointer": None},
    ],
)
def test_what_is_odd_is_not_plain(odd: dict[str, object]) -> None:
    rng = Random(2)
    for _ in range(50):
        assert not is_plain(true_stack(rng).raw._replace(**odd))
