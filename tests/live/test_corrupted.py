"""Real stacks, corrupted: they say so, or what is left of them is joined rightly."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from mixstack.merge.splice import splice
from mixstack.model import Fit, MergedStack, RawStack

from ..interpreters import SUPPORTED, Build
from ..unit.merge.corruptions import KINDS, labelled, tally
from .harness import record, running, stacks
from .programs import program

pytestmark = pytest.mark.live

STACKS = 400
# Callers of equal size in a recursion: with all evaluators gone, every marker is equally wrong.
EQUALLY_WRONG = {"all evaluators dropped": 0.2}


@pytest.mark.parametrize("build", SUPPORTED)
def test_what_was_corrupted_is_not_hidden(build: Build, tmp_path: Path) -> None:
    with running(build.command(program("mixture"))) as target:
        capture = record(target.pid, tmp_path / "out.data")
    sound: dict[RawStack, MergedStack] = {}
    for stack in stacks(capture):
        raw = stack.sample.stack
        if stack.merged.fit is Fit.EXACT and all(s.marker is not None for s in raw.segments):
            sound.setdefault(raw, stack.merged)
    made = [labelled(raw) for raw in sound][:STACKS]
    assert len(made) >= STACKS / 4
    for kind in KINDS:
        found = tally(kind, Random(1), made, splice)
        done = found.partial + found.right + found.hidden + found.alone
        assert done >= len(made) / 10, kind.name
        assert found.hidden <= EQUALLY_WRONG.get(kind.name, 0) * done, f"{kind.name}: {found}"
        if kind.hopeless:
            assert found.partial == done, f"{kind.name}: {found}"
            assert found.strays == 0, f"{kind.name}: {found}"
