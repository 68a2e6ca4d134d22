"""CPython's own JIT: machine code without unwind tables, in memory without a name.

3.14 keeps no frame pointer there: the native walk starts again at the next marker. 3.15 does keep
one. The programs are those of test_grammar, and so are their legal stacks: the JIT changes how a
program runs and not what it calls.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from mixstack.model import Fit, Frame, FrameKind, MarkReason
from mixstack.record.describe import ANONYMOUS

from ..interpreters import Build, supported
from .grammar import Verdict, bare_evaluators
from .harness import Stack, nameless_modules, record, running, show, stacks
from .programs import legal_stacks, program
from .test_grammar import IMPERFECT, most_of

pytestmark = pytest.mark.live

RATE_HZ = 4999
SECONDS = 0.5
JIT = {"PYTHON_JIT": "1"}
SOUND = (Fit.EXACT, Fit.RESYNCED, Fit.NATIVE_ONLY)
# The program, and the least share of its samples that have JIT code in them.
PROGRAMS = {
    "generator_delegation": 0.3,
    "recursion_python": 0.1,
    "sorted_key": 0.3,
    "init": 0.1,
    "gil_zlib": 0.0,
}
# Code that was thrown away and unmapped before the recorder looked: no look at the mappings has it.
UNMAPPED = "[unknown]"
# A loop that never leaves JIT code. By the time that it is recorded, no stack is without.
TIGHT = """
def work(times):
    number = 0
    for turn in range(times):
        number = (number + turn) & 0xffff
work(100_000)
print("ready", flush=True)
while True:
    work(1 << 40)
"""
with_jit = pytest.mark.parametrize("build", supported(lambda build: build.minor >= (3, 14)))


@pytest.mark.parametrize("name", PROGRAMS)
@with_jit
def test_stacks_with_jit_code_are_legal(build: Build, name: str, tmp_path: Path) -> None:
    needs_jit(build)
    path = program(name)
    with running(build.command(path, env=JIT)) as target:
        capture = record(target.pid, tmp_path / "out.data", seconds=SECONDS, rate_hz=RATE_HZ)
        nameless = nameless_modules(capture)
    found = list(stacks(capture))
    assert len(found) > 0.03 * RATE_HZ * SECONDS  # a busy machine gives a target less than a CPU

    grammar = legal_stacks(path, build.minor)
    legal = {}
    for frames in {stack.frames for stack in found}:
        legal[frames] = grammar.match(without_jit(frames), nameless).verdict
        assert legal[frames] is not Verdict.OUTSIDE, show(frames)
    unsound = [
        stack
        for stack in found
        if stack.merged.fit not in SOUND or legal[stack.frames] is Verdict.INCOMPLETE
    ]
    fits = Counter(stack.merged.fit.value for stack in found)
    print(f"{build.id} {name}: {len(found)} samples, {fits}, JIT {_share(found):.0%}")
    assert len(unsound) <= most_of(len(found), IMPERFECT), f"{fits}\n{show(unsound[0].full)}"
    unmapped = [stack for stack in found if any(f.name == UNMAPPED for f in stack.full)]
    # The slower the recorder is let look, the more of them; a wrong walk would not fit its markers.
    assert len(unmapped) <= most_of(len(found), 0.05), show(unmapped[0].full)
    assert _share(found) >= PROGRAMS[name], "it was to be compiled"
    bare = [stack for stack in found if bare_evaluators(without_jit(stack.full))]
    assert not bare, show(bare[0].full)


@with_jit
def test_a_loop_that_never_leaves_jit_code(build: Build, tmp_path: Path) -> None:
    """Nothing can be learned from its stacks, and yet they are whole."""
    needs_jit(build)
    with running(build.command("-c", TIGHT, env=JIT)) as target:
        capture = record(target.pid, tmp_path / "out.data", seconds=SECONDS, rate_hz=RATE_HZ)
    found = list(stacks(capture))
    assert _share(found) > 0.99
    for stack in found:
        assert stack.merged.fit in SOUND, show(stack.full)
        python = [frame.name for frame in stack.frames if frame.kind is FrameKind.PYTHON]
        assert python == ["<module>", "work"], show(stack.full)
        assert stack.full[0].name == "_start"


def without_jit(frames: Sequence[Frame]) -> tuple[Frame, ...]:
    """A stack as the interpreter would have it: no JIT code, and no mark that it was skipped."""
    kept: list[Frame] = []
    for frame in frames:
        if not is_jit(frame):
            kept.append(frame)
        elif kept and kept[-1].kind is FrameKind.MARK and kept[-1].name == MarkReason.GAP.value:
            kept.pop()
    return tuple(kept)


def is_jit(frame: Frame) -> bool:
    # 3.15 registers its code for debuggers; a kernel that can name memory does: [anon:cpython:jit]
    unnamed = frame.name.startswith((ANONYMOUS, "[anon:", UNMAPPED))
    return frame.kind is FrameKind.NATIVE and (unnamed or frame.file == "[jit]")


def _share(found: Sequence[Stack]) -> float:
    """Of samples with JIT code in their stacks."""
    return sum(any(map(is_jit, stack.full)) for stack in found) / len(found)


def needs_jit(build: Build) -> None:
    asked = "import sys; print(sys._jit.is_enabled())"
    answer = subprocess.run(
        build.command("-c", asked, env=JIT), capture_output=True, text=True, check=True
    )
    if answer.stdout.strip() != "True":
        pytest.skip("it was built without the JIT")
