"""Every sample of every program on every interpreter is a stack the program can really have."""

from __future__ import annotations

import ast
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pytest

from mixstack.bpf.libbpf import BpfObject
from mixstack.model import ChainEnd, Fit, Frame, FrameKind, NativeEnd

from ..interpreters import DEBUG, SUPPORTED, Build, supported
from .grammar import Grammar, Match, Verdict, bare_evaluators
from .harness import Stack, nameless_modules, record_enough, running, show, stacks
from .mutants import mutants
from .programs import PROGRAMS, legal_stacks, program

pytestmark = pytest.mark.live

RATE_HZ = 4999
DEEP_RATE_HZ = 999  # hundreds of frames a stack
SECONDS = 0.3
DEEP_SECONDS = 1.0
MUTATED_FRAMES = 20_000  # a stack of hundreds of frames has a thousand mutants
TABLED = frozenset({Fit.EXACT, Fit.NATIVE_ONLY})
RESYNCED = TABLED | {Fit.RESYNCED}
IMPERFECT = 0.001
LEARNING = 60  # samples, at most, after which 3.8's and 3.9's markers are known


@dataclass(frozen=True)
class Expected:
    """What is special about a program.

    helper: the C library that it loads. full: the least share of samples that show the whole
    behaviour. fits: those that are right for it. reaches_root: every native walk ends at the
    thread's root. bare: evaluators without a Python frame are legal. indifferent: mutations (kind,
    name of the frame) that make another legal stack. resyncs: before this version a walk that died
    does not start again: all stacks are legal as far as they go, and those that are not whole say
    so, until the code's rules are found. rate_hz: of the recording.
    """

    helper: str | None = None
    full: float = 0.5
    fits: frozenset[Fit] = TABLED
    reaches_root: bool = True
    bare: bool = False
    indifferent: str = "nothing"
    resyncs: tuple[int, int] = (3, 8)
    rate_hz: int = RATE_HZ
    seconds: float = SECONDS


EXPECTED = {
    "ctypes_qsort": Expected(fits=RESYNCED, reaches_root=False),
    "deep_native": Expected(
        "helper",
        fits=RESYNCED | {Fit.PARTIAL},
        reaches_root=False,
        rate_hz=DEEP_RATE_HZ,
        seconds=DEEP_SECONDS,
    ),
    "deep_python": Expected(
        fits=TABLED | {Fit.PARTIAL},
        reaches_root=False,
        # where the outer ends are cut there may be one frame fewer, or more
        indifferent="(lost|too far|parents dropped).*: (<mod|work|down|_start|__libc)",
        rate_hz=DEEP_RATE_HZ,
        seconds=DEEP_SECONDS,
    ),
    "finalizer": Expected(bare=True),
    "foreign_pthread": Expected("helper", fits=RESYNCED, reaches_root=False),
    "getattr": Expected(indifferent=r"\bvalue"),
    "late_threads": Expected(
        fits=RESYNCED | {Fit.PARTIAL},
        reaches_root=False,
        indifferent="exchanged|lost|daemon|WeakSet|_remove",
    ),
    "native_pthread": Expected("helper"),
    "no_unwind_table": Expected("bare", fits=RESYNCED, reaches_root=False, resyncs=(3, 10)),
    "odd_rules": Expected("odd_rules"),
    "operators": Expected(indifferent="__getitem__"),
    "recursion_c": Expected(rate_hz=DEEP_RATE_HZ, seconds=DEEP_SECONDS),
    "recursion_python": Expected(rate_hz=DEEP_RATE_HZ, seconds=DEEP_SECONDS),
    "signal_handler": Expected(full=0.1, indifferent="lost: work"),
    "taking_turns": Expected(indifferent="(exchanged|lost): (left|middle|right)"),
    "wide_frames": Expected(
        "helper", fits=RESYNCED, reaches_root=False, rate_hz=DEEP_RATE_HZ, seconds=DEEP_SECONDS
    ),
    # for moments of a few instructions
    "yielding": Expected(full=0.02, rate_hz=2 * RATE_HZ, seconds=1.5),
}
PATHS = sorted(p for p in PROGRAMS.glob("[a-z]*.py") if p.stem != "mixture")
LEAST = 0.1  # of the samples of a whole CPU: a busy machine gives a target less


