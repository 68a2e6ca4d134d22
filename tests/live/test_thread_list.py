"""Without a known thread-local slot the thread state is found by the interpreter's own list."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import pytest

from mixstack.model import ChainEnd, Fit
from mixstack.record import follow
from mixstack.target.interpreter import FoundInterpreter

from ..interpreters import SUPPORTED, Build
from .harness import record_enough, running, stacks
from .test_grammar import LEARNING

pytestmark = pytest.mark.live

# A thread that holds the GIL, one that has released it in C, and forty that sleep before them in
# the list.
PROGRAM = """
import threading, time, zlib
def busy():
    while True: sum(range(1000))
def packing():
    data = bytes(range(256)) * 4096
    while True: zlib.compress(data, 6)
threading.Thread(target=packing, daemon=True).start()
for _ in range(40):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
print("ready", flush=True)
busy()
"""


@pytest.mark.parametrize("build", SUPPORTED)
def test_every_thread_finds_its_own_state(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = follow.find_interpreter
    asked = []

    def without_slot(*arguments: object, **options: object) -> object:
        found = find(*arguments, **options)  # type: ignore[arg-type]
        if isinstance(found, FoundInterpreter):
            asked.append(found.tss_slot_offset)
            return dataclasses.replace(found, tss_slot_offset=None)
        return found

    monkeypatch.setattr(follow, "find_interpreter", without_slot)
    with running(build.command("-c", PROGRAM)) as target:
        capture = record_enough(
            target.pid, tmp_path / "out.data", LEARNING + 100, seconds=0.5, rate_hz=1999
        )
    assert any(asked), "there was a slot to do without"
    fits: Counter[Fit] = Counter()
    functions = set()
    for index, stack in enumerate(stacks(capture)):
        if stack.merged.fit is Fit.COUNTED:
            assert build.minor < (3, 10)
            assert index < LEARNING
        else:
            fits[stack.merged.fit] += 1
        assert stack.sample.stack.chain_end is ChainEnd.ROOT
        functions |= {frame.name for frame in stack.frames if frame.name in ("busy", "packing")}
    assert functions == {"busy", "packing"}
    assert fits.total() >= 100
    assert fits[Fit.EXACT] + fits[Fit.RESYNCED] >= 0.999 * fits.total(), fits
