"""A target that overwrites its own interpreter's structures costs little, and hides nothing."""

from __future__ import annotations

import json
import math
import subprocess
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

import pytest

from mixstack.capture.reader import Capture, read_capture
from mixstack.model import ChainEnd, Fit, FrameKind
from mixstack.record.options import Progress, RecordOptions
from mixstack.record.session import record as record_session

from ..bench.probe_cost import statistics_on
from ..interpreters import SUPPORTED, Build
from .grammar import Grammar, Verdict
from .harness import Stack, nameless_modules, running, show, stacks
from .headers import Offsets, offsets_of

pytestmark = pytest.mark.live

HERE = Path(__file__).parent
PROGRAM = HERE / "scribbling_program.py"
RATE_HZ, SECONDS = 4999, 1.5

KINDS = (
    "wild_low wild_beyond wild_kernel wild_forbidden wild_start self pair wild_previous wild_code"
    " no_code edge long_chain wild_names marker_cycle another_thread storm"
).split()
BROKEN_ENDS = (ChainEnd.INVALID, ChainEnd.READ_FAULT, ChainEnd.TRUNCATED)
# When one kind ends and the next begins, a sample may see either.
BETWEEN = 0.02

GRAMMARS = {
    "ordinary": "stack = root py:main py:ordinary ( c:* py:key )?",
    "packing": "stack = thread py:packing",
    "scribbling": "stack = thread py:scribbling",
}

# What one run of the probe may cost at most, on average over a tenth of a second.
MOST_US = 400.0


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scribble")
    folder.chmod(0o755)
    built = folder / "libscribble.so"
    source = HERE / "native" / "scribble.c"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", built, source], check=True)
    return built


class Window(NamedTuple):
    """A tenth of a second of recording: samples, and how long the probe ran."""

    samples: int
    run_ns: int


@pytest.mark.parametrize("build", SUPPORTED)
def test_nonsense_is_a_loss_and_costs_little(build: Build, library: Path, tmp_path: Path) -> None:
    with running(_command(build, library, tmp_path)) as target, statistics_on():
        capture, windows = _record(target.pid, tmp_path / "out.data")
        nameless = nameless_modules(capture)
    found = list(stacks(capture))
    by_thread: dict[str, list[Stack]] = defaultdict(list)
    for stack in found:
        by_thread[_thread(stack)].append(stack)

    _check_scribbled(by_thread["scribbling"], _tells_threads(build), nameless)
    _check_others(by_thread, nameless)
    _check_cost(windows)


def _check_scribbled(found: list[Stack], tells_threads: bool, nameless: frozenset[str]) -> None:
    """Each kind was met; what is not marked as partial is the thread's real stack all the same."""
    grammar = Grammar(GRAMMARS["scribbling"], str(PROGRAM))
    fits: dict[str, Counter[Fit]] = defaultdict(Counter)
    ends: Counter[ChainEnd] = Counter()
    for stack in found:
        kind = _kind(stack)
        fits[kind][stack.merged.fit] += 1
        ends[stack.sample.stack.chain_end] += kind in KINDS
        if stack.merged.fit is not Fit.PARTIAL:
            verdict = grammar.match(stack.frames, nameless).verdict
            assert verdict in (Verdict.FULL, Verdict.PREFIX), (
                f"{kind}, {stack.merged.fit}:\n{show(stack.full)}\n{stack.sample.stack}"
            )
    kinds = {kind for kind in KINDS if tells_threads or kind != "another_thread"}
    assert kinds <= set(fits), "a kind of nonsense was not met"
    assert ends >= Counter(BROKEN_ENDS), ends
    calm = fits["calm"]
    assert calm[Fit.PARTIAL] <= math.ceil(BETWEEN * calm.total()), calm


def _check_others(by_thread: dict[str, list[Stack]], nameless: frozenset[str]) -> None:
    for thread in ("ordinary", "packing"):
        grammar = Grammar(GRAMMARS[thread], str(PROGRAM))
        assert len(by_thread[thread]) > 100, thread
        for stack in by_thread[thread]:
            verdict = grammar.match(stack.frames, nameless).verdict
            assert verdict is not Verdict.OUTSIDE, f"{thread}:\n{show(stack.full)}"


def _check_cost(windows: list[Window]) -> None:
    busy = [window for window in windows if window.samples > 50]
    assert len(busy) > SECONDS / 0.1 / 2
    worst = max(window.run_ns / window.samples / 1000 for window in busy)
    assert worst <= MOST_US, f"{worst:.0f} µs"


def _thread(stack: Stack) -> str:
    """By its outermost functions: the chain of the scribbling one may be anything."""
    if stack.sample.tid == stack.sample.pid:
        return "ordinary"
    native = any(f.file is not None and f.file.endswith("libscribble.so") for f in stack.full)
    return "scribbling" if native else "packing"


def _kind(stack: Stack) -> str:
    """The function of scribble.c whose nonsense stands there; "calm", or "between" two kinds.

    While it stands there, `burn` or `rage` runs.
    """
    names = [f.name for f in stack.full if f.kind is FrameKind.NATIVE]
    burning = next((i for i, name in enumerate(names) if name in ("burn", "rage")), 0)
    return names[burning - 1] if names[burning - 1] in (*KINDS, "calm") else "between"


def _record(pid: int, output: Path) -> tuple[Capture, list[Window]]:
    windows: list[Window] = []
    last = [0, 0]

    def look(progress: Progress) -> None:
        now = [progress.samples, _run_ns()]
        windows.append(Window(now[0] - last[0], now[1] - last[1]))
        last[:] = now

    record_session(RecordOptions(pid, (), str(output), SECONDS, RATE_HZ), look)
    capture = read_capture(str(output))
    assert capture.complete
    return capture, windows


def _run_ns() -> int:
    """run_time_ns of this process' BPF programs: proc(5), fdinfo."""
    total = 0
    for path in Path("/proc/self/fdinfo").iterdir():
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("run_time_ns:"))
    return total


def _tells_threads(build: Build) -> bool:
    """Before 3.10 nothing in a frame says on whose stack it runs: it is an honest lie."""
    return build.minor >= (3, 10)


def _command(build: Build, library: Path, folder: Path) -> list[str]:
    folder.chmod(0o755)
    at = offsets_of(build, folder)
    return build.command(PROGRAM, library, json.dumps(_places(build, at)))


def _places(build: Build, at: Offsets) -> list[int]:
    """The fields of `struct places`, and what scribbling_program.py wants besides."""
    frame_objects = build.minor < (3, 11)
    records = build.minor in ((3, 11), (3, 12))
    names = [
        "frame.code",
        "frame.previous",
        "frame.instr",
        "frame.owner",
        "frame.is_entry",
        "frame.executing",
        "cframe.frame",
        "cframe.previous",
        "code.size",
        "code.name",
        "code.filename",
    ]
    places = [at.get(name, -1) for name in names]
    shim = 3 if build.minor >= (3, 12) else -1
    newest = at["tstate.cframe"] if records else at["tstate.frame"]
    cframes = at.get("tstate.cframe", -1) if frame_objects else -1
    return [*places, shim, newest, cframes, int(_tells_threads(build))]
