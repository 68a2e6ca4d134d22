"""A capture that an earlier mixstack wrote is read as it was meant."""

from __future__ import annotations

import json

import pytest

from mixstack.capture.blocks import Damage, read_blocks
from mixstack.capture.layout import BlockType
from mixstack.capture.reader import read_capture
from tests.golden.write_capture import GOLDEN, data_of, summary, summary_of


@pytest.mark.parametrize("name", GOLDEN)
def test_a_golden_capture_says_what_it_said(name: str) -> None:
    expected = json.loads(summary_of(name).read_text())
    assert summary(read_capture(str(data_of(name)))) == expected


def test_codes_of_mixstack_0_1_have_no_version() -> None:
    old, new = (
        read_capture(str(data_of(name))).codes.values() for name in ("small", "before_3_11")
    )
    assert {code.version for code in old} == {None}
    assert {code.version for code in new} == {(3, 10, 13), (3, 9, 18)}


def test_one_has_every_type_of_block() -> None:
    damage = Damage()
    with data_of("everything").open("rb") as file:
        size = data_of("everything").stat().st_size
        found = {block.head.type for block in read_blocks(file.fileno(), size, damage)}
    assert found == set(BlockType)
    assert damage == Damage()
