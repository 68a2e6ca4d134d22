"""Every Python frame stands where the interpreter's own trampolines say it must.

The short run; `python -m tests.bench.trampoline_oracle` goes on to 1,000,000 samples.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mixstack.model import (
    CodeKey,
    Fit,
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
from mixstack.record.describe import TRAMPOLINE

from ..interpreters import Build, supported
from .harness import record, record_enough, running, show, stacks, until
from .programs import program
from .test_grammar import most_of
from .trampoline import WRONG, Outcome, PerfMap, compare, compare_all, told_to_perf

RATE_HZ = 4999
SECONDS = 1.0
LEAST = 0.1 * RATE_HZ * SECONDS  # a busy machine gives a target less than a CPU
PHASE_S = 0.4

# Calls ever new functions. SIGUSR1 switches trampolines on, SIGUSR2 off; only once each: switched
# on again, CPython 3.14 and 3.15 crash.
SWITCHING = """
import signal, sys
asked = []
ON = int(signal.SIGUSR1)
def handler(number, frame):
    asked.append(number)
signal.signal(signal.SIGUSR1, handler)
signal.signal(signal.SIGUSR2, handler)
def inner(number):
    for bit in range(40):
        number ^= bit
    return number
def work():
    for turn in range(20):
        max((turn, 1), key=inner)
def fresh():
    work()
def spend():
    while not asked:
        type(fresh)(fresh.__code__.replace(), globals())()
print("ready", flush=True)
while True:
    spend()
    if asked.pop() == ON:
        sys.activate_stack_trampoline("perf")
    else:
        sys.deactivate_stack_trampoline()
"""

MAP = PerfMap.parse(
    "1000 10 py::f:a.py\n1010 10 py::g:a.py\n1020 10 py::h:my file.py\n1030 10 py::A.__del__:a.py\n"
)


def _stub(letter: str) -> NativeItem:
    address = {"f": 0x1000, "g": 0x1010, "h": 0x1020, "d": 0x1030}[letter]
    return NativeItem(NativeFrame(address + 9, 0, Step.CALLER), evaluator=False)


def _items(text: str) -> list[Item]:
    """`F` a trampoline of f, `e` an evaluator, `f` its frame, `.` other C; `?`, `!`: marks."""
    made: list[Item] = []
    for letter in text:
        if letter in "FGHD":
            made.append(_stub(letter.lower()))
        elif letter in "fgh":
            made.append(PythonItem(PythonFrame(CodeKey(ord(letter), 0), 0)))
        elif letter in "?!":
            made.append(MarkItem(MarkReason.GAP if letter == "?" else MarkReason.CHAIN_CUT))
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
        pytest.param(
            "Fe.Ge.He!h", {Outcome.NOT_COMPARED: 2, Outcome.AGREES: 1}, id="a chain that is cut"
        ),
        pytest.param("Fe.Ge!f", {Outcome.NOT_COMPARED: 1, Outcome.DISAGREES: 1}, id="cut, wrong"),
        pytest.param("...", {}, id="no Python"),
    ],
)
def test_the_oracle_itself(stack: str, outcomes: dict[Outcome, int]) -> None:
    assert compare(_items(stack), MAP, _name, inlines_init=False) == outcomes


@pytest.mark.live
@pytest.mark.parametrize(
    ("build", "option"),
    [
        pytest.param(*row.values, option, id=f"{row.id}-{option}", marks=row.marks)
        for option, since in (("perf", (3, 12)), ("perf_jit", (3, 13)))
        for row in supported(lambda build, since=since: build.minor >= since)
    ],
)
def test_every_frame_is_the_one_its_trampoline_names(
    build: Build, option: str, tmp_path: Path
) -> None:
    with (
        running(build.command("-X", option, program("mixture"))) as target,
        told_to_perf(build, target.pid) as told,
    ):
        capture = record_enough(
            target.pid, tmp_path / "out.data", LEAST, seconds=SECONDS, rate_hz=RATE_HZ
        )
        if option == "perf_jit":
            _interrupt(target.process)  # the last names are written at its end
        perf_map = told()
    outcomes: Counter[Outcome] = Counter()
    for stack, found in compare_all(stacks(capture), perf_map, build):
        assert not any(found[wrong] for wrong in WRONG), f"{found}\n{show(stack.full)}"
        outcomes += found
    assert outcomes[Outcome.AGREES] > 0.9 * outcomes.total(), outcomes
    assert outcomes[Outcome.NOT_COMPARED] <= most_of(outcomes.total(), 0.001), outcomes


@pytest.mark.live
@pytest.mark.parametrize("build", supported(lambda build: build.trampoline))
def test_trampolines_that_come_and_go(build: Build, tmp_path: Path) -> None:
    output = tmp_path / "out.data"
    with (
        running(build.command("-c", SWITCHING)) as target,
        told_to_perf(build, target.pid),
        ThreadPoolExecutor(1) as pool,
    ):
        switched = pool.submit(_switch, target.pid, output)
        capture = record(target.pid, output, seconds=3 * PHASE_S, rate_hz=RATE_HZ)
        switched.result()
    found = list(stacks(capture))
    fits = Counter(stack.merged.fit for stack in found)
    sound = fits[Fit.EXACT] + fits[Fit.RESYNCED]
    # Until the recorder has seen a new arena, a walk starts again at the next marker.
    assert len(found) - sound <= most_of(len(found), 0.001), fits
    assert fits[Fit.EXACT] > 0.5 * len(found), fits
    through_stubs = sum(any(frame.name == TRAMPOLINE for frame in stack.full) for stack in found)
    assert 0.05 * len(found) < through_stubs < 0.95 * len(found)
    for stack in found:
        python = [frame.name for frame in stack.frames if frame.kind is FrameKind.PYTHON]
        if python[-1:] == ["handler"]:
            python.pop()  # it may run between any two instructions
        whole = ["<module>", "spend", "fresh", "work", "inner"]
        assert python == whole[: len(python)], show(stack.full)


def _interrupt(process: subprocess.Popen[str]) -> None:
    """Until it ends: an interrupt that meets a finalizer is ignored."""
    for _ in range(30):
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=2)
            return
    raise AssertionError("it did not end")


def _switch(pid: int, output: Path) -> None:
    """On, then off, while it is being recorded: the capture's file is there from then on."""
    until(output.exists)
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        time.sleep(PHASE_S)
        os.kill(pid, number)
