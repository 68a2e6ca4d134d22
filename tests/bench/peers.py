"""How each profiler is attached to a running process, and what it writes.

All are asked for the same rate; none is asked for more than it needs (py-spy without --idle, the
standard library's for time on the CPU).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple

from ..interpreters import Build
from .running import mixstack, py_spy

LONG: Final = "3600"  # seconds: until it is interrupted
_VARIABLES: Final = {"LC_ALL": "C"}  # a tree has no locale of its own


class Tool(Enum):
    MIXSTACK = "mixstack"
    PY_SPY = "py-spy"
    PY_SPY_NATIVE = "py-spy --native"
    PERF_FP = "perf record -g"
    PERF_DWARF = "perf record --call-graph dwarf"
    SAMPLING = "profiling.sampling"


def command(tool: Tool, build: Build, pid: int, rate_hz: int, output: Path) -> list[str] | None:
    """What records this process into a file until it is interrupted; None if it is not here."""
    rate, to = str(rate_hz), str(output)
    if tool is Tool.MIXSTACK:
        return mixstack("record", "-p", str(pid), "-r", rate, "-o", to)
    if tool in (Tool.PERF_FP, Tool.PERF_DWARF):
        graph = "fp" if tool is Tool.PERF_FP else "dwarf"
        perf = ["perf", "record", "-q", "-e", "cpu-clock", "-F", rate, "--call-graph", graph]
        return [*perf, "-p", str(pid), "-o", to]
    if tool is Tool.SAMPLING:
        if build.minor < (3, 15):
            return None
        sampling = ("-m", "profiling.sampling", "attach", "-a", "--mode", "cpu", "--native")
        options = ("-r", rate, "-d", LONG, "--collapsed", "-o", to, str(pid))
        return build.command(*sampling, *options, env=_VARIABLES)
    program = py_spy()
    if program is None:
        return None
    native = ["--native"] if tool is Tool.PY_SPY_NATIVE else []
    return [
        program,
        "record",
        "-p",
        str(pid),
        "-d",
        LONG,
        "-r",
        rate,
        "-f",
        "raw",
        "-o",
        to,
        *native,
    ]


class Kind(Enum):
    PYTHON = "Python"
    NATIVE = "native, named"
    NAMELESS = "native, without a name"


class Frame(NamedTuple):
    kind: Kind
    name: str


class Counted(NamedTuple):
    """A stack, outermost first, and how many samples have it."""

    frames: tuple[Frame, ...]
    samples: int


def read(tool: Tool, output: Path) -> Iterator[Counted]:
    """What a tool recorded. Frames of the kernel and of inlined calls are left out: few tell."""
    if tool in (Tool.PERF_FP, Tool.PERF_DWARF):
        with perf_script(output) as process:
            assert process.stdout is not None
            yield from (Counted(frames, 1) for frames in perf_stacks(process.stdout))
        return
    if tool is Tool.MIXSTACK:
        merge = mixstack("merge", "-f", "collapsed", "-o", "-", str(output))
        text = subprocess.run(merge, capture_output=True, text=True, check=True).stdout
    else:
        text = output.read_text(encoding="utf-8")
    yield from collapsed_stacks(text, _FRAME[tool])


def perf_script(data: Path) -> subprocess.Popen[str]:
    """Without inlined calls: perf asks addr2line for each, which takes it very much longer."""
    return subprocess.Popen(
        ["perf", "script", "--no-inline", "-F", "comm,tid,ip,sym,dso", "-i", str(data)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def perf_stacks(lines: Iterator[str]) -> Iterator[tuple[Frame, ...]]:
    """Stacks of `perf script`: a line that is not indented, frames from the leaf, an empty one."""
    frames: list[Frame] = []
    begun = False
    for line in lines:
        if not line.strip():
            if begun:
                yield tuple(reversed(frames))
            frames, begun = [], False
        elif not line[0].isspace():
            begun = True
        elif (frame := _perf_frame(line)) is not None:
            frames.append(frame)
    if begun:
        yield tuple(reversed(frames))


_PERF: Final = re.compile(r"\s*[0-9a-f]+ (.*) \((.*)\)$")


def _perf_frame(line: str) -> Frame | None:
    found = _PERF.match(line.rstrip())
    if found is None or found[2] == "inlined" or found[2].startswith("[kernel"):
        return None
    if found[1].startswith("py::"):
        return Frame(Kind.PYTHON, found[1].split(":")[2])
    return Frame(Kind.NAMELESS if found[1] == "[unknown]" else Kind.NATIVE, found[1])


def collapsed_stacks(text: str, frame: re.Pattern[str]) -> Iterator[Counted]:
    """frame: its groups are "python" (a name), "nameless", and "left_out"."""
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = []
        for word in stack.split(";"):
            found = frame.fullmatch(word)
            if found is None:
                frames.append(Frame(Kind.NATIVE, word))
            elif found["python"]:
                frames.append(Frame(Kind.PYTHON, found["python"]))
            elif found["nameless"]:
                frames.append(Frame(Kind.NAMELESS, word))
        yield Counted(tuple(frames), int(count))


# py-spy and mixstack: "name (file.py:12)"; the standard library: "file.py:name:12".
_PYTHON: Final = r"(?P<python>[^ ]+) \((?:.*\.py|<.*>):\d+\)"
_FRAME: Final = {
    Tool.MIXSTACK: re.compile(
        _PYTHON + r"|(?P<nameless>.+\+0x[0-9a-f]+)|(?P<left_out>.*_\[[ik]\]|\[.*\]|python[\d.]*)"
    ),
    Tool.PY_SPY: re.compile(_PYTHON + r"|(?P<nameless>0x.*)|(?P<left_out>thread .*)"),
    Tool.PY_SPY_NATIVE: re.compile(_PYTHON + r"|(?P<nameless>0x.*)|(?P<left_out>thread .*)"),
    Tool.SAMPLING: re.compile(
        r"[^;]*:(?P<python>[^:;]+):\d+|(?P<nameless><native>)|(?P<left_out>tid:\d+|<GC>)"
    ),
}


def versions() -> dict[str, str]:
    """Of the peers that are here, by name."""
    asked = {"perf": ["perf", "--version"], "py-spy": [py_spy() or "py-spy", "--version"]}
    found = {"mixstack's Python": ".".join(map(str, sys.version_info[:3]))}
    for name, words in asked.items():
        try:
            said = subprocess.run(words, capture_output=True, text=True, env=os.environ).stdout
        except OSError:
            continue
        found[name] = said.split()[-1] if said.split() else "?"
    return found
