"""Code of JIT compilers is named as they themselves say."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from mixstack.capture.reader import read_capture
from mixstack.jit.names import JitNames
from mixstack.model import Fit, Frame, FrameKind
from mixstack.record.jit import JitBook
from mixstack.target.process import TargetProcess

from ..interpreters import Build, supported
from .harness import Stack, record, run_mixstack, running, show, stacks
from .test_children import recorded
from .test_jit import JIT, SOUND, TIGHT, needs_jit

pytestmark = pytest.mark.live

BY_HAND = Path(__file__).with_name("jit_by_hand.py")
RATE_HZ = 999
NAP = ("--", "sleep", "1")
NODE_PROGRAM = """
function fib(n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
console.log("ready");
for (;;) fib(25);
"""


@contextlib.contextmanager
def removed(*patterns: str) -> Iterator[None]:
    """At the end, what a target told perf is taken away."""
    try:
        yield
    finally:
        for pattern in patterns:
            Path(pattern).unlink(missing_ok=True)


@pytest.mark.parametrize("how", ["map", "dump"])
def test_memory_that_is_used_again_has_the_name_of_the_moment(how: str, tmp_path: Path) -> None:
    """Or none, between the two looks at the map between which it changed; a dump has times."""
    truth = tmp_path / "truth"
    with (
        running([sys.executable, BY_HAND, how, truth]) as target,
        removed(_map(target.pid), f"/tmp/jit-{target.pid}.dump"),
    ):
        capture = record(target.pid, tmp_path / "out.data", seconds=3, rate_hz=RATE_HZ)
    told = [tuple(map(int, line.split())) for line in truth.read_text().splitlines()]
    leaves = [
        (stack.sample.time_ns, stack.full[-1].name)
        for stack in stacks(capture)
        if stack.full[-1].name.startswith(("phase", "[anon]"))
    ]
    assert len(leaves) > 0.2 * RATE_HZ  # a busy machine gives a target less than a CPU
    named = [(time_ns, name) for time_ns, name in leaves if name != "[anon]"]
    assert len(named) >= (0.99 * len(leaves) if how == "dump" else 1)
    for time_ns, name in named:
        if not any(before <= time_ns <= after for before, after, _ in told):
            number = [number for _, after, number in told if after < time_ns][-1]
            assert name == f"phase{number} of JIT"


@pytest.mark.parametrize("how", ["whole", "moved"])
def test_a_jitdump_file_says_how_to_unwind_code(how: str, tmp_path: Path) -> None:
    """From when a first sample has met it, and again where it was moved."""
    found = _calling_back("rules", how, tmp_path)
    whole = [stack for stack in found if stack.merged.fit is Fit.EXACT and not _marks(stack)]
    assert len(whole) > 0.8 * len(found), show(found[-1].full)
    for stack in whole:
        names = [frame.name for frame in stack.full]
        assert names[0] == "_start", show(stack.full)
        assert names.count("caller of JIT") == 1, show(stack.full)
        assert {"call_back", "burn"} <= set(names), show(stack.full)
    settled_ns = found[-1].sample.time_ns - 1_000_000_000
    late = [s for s in found if s.sample.time_ns > settled_ns and s not in whole]
    assert not late, show(late[0].full)


def test_without_that_the_code_cannot_be_unwound(tmp_path: Path) -> None:
    """What the test above rests on."""
    found = _calling_back("names", "whole", tmp_path)
    assert all(_marks(stack) for stack in found)


def _calling_back(how: str, moved: str, folder: Path) -> list[Stack]:
    """The stacks in which the code by hand calls Python back."""
    with (
        running([sys.executable, BY_HAND, how, moved]) as target,
        removed(f"/tmp/jit-{target.pid}.dump"),
    ):
        capture = record(target.pid, folder / "out.data", seconds=2.5, rate_hz=RATE_HZ)
    found = [s for s in stacks(capture) if any(f.name == "burn" for f in s.full)]
    assert len(found) > 0.05 * RATE_HZ  # a busy machine gives a target less than a CPU
    return found


def _marks(stack: Stack) -> list[Frame]:
    return [frame for frame in stack.full if frame.kind is FrameKind.MARK]


def test_a_forked_child_has_names_of_its_own(tmp_path: Path) -> None:
    """The same address is another function in each of them, and each has told it in its map."""
    command = [sys.executable, BY_HAND, "fork", tmp_path / "truth"]
    capture = recorded(tmp_path / "out.data", command)
    with removed(*(_map(pid) for pid in capture.processes)):
        leaves = Counter(
            (stack.sample.pid == min(capture.processes), stack.full[-1].name)
            for stack in stacks(capture)
            if stack.full[-1].name.endswith("of JIT")
        )
    assert set(leaves) == {(True, "parent of JIT"), (False, "child of JIT")}
    assert min(leaves.values()) > 0.1 * RATE_HZ, leaves


def test_node(tmp_path: Path) -> None:
    with (
        running(_node(tmp_path)) as target,
        removed(_map(target.pid)),
    ):
        capture = record(target.pid, tmp_path / "out.data", seconds=1, rate_hz=RATE_HZ)
    found = list(stacks(capture))
    fib = [stack for stack in found if stack.full and _is_fib(stack.full[-1])]
    assert len(fib) > 0.8 * len(found), show(found[0].full)
    assert capture.jit_symbols[target.pid]


def test_a_file_that_is_written_at_the_very_end(tmp_path: Path) -> None:
    """node keeps its jitdump records back until it ends; they have the times of the code."""
    program = NODE_PROGRAM.replace(
        "for (;;)", "for (const end = Date.now() + 1500; Date.now() < end;)"
    )
    output = tmp_path / "out.data"
    node = ("node", "--perf-prof", "-e", program)
    done = run_mixstack("record", "-r", str(RATE_HZ), "-o", output, "--", *node, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = list(stacks(read_capture(str(output))))
    fib = [stack for stack in found if stack.full and _is_fib(stack.full[-1])]
    assert len(fib) > 0.1 * len(found), done.stderr


def test_perf_says_the_same(tmp_path: Path) -> None:
    data = tmp_path / "perf.data"
    with (
        running(_node(tmp_path)) as target,
        removed(_map(target.pid)),
    ):
        _perf("record", "-q", "-e", "cpu-clock", "-F", "999", "-p", target.pid, "-o", data, *NAP)
        said = _perf("script", "-i", data, "-F", "ip,sym").splitlines()
        theirs = dict(line.split(None, 1) for line in said if " JS:" in line)
        book = JitBook(TargetProcess.open(target.pid), pytest.fail)
        ours = book.new_symbols([int(address, 16) for address in theirs], last=True)
        book.close()
    names = JitNames({target.pid: tuple(ours)})
    assert theirs
    for address, name in theirs.items():
        found = names.find(target.pid, names.epoch(target.pid, 1 << 62), int(address, 16))
        assert found is not None
        assert found.name == name


def _node(folder: Path) -> list[str]:
    """V8 leaves a log, and not where the tests run."""
    log = f"--logfile={folder / 'v8.log'}"
    return ["node", "--perf-basic-prof", log, "-e", NODE_PROGRAM]


def _perf(*arguments: object) -> str:
    command = ["perf", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


@pytest.mark.parametrize("build", supported(lambda build: build.minor >= (3, 15)))
def test_what_is_registered_for_debuggers(build: Build, tmp_path: Path) -> None:
    """CPython 3.15 registers the code of its JIT, and how to unwind it."""
    needs_jit(build)
    with running(build.command("-c", TIGHT, env=JIT)) as target:
        capture = record(target.pid, tmp_path / "out.data", seconds=1, rate_hz=RATE_HZ)
    found = list(stacks(capture))
    named = [stack for stack in found if any(f.name == "py::jit:executor" for f in stack.full)]
    assert len(named) > 0.8 * len(found), show(found[0].full)
    assert sum(s.merged.fit is Fit.EXACT for s in named) > 0.5 * len(named)
    assert all(s.merged.fit in SOUND for s in found)


def _is_fib(frame: Frame) -> bool:
    return frame.name.startswith("JS:") and "fib " in frame.name and frame.file == "[jit]"


def _map(pid: int) -> str:
    return f"/tmp/perf-{pid}.map"