@pytest.mark.parametrize("build", SUPPORTED)
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_stack_is_legal(
    path: Path, build: Build, helpers: dict[str, Path], tmp_path: Path
) -> None:
    expected = EXPECTED.get(path.stem, Expected())
    arguments = [helpers[expected.helper]] if expected.helper else []
    with running(build.command(path, *arguments)) as target:
        capture = record_enough(
            target.pid,
            tmp_path / "out.data",
            LEAST * expected.seconds * expected.rate_hz,
            seconds=expected.seconds,
            rate_hz=expected.rate_hz,
        )
        nameless = nameless_modules(capture)
    found = list(_placed(list(stacks(capture)), learns=build.minor <= (3, 9)))
    grammar = legal_stacks(path, build.minor)
    if DEBUG:
        found = [stack._replace(frames=grammar.spoken_of(stack.frames)) for stack in found]

    distinct: dict[tuple[Frame, ...], int] = Counter(stack.frames for stack in found)
    verdicts = {frames: grammar.match(frames, nameless) for frames in distinct}
    outside = [f for f, match in verdicts.items() if match.verdict is Verdict.OUTSIDE]
    assert not outside, "\n".join(
        [f"{sum(distinct[f] for f in outside)} of {len(found)} samples are not legal, such as:"]
        + [
            f"{distinct[f]} x, right to frame {verdicts[f].matched}:\n{show(f)}"
            for f in outside[:4]
        ]
    )
    if build.minor < expected.resyncs:
        assert {stack.merged.fit for stack in found} <= {Fit.PARTIAL, Fit.EXACT, Fit.COUNTED}
        return
    full = sum(n for f, n in distinct.items() if verdicts[f].verdict is Verdict.FULL)
    least = expected.full * (0.5 if DEBUG else 1)  # what is inlined elsewhere takes its time there
    assert full >= least * len(found), f"only {full} of {len(found)} show the behaviour"

    _check_quality(found, expected, verdicts)
    if not nameless:
        legal = [f for f, match in verdicts.items() if match.verdict is Verdict.FULL]
        wrong = list(_mutants_that_pass(grammar, legal, expected))
        assert not wrong, f"the grammar is too weak:\n{wrong[0]}"
    _check_lines(path, distinct, build.qualified)
    if path.stem == "code_reuse":
        _check_numbers(distinct)
    if path.stem.startswith("deep_"):
        _check_depth(found)
    else:
        endless = [s for s in found if s.sample.stack.chain_end is ChainEnd.TAIL_CALLS]
        assert not endless, f"the probe went in circles:\n{_describe(endless[0])}"


