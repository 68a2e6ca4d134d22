"""Stacks that py-spy and gdb see in a stopped process are among those that mixstack records.

Both look at other moments than a sample does, so a program is used that has few different stacks:
py-spy speaks for the Python frames and the lines of their calls, gdb for the native frames.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from mixstack.model import Frame, FrameKind

from ..interpreters import SUPPORTED, Build
from .grammar import bare_symbol
from .harness import record, running, stacks
from .programs import program

pytestmark = pytest.mark.live

PROGRAMS = ("json_hook", "recursion_c", "exec_eval", "generator_delegation")
DUMPS = 8
RECORDINGS = 4  # a stack that is rare may be missing from one of them

_Calls = tuple[tuple[str, int], ...]

_GDB = """
import gdb, json, time
gdb.execute("set pagination off")
gdb.execute("set debuginfod enabled off")
for _ in range({times}):
    gdb.execute("attach {pid}", to_string=True)
    names, frame = [], gdb.newest_frame()
    while frame is not None:
        if frame.type() not in (gdb.INLINE_FRAME, gdb.TAILCALL_FRAME):  # neither is on the stack
            where = gdb.execute(f"info symbol {{frame.pc() - (1 if names else 0)}}", to_string=True)
            names.append(where.split(" ")[0])
        frame = frame.older()
    print("STACK " + json.dumps(names))
    gdb.execute("detach", to_string=True)
    time.sleep(0.013)
"""


# Starting py-spy eight times takes longer than all else: each build has one program.
@pytest.mark.parametrize(
    ("name", "build"),
    [
        pytest.param(PROGRAMS[i % len(PROGRAMS)], *row.values, id=row.id, marks=row.marks)
        for i, row in enumerate(SUPPORTED)
    ],
)
def test_py_spy_sees_the_same_calls(name: str, build: Build, tmp_path: Path) -> None:
    py_spy = _tool("py-spy")
    with running(build.command(program(name))) as target:
        asked = [_py_spy_stack(py_spy, target.pid) for _ in range(DUMPS)]
        dumps = [_leaf_without_line(dump) for dump in asked if dump is not None]
        assert len(dumps) >= DUMPS // 2
        assert {len(dump) for dump in dumps} != {1}
        seen: set[_Calls] = set()
        for _ in range(RECORDINGS):
            capture = record(target.pid, tmp_path / "out.data")
            seen |= {_leaf_without_line(_python(stack.frames)) for stack in stacks(capture)}
            if seen.issuperset(dumps):
                return
    assert set(dumps) - seen == set()


@pytest.mark.parametrize("name", PROGRAMS[:2])
def test_gdb_sees_the_same_native_callers(name: str, tmp_path: Path) -> None:
    """On a build with symbols: all native frames outside of the innermost evaluator, and it."""
    gdb = _tool("gdb")
    build = _with_symbols()
    with running(build.command(program(name))) as target:
        script = tmp_path / "stacks.py"
        script.write_text(_GDB.format(pid=target.pid, times=DUMPS), encoding="utf-8")
        said = subprocess.run(
            [gdb, "-batch", "-nx", "-x", str(script)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        lines = [line for line in said.stdout.splitlines() if line.startswith("STACK ")]
        assert len(lines) == DUMPS, said.stderr
        dumps = [[_gdb_name(n) for n in reversed(json.loads(line[6:]))] for line in lines]
        left = {_to_evaluator(dump) for dump in dumps}
        for _ in range(RECORDINGS):
            capture = record(target.pid, tmp_path / "out.data")
            ours = {_to_evaluator(_native(stack.full)) for stack in stacks(capture)}
            left = {theirs for theirs in left if not any(_same(theirs, names) for names in ours)}
            if not left:
                return
    assert left == set()


def _tool(name: str) -> str:
    path = shutil.which(
        name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    )
    if path is None:
        reason = f"{name} is not installed"
        if os.environ.get("MIXSTACK_REQUIRE_ALL"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


def _with_symbols() -> Build:
    for row in SUPPORTED:
        build = row.values[0]
        if build is not None and not build.static and build.minor == (3, 12):
            assert isinstance(build, Build)
            return build
    pytest.skip("no shared build of 3.12 here")


def _py_spy_stack(py_spy: str, pid: int) -> tuple[tuple[str, int], ...] | None:
    """(function, line) of the main thread, outermost first; None if it met a half-made frame."""
    said = subprocess.run(
        [py_spy, "dump", "--json", "-p", str(pid)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if said.returncode:
        return None
    (thread,) = json.loads(said.stdout)
    return tuple((frame["name"], frame["line"]) for frame in reversed(thread["frames"]))


def _python(frames: Sequence[Frame]) -> list[tuple[str, int]]:
    return [(f.name, f.line or 0) for f in frames if f.kind is FrameKind.PYTHON]


def _leaf_without_line(calls: Sequence[tuple[str, int]]) -> _Calls:
    """The leaf's line is that of another moment."""
    return (*calls[:-1], *((name, 0) for name, _ in calls[-1:]))


def _native(frames: Sequence[Frame]) -> list[str]:
    native = (frame for frame in frames if frame.kind is FrameKind.NATIVE)
    return [bare_symbol(frame.name) if frame.resolved else "?" for frame in native]


def _gdb_name(name: str) -> str:
    return "?" if name == "No" else bare_symbol(name)  # "No symbol matches ..."


def _same(theirs: Sequence[str], ours: Sequence[str]) -> bool:
    """gdb may have debug symbols where we have no name."""
    return len(theirs) == len(ours) and all(
        b in (a, "?") for a, b in zip(theirs, ours, strict=True)
    )


def _to_evaluator(names: Sequence[str]) -> tuple[str, ...]:
    """Outermost first, up to the innermost evaluator."""
    last = max(
        (i for i, name in enumerate(names) if name == "_PyEval_EvalFrameDefault"), default=-1
    )
    return tuple(names[: last + 1])
