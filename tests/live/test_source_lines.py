"""Source lines and inlined calls, from a live recording to the picture."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mixstack.capture.reader import Capture, read_capture
from mixstack.cli.load import load_profile
from mixstack.export.speedscope import write_speedscope
from mixstack.model import Frame, FrameKind

from ..unit.symbolize.programs import tool
from .harness import record, run_mixstack, running
from .source_opinion import opinions

pytestmark = pytest.mark.live

SOURCE = Path(__file__).with_name("native") / "hot.cpp"
PROGRAM = """
import ctypes, json, os, sys, time
mix = ctypes.CDLL(sys.argv[1]).mix
print("ready", flush=True)
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    mix(7, 20_000)
    json.dumps(list(range(2000)), indent=1)
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hot") / "hot.so"
    command = [tool("g++"), "-O2", "-g", "-shared", "-fPIC", "-o", str(path), str(SOURCE)]
    subprocess.run(command, check=True)
    return path


def shown(capture: Capture) -> list[tuple[Frame, ...]]:
    profile = load_profile(capture)
    return [tuple(profile.frames[number] for number in stack) for stack in profile.stacks]


def in_library(stack: tuple[Frame, ...]) -> list[tuple[str, str, bool]]:
    return [
        (frame.name, os.path.basename(frame.file or ""), frame.inlined)
        for frame in stack
        if frame.kind is FrameKind.NATIVE and (frame.file or "").endswith(("hot.cpp", "hot.so"))
    ]


def test_lines_are_those_that_other_tools_know(library: Path, tmp_path: Path) -> None:
    tool("llvm-symbolizer")
    with running([sys.executable, "-c", PROGRAM, str(library), "60"]) as target:
        capture = record(target.pid, tmp_path / "out.data", seconds=1.0, lines=True)
        found = {opinion.path: opinion for opinion in opinions(capture)}
    wrong = {path: (o.names, o.lines_differ) for path, o in found.items()}
    assert wrong == dict.fromkeys(found, ([], []))
    assert all(o.less == 0 for o in found.values())
    assert found[str(library)].lines > 3
    assert found[str(library)].addr2line_differs == []

    stacks = [inner for inner in map(in_library, shown(capture)) if inner]
    turn = ("hot::Mixer<long>::turn(long, int) const", "hot.cpp", False)
    step = ("hot::Mixer<long>::step(long) const", "hot.cpp", True)
    assert [("mix", "hot.cpp", False), turn, step] in stacks
    lines = {f.line for s in shown(capture) for f in s if f.name == step[0] and f.inlined}
    assert lines & {11, 12}
    with open(tmp_path / "out.json", "w") as stream:
        write_speedscope(load_profile(capture), stream)
    frames = json.loads((tmp_path / "out.json").read_text())["shared"]["frames"]
    assert any(f["name"] == f"{step[0]} (inlined)" and f["line"] in lines for f in frames)


def test_after_the_file_and_the_process_are_gone(library: Path, tmp_path: Path) -> None:
    """What is mapped is kept open; the command ends before its lines are looked up."""
    copy = tmp_path / "copy" / "hot.so"
    copy.parent.mkdir()
    copy.write_bytes(library.read_bytes())
    program = PROGRAM.replace('print("ready"', 'os.unlink(sys.argv[1])\nprint("ready"')
    output = tmp_path / "out.data"
    command = ["--", sys.executable, "-c", program, str(copy), "1"]
    done = run_mixstack("record", "-r", "999", "-o", output, *command)
    assert done.returncode == 0, done.stderr
    capture = read_capture(str(output))
    assert not copy.exists()
    assert any(inlined for s in shown(capture) for _, _, inlined in in_library(s))


def test_they_can_be_left_out(library: Path, tmp_path: Path) -> None:
    with running([sys.executable, "-c", PROGRAM, str(library), "60"]) as target:
        capture = record(target.pid, tmp_path / "out.data", lines=False)
        assert capture.source_calls == {}
        assert any(("mix", "hot.so", False) in in_library(s) for s in shown(capture))
