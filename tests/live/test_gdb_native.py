"""Native stacks of stopped threads are the same as a debugger's, pc by pc and CFA by CFA.

`python -m tests.bench.gdb_native` does it at length, and with libraries that are not here.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..bench.native_programs import PROGRAMS, NativeProgram, build
from .native_opinion import Judge, Outcome
from .stopping import Meeting, native_meetings

pytestmark = pytest.mark.live

STOPS = 12
WORDS = ("hashlib", "clock", "signal handler", "call-backs", "child")
RIGHT = (Outcome.SAME, Outcome.CUT, Outcome.BLIND, Outcome.GUESSED)


@pytest.mark.parametrize(
    "program", [p for p in PROGRAMS if any(w in p.name for w in WORDS)], ids=lambda p: p.name
)
def test_a_debugger_sees_the_same_native_frames(program: NativeProgram, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    command = build(sys.executable, program, tmp_path)
    meetings, capture = native_meetings(command, STOPS, tmp_path, child=program.child)
    judge = Judge(capture)
    outcomes: Counter[Outcome] = Counter()
    for meeting in meetings:
        outcome, text = judge.compare(meeting)
        assert outcome in RIGHT, f"{outcome.value}\n{text}"
        outcomes[outcome] += 1
        if outcome is Outcome.SAME:
            for worse in _tampered(meeting):
                assert judge.compare(worse)[0] is Outcome.DIFFERENT
    assert outcomes.total() >= STOPS
    assert outcomes[Outcome.SAME] >= 0.8 * STOPS, outcomes


def _tampered(meeting: Meeting) -> Iterator[Meeting]:
    """The same, but our walk lost a frame, took one with another CFA, or ended one too early."""
    stack = meeting.stack
    assert stack is not None
    raw = stack.sample.stack
    middle = len(raw.native) // 2
    frame = raw.native[middle]
    for native in (
        (*raw.native[:middle], *raw.native[middle + 1 :]),
        (*raw.native[:middle], frame._replace(cfa=frame.cfa + 16), *raw.native[middle + 1 :]),
        raw.native[1:],
    ):
        sample = stack.sample._replace(stack=raw._replace(native=native))
        yield meeting._replace(stack=stack._replace(sample=sample))
