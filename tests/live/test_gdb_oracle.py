"""Whole mixed stacks of stopped threads are the same as a debugger's, at the very same moment.

`python -m tests.bench.gdb_oracle` does it at length.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ..interpreters import SUPPORTED, Build
from .second_opinion import Outcome, compare
from .stopping import meetings

pytestmark = pytest.mark.live

STOPS, STEPS = 10, 30
THREADS = 6
BOTH_KNOW = 0.5  # the least share of moments at which nothing was being changed


@pytest.mark.parametrize("build", SUPPORTED)
def test_a_debugger_sees_the_same_stacks(build: Build, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    outcomes: Counter[Outcome] = Counter()
    shapes = set()
    for meeting in meetings(build, STOPS, STEPS, tmp_path):
        outcome, text = compare(meeting)
        assert outcome in (Outcome.SAME, Outcome.CHANGING), f"{outcome.value}\n{text}"
        outcomes[outcome] += 1
        shapes.add((len(meeting.stopped.native), len(meeting.runs or ())))
    assert outcomes.total() >= STOPS * THREADS
    assert outcomes[Outcome.SAME] >= BOTH_KNOW * outcomes.total(), outcomes
    assert len(shapes) > 10
