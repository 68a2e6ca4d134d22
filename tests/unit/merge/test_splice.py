"""The table of the join."""

from __future__ import annotations

import pytest

from tests.unit.merge.splice_cases import CASES, Case, expected, run


@pytest.mark.parametrize("row", CASES, ids=lambda row: row.name)
def test_splice(row: Case) -> None:
    assert run(row) == expected(row)


def test_every_row_has_its_own_name() -> None:
    assert len({row.name for row in CASES}) == len(CASES)
