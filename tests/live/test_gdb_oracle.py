"""Whole mixed stacks of stopped threads are the same as a debugger's, at the very same moment.

`python -m tests.bench.gdb_oracle` does it at length.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from mixstack.model import PythonItem

from ..interpreters import SUPPORTED, Build
from .second_opinion import Outcome, compare
from .stopping import Meeting, meetings

pytestmark = pytest.mark.live

STOPS, STEPS = 10, 30
THREADS = 6
RIGHT = (Outcome.SAME, Outcome.CHANGING, Outcome.CUT, Outcome.BLIND)
CUT = 0.1  # the most of moments; a call-back by libffi passes through code without unwind tables
BOTH_KNOW = 0.5  # the least share of moments at which nothing was being changed


@pytest.mark.parametrize("build", SUPPORTED)
def test_a_debugger_sees_the_same_stacks(build: Build, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    outcomes: Counter[Outcome] = Counter()
    shapes = set()
    tampered = 0
    for meeting in meetings(build, STOPS, STEPS, tmp_path):
        outcome, text = compare(meeting)
        assert outcome in RIGHT, f"{outcome.value}\n{text}"
        outcomes[outcome] += 1
        shapes.add((len(meeting.stopped.native), len(meeting.runs or ())))
        if outcome is Outcome.SAME and not meeting.around:
            for worse in _tampered(meeting):
                assert compare(worse)[0] is Outcome.DIFFERENT
                tampered += 1
    assert outcomes.total() >= STOPS * THREADS
    assert outcomes[Outcome.SAME] >= BOTH_KNOW * outcomes.total(), outcomes
    cut = outcomes[Outcome.CUT] + outcomes[Outcome.BLIND]
    assert cut <= CUT * outcomes.total(), outcomes
    assert len(shapes) > 10
    assert tampered >= STOPS


def _tampered(meeting: Meeting) -> Iterator[Meeting]:
    """The same, but for one of mixstack's frames: one is lost, and one is in the wrong place."""
    assert meeting.stack is not None
    merged = meeting.stack.merged
    python = [i for i, item in enumerate(merged.items) if isinstance(item, PythonItem)]
    for i in python[-1:]:
        lost = merged.items[:i] + merged.items[i + 1 :]
        moved = (merged.items[i], *lost)
        for items in (lost, moved):
            stack = meeting.stack._replace(merged=merged._replace(items=items))
            yield meeting._replace(stack=stack)
