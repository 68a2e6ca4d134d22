"""Nothing gets more than a tenth dearer unnoticed.

Where it must: `python -m tests.guard.record` (as root) writes down the new counts.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from . import measure
from .record import recorded

SLACK = 1.1
RENEW = "if that is meant: python -m tests.guard.record"


def dearer(now: dict[str, float], before: dict[str, float]) -> list[str]:
    """A sentence for each count that grew too much."""
    return [
        f"{name}: {before[name]:.0f} became {value:.0f}; {RENEW}"
        for name, value in now.items()
        if value > before[name] * SLACK
    ]


def test_merge_and_capture(tmp_path: Path) -> None:
    assert dearer(measure.offline(tmp_path), recorded()) == []


def test_imports() -> None:
    assert dearer(measure.imports(), recorded()) == []


@pytest.mark.parametrize(("value", "said"), [(110.0, 0), (111.0, 1), (50.0, 0)])
def test_a_tenth_more_is_too_much(value: float, said: int) -> None:
    assert len(dearer({"calls": value}, {"calls": 100.0})) == said
