"""Every Python frame stands where the interpreter's own trampolines say it must.

The short run; `python -m tests.bench.trampoline_oracle` goes on to 1,000,000 samples.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from mixstack.model import (
    CodeKey,
    Frame,
    FrameKind,
    Item,
    MarkItem,
    MarkReason,
    NativeFrame,
    NativeItem,
    PythonFrame,
    PythonItem,
    Step,
)

from ..interpreters import Build, supported
from .harness import record, running, show, stacks
from .programs import program
from .trampoline import WRONG, Outcome, PerfMap, compare, told_to_perf

RATE_HZ = 4999
SECONDS = 1.5

MAP = PerfMap.parse(
    "1000 10 py::f:a.py\n1010 10 py::g:a.py\n1020 10 py::h:my file.py\n1030 10 py::A.__del__:a.py\n"
)


def _stub(letter: str) -> NativeItem:
    address = {"f": 0x1000, "g": 0x1010, "h": 0x1020, "d": 0x1030}[letter]
    return NativeItem(NativeFrame(address + 9, 0, Step.CALLER), evaluator=False)


def _items(text: str) -> list[Item]:
    """`F` a trampoline of f, `e` an evaluator, `f` its frame, `.` other C, `?` frames missing."""
    made: list[Item] = []
    for letter in text:
        if letter in "FGHD":
            made.append(_stub(letter.lower()))
        elif letter in "fgh":
            made.append(PythonItem(PythonFrame(CodeKey(ord(letter), 0), 0)))
        elif letter == "?":
            made.append(MarkItem(MarkReason.GAP))
        else:
            made.append(NativeItem(NativeFrame(0x5000, 0, Step.CALLER), evaluator=letter == "e"))
    return made


def _name(item: PythonItem) -> Frame:
    letter = chr(item.frame.code.address)
    return Frame(FrameKind.PYTHON, letter, "my file.py" if letter == "h" else "a.py")


@pytest.mark.parametrize(
    ("stack", "outcomes"),
    [
        pytest.param("..Fef.Geg..", {Outcome.AGREES: 2}, id="two calls"),
        pytest.param("Heh", {Outcome.AGREES: 1}, id="a blank in the file's name"),
        pytest.param("Fef.G", {Outcome.AGREES: 1, Outcome.INNERMOST_EMPTY: 1}, id="in the stub"),
        pytest.param("Fef.Ge", {Outcome.AGREES: 1, Outcome.INNERMOST_EMPTY: 1}, id="entering"),
        pytest.param("Fe..Geg", {Outcome.LOST: 1, Outcome.AGREES: 1}, id="lost further out"),
        pytest.param("Fe..De", {Outcome.FINALIZING: 1, Outcome.INNERMOST_EMPTY: 1}, id="__del__"),
        pytest.param("Feg.Gef", {Outcome.DISAGREES: 2}, id="exchanged"),
        pytest.param(
            "Fefg.Ge", {Outcome.DISAGREES: 1, Outcome.INNERMOST_EMPTY: 1}, id="too far out"
        ),
        pytest.param("ef.Geg", {Outcome.NO_TRAMPOLINE: 1, Outcome.AGREES: 1}, id="no stub"),
        pytest.param("Fef.eg", {Outcome.AGREES: 1, Outcome.NO_TRAMPOLINE: 1}, id="no inner stub"),
        pytest.param("Fef?eg", {Outcome.AGREES: 1, Outcome.NOT_COMPARED: 1}, id="a gap"),
        pytest.param("...", {}, id="no Python"),
    ],
)
def test_the_oracle_itself(stack: str, outcomes: dict[Outcome, int]) -> None:
    assert compare(_items(stack), MAP, _name, inlines_init=False) == outcomes


@pytest.mark.live
@pytest.mark.parametrize("option", ["perf", "perf_jit"])
@pytest.mark.parametrize("build", supported(lambda build: build.trampoline))
def test_every_frame_is_the_one_its_trampoline_names(
    build: Build, option: str, tmp_path: Path
) -> None:
    if option == "perf_jit" and build.minor < (3, 13):
        pytest.skip("it has no -X perf_jit")
    with (
        running(build.command("-X", option, program("mixture"))) as target,
        told_to_perf(build, target.pid) as told,
    ):
        capture = record(target.pid, tmp_path / "out.data", seconds=SECONDS, rate_hz=RATE_HZ)
        perf_map = told()
    outcomes: Counter[Outcome] = Counter()
    samples = 0
    for stack in stacks(capture):
        samples += 1
        named = dict(zip(stack.merged.items, stack.full, strict=True))
        found = compare(
            stack.merged.items, perf_map, named.__getitem__, inlines_init=build.minor == (3, 13)
        )
        assert not any(found[wrong] for wrong in WRONG), f"{found}\n{show(stack.full)}"
        outcomes += found
    assert samples > 0.3 * RATE_HZ * SECONDS
    compared = outcomes.total() - outcomes[Outcome.NOT_COMPARED]
    assert outcomes[Outcome.AGREES] > 0.9 * outcomes.total(), outcomes
    assert compared > 0.999 * outcomes.total(), outcomes
