"""A target that overwrites its own interpreter's structures costs little, and hides nothing."""

from __future__ import annotations

import json
import math
import subprocess
import threading
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

import pytest

from mixstack.capture.reader import Capture, read_capture
from mixstack.model import ChainEnd, Fit, FrameKind
from mixstack.record.options import RecordOptions
from mixstack.record.session import record as record_session

from ..bench.probe_cost import statistics_on
from ..interpreters import SUPPORTED, Build
from .grammar import Grammar, Verdict
from .harness import LOADER, Stack, nameless_modules, running, show, stacks
from .headers import Offsets, offsets_of

pytestmark = pytest.mark.live

HERE = Path(__file__).parent
PROGRAM = HERE / "scribbling_program.py"
RATE_HZ, SECONDS = 2999, 2.0  # on a busy machine as well, each kind of nonsense is met
LOOK_S = 0.02

KINDS = (
    "wild_low",
    "wild_beyond",
    "wild_kernel",
    "wild_forbidden",
    "wild_start",
    "self",
    "pair",
    "wild_previous",
    "wild_code",
    "no_code",
    "edge",
    "long_chain",
    "wild_names",
    "marker_cycle",
    "another_thread",
    "storm",
)
# When one kind ends and the next begins, a sample may see either.
BETWEEN = 0.02

# Before 3.11 a name has no class.
_THREAD = (
    "pthread py:threading.py:*_bootstrap py:threading.py:*_bootstrap_inner py:threading.py:*run"
)
GRAMMARS = {
    "ordinary": "stack = root py:main py:ordinary ( c:* py:key )?",
    "packing": f"stack = {_THREAD} py:packing",
    "scribbling": f"stack = {_THREAD} py:scribbling",
}

# The mean over all samples of a recording: the tests do not have the machine to themselves.
MOST_US = 200.0
LEARNING = 60  # samples, see test_grammar
MOST_GROWTH_MB = 16.0  # in the second half of a recording


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scribble")
    folder.chmod(0o755)
    built = folder / "libscribble.so"
    source = HERE / "native" / "scribble.c"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", built, source], check=True)
    return built


class Cost(NamedTuple):
    """Of a recording: samples, how long the probe ran for them, and the recorder's memory.

    rss_mb: in order of time, while it was recorded.
    """

    samples: int
    run_ns: int
    rss_mb: list[float]


@pytest.mark.parametrize("build", SUPPORTED)
def test_nonsense_is_a_loss_and_costs_little(build: Build, library: Path, tmp_path: Path) -> None:
    with running(_command(build, library, tmp_path)) as target, statistics_on():
        capture, cost = _record(target.pid, tmp_path / "out.data")
        nameless = nameless_modules(capture)
    found = list(stacks(capture))
    by_thread: dict[str, list[Stack]] = defaultdict(list)
    for stack in found:
        by_thread[_thread(stack)].append(stack)

    _check_scribbled(by_thread["scribbling"], _tells_threads(build), nameless)
    _check_others(by_thread, nameless)
    _check_cost(cost)


def _check_scribbled(found: list[Stack], tells_threads: bool, nameless: frozenset[str]) -> None:
    """Each kind was met; what is not marked as partial is the thread's real stack all the same.

    (Or it has no Python frames: an empty chain is that of a thread that runs none.)
    """
    grammar = Grammar(GRAMMARS["scribbling"], str(PROGRAM))
    fits: dict[str, Counter[Fit]] = defaultdict(Counter)
    ends: Counter[ChainEnd] = Counter()
    for stack in found:
        kind = _kind(stack)
        fits[kind][stack.merged.fit] += 1
        ends[stack.sample.stack.chain_end] += kind in KINDS
        # In a storm the nonsense changes while it is read: a chain may be sound by chance, and
        # where nothing tells on whose stack its frames run, that is not seen.
        chance = kind == "storm" and not tells_threads
        if stack.merged.fit not in (Fit.PARTIAL, Fit.NATIVE_ONLY) and not chance:
            verdict = grammar.match(stack.frames, nameless).verdict
            assert verdict in (Verdict.FULL, Verdict.PREFIX), (
                f"{kind}, {stack.merged.fit}:\n{show(stack.full)}\n{stack.sample.stack}"
            )
    kinds = {kind for kind in KINDS if tells_threads or kind != "another_thread"}
    assert kinds <= set(fits), "a kind of nonsense was not met"
    assert ends[ChainEnd.TRUNCATED], ends
    assert ends[ChainEnd.INVALID] + ends[ChainEnd.READ_FAULT], ends
    calm = fits["calm"]
    assert calm[Fit.PARTIAL] <= math.ceil(BETWEEN * calm.total()), calm


def _check_others(by_thread: dict[str, list[Stack]], nameless: frozenset[str]) -> None:
    for thread in ("ordinary", "packing"):
        grammar = Grammar(GRAMMARS[thread], str(PROGRAM))
        assert len(by_thread[thread]) > 100, thread
        for index, stack in enumerate(by_thread[thread]):
            if stack.sample.stack.counted and stack.merged.fit is Fit.PARTIAL:
                assert index < LEARNING  # 3.8, 3.9: it is not known yet where a frame belongs
                continue
            verdict = grammar.match(stack.frames, nameless).verdict
            assert verdict is not Verdict.OUTSIDE, f"{thread}:\n{show(stack.full)}"


def _check_cost(cost: Cost) -> None:
    mean_us = cost.run_ns / cost.samples / 1000
    assert mean_us <= MOST_US, f"{mean_us:.0f} µs a sample"
    settled, *_, last = cost.rss_mb[len(cost.rss_mb) // 2 :]
    assert last - settled <= MOST_GROWTH_MB, cost.rss_mb


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


def _record(pid: int, output: Path) -> tuple[Capture, Cost]:
    run_ns: list[int] = []
    rss_mb: list[float] = []

    recorded = threading.Event()

    def look() -> None:
        while not recorded.wait(LOOK_S):
            run_ns.append(_run_ns())
            rss_mb.append(_rss_mb())

    options = RecordOptions(pid, (), str(output), SECONDS, RATE_HZ, lines=False, loader=LOADER)
    looking = threading.Thread(target=look)
    looking.start()
    try:
        done = record_session(options, lambda _progress: None)
    finally:
        recorded.set()
        looking.join()
    capture = read_capture(str(output))
    assert capture.complete
    return capture, Cost(done.footer.samples, max(run_ns), rss_mb)


def _rss_mb() -> float:
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


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
    """Before 3.11 frames are in no list of markers: nothing tells on whose stack they run."""
    return build.minor >= (3, 11)


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