@pytest.mark.parametrize("build", supported(lambda b: b.minor in ((3, 9), (3, 12), (3, 13))))
@pytest.mark.parametrize("name", ["deep_native", "deep_python", "wide_frames"])
def test_walks_by_bounded_loops(
    name: str,
    build: Build,
    helpers: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on kernels without bpf_loop: some rounds, and then a tail call, up to their limit."""
    monkeypatch.setattr(BpfObject, "can_loop", lambda _: False)
    test_every_stack_is_legal(program(name), build, helpers, tmp_path)


def _placed(found: Sequence[Stack], *, learns: bool) -> Iterator[Stack]:
    """All but those whose frames have no place yet.

    3.8 and 3.9 have no list of markers: until it is learned where evaluators keep them, frames are
    counted, and that cannot be done where the outer end of the native stack is missing, or where
    an evaluator that is being entered or left has called something.
    """
    for index, stack in enumerate(found):
        if not stack.sample.stack.counted:
            yield stack
            continue
        if not learns or index >= LEARNING:
            raise AssertionError(f"{index} of {len(found)} is counted:\n{_describe(stack)}")
        if stack.merged.fit is not Fit.PARTIAL:
            yield stack
            continue
        kinds = [frame.kind for frame in stack.full]
        assert FrameKind.PYTHON not in kinds[kinds.index(FrameKind.NATIVE) :], _describe(stack)


def _check_quality(
    found: Sequence[Stack], expected: Expected, verdicts: Mapping[tuple[Frame, ...], Match]
) -> None:
    imperfect = [
        stack
        for stack in found
        if stack.merged.fit not in expected.fits | {Fit.COUNTED}
        or verdicts[stack.frames].verdict is Verdict.INCOMPLETE
    ]
    if len(imperfect) > most_of(len(found), IMPERFECT):
        raise AssertionError(
            f"{len(imperfect)} of {len(found)}; {Counter(s.merged.fit.value for s in found)}\n"
            + _describe(imperfect[0])
        )
    if expected.reaches_root:
        cut = [s for s in found if s.sample.stack.native_end is not NativeEnd.ROOT]
        # While the kernel puts a handler's caller back, its registers are of two moments.
        cut = [s for s in cut if "restore_sigcontext" not in (frame.name for frame in s.full)]
        assert not cut, f"{len(cut)} of {len(found)}:\n{_describe(cut[0])}"
    if not expected.bare:
        bare = [s for s in found if s.merged.fit is not Fit.PARTIAL and bare_evaluators(s.full)]
        assert not bare, f"{len(bare)} of {len(found)}:\n{_describe(bare[0])}"


def most_of(samples: int, share: float) -> float:
    """How many samples of this true share there may be by chance: four standard deviations more."""
    return samples * share + 4 * math.sqrt(samples * share)


def _describe(stack: Stack) -> str:
    return f"{show(stack.full)}\n{stack.sample}"


def _mutants_that_pass(
    grammar: Grammar, legal: Sequence[tuple[Frame, ...]], expected: Expected
) -> Iterator[str]:
    """Of a few stacks, shortest first."""
    left = MUTATED_FRAMES
    for frames in sorted(legal, key=len)[:: len(legal) // 10 + 1]:
        for mutant in islice(mutants(frames), 40):
            left -= len(frames)
            if left < 0:
                return
            if grammar.match(mutant.frames).verdict in (Verdict.FULL, Verdict.PREFIX):
                kind, index = mutant.how
                how = f"{kind}: {frames[index].name}"
                if not re.search(expected.indifferent, how):
                    yield f"{how}\n{show(mutant.frames)}"


def _check_depth(found: Sequence[Stack]) -> None:
    """No stack is cut before it has the frames that were promised."""
    native = [len(s.sample.stack.native) for s in found if s.merged.native_truncated]
    python = [
        sum(len(segment.frames) for segment in s.sample.stack.segments)
        for s in found
        if s.merged.python_truncated
    ]
    assert native or python
    assert all(depth >= 256 for depth in native)
    assert all(depth >= 512 for depth in python)


def _check_lines(path: Path, distinct: Iterable[tuple[Frame, ...]], qualified: bool) -> None:
    """The line of each frame lies inside a function that has the frame's name."""
    spans: dict[str, list[tuple[int, int]]] = {}
    for name, span in _functions(ast.parse(path.read_text(encoding="utf-8")), ""):
        spans.setdefault(name if qualified else name.rpartition(".")[2], []).append(span)
    for frames in distinct:
        for frame in frames:
            if frame.kind is FrameKind.PYTHON and frame.file == str(path):
                # what the compiler adds to begin and end a coroutine has no line
                assert frame.line is None or any(
                    first <= frame.line <= last for first, last in spans[frame.name]
                ), frame


def _functions(tree: ast.AST, prefix: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """(qualname, (first line, last line)) of everything in a module that has a code object."""
    if isinstance(tree, ast.Module):
        yield "<module>", (1, 10**9)
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            yield prefix + node.name, (first, node.end_lineno or first)
            local = "" if isinstance(node, ast.ClassDef) else "<locals>."
            yield from _functions(node, f"{prefix}{node.name}.{local}")
        else:
            yield from _functions(node, prefix)


def _check_numbers(distinct: dict[tuple[Frame, ...], int]) -> None:
    """Names of one pair of functions carry one number: no name of a dead code object was used."""
    numbers_seen = set()
    for frames in distinct:
        made = [f for f in frames if f.file is not None and f.file.startswith("<made")]
        numbers = {n for f in made for n in re.findall("[0-9]+", f"{f.name} {f.file}")}
        assert len(numbers) <= 1, show(frames)
        numbers_seen |= numbers
    assert len(numbers_seen) > 50
