"""However interpreters came into a process, and however many there are: stacks are legal."""

from __future__ import annotations

import ast
import functools
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from mixstack.capture.reader import read_capture
from mixstack.model import Fit, Frame, FrameKind, MarkReason, NativeEnd

from ..interpreters import SUPPORTED, Build
from .grammar import Grammar, Verdict, bare_evaluators, bare_symbol
from .harness import (
    Stack,
    nameless_modules,
    record_enough,
    run_mixstack,
    running,
    show,
    stacks,
)
from .mutants import mutants
from .programs import PROGRAMS

pytestmark = pytest.mark.live

NATIVE = Path(__file__).parent / "native"
EMBEDDING = PROGRAMS / "embedding"
RATE_HZ = 4999
SECONDS = 0.2
PYPY = os.environ.get("MIXSTACK_PYPY") or shutil.which("pypy3")
PACKAGES = ("greenlet", "gevent")
LEAST_SAMPLES = 0.1 * RATE_HZ * SECONDS  # a busy machine gives a target less than a CPU
BLIND = 0.03  # of the samples
JOINED = frozenset({Fit.EXACT, Fit.NATIVE_ONLY, Fit.COUNTED})

# 3.8, 3.9: the probe learns from a program's first stacks where evaluators keep their frame. Until
# then the frames of several thread states, or those around a trace function, may have no place.
LEARNED_UNTIL = (3, 9)


@dataclass(frozen=True)
class Expected:
    """What is special about a way of living in a process.

    on: the builds, by their names in SUPPORTED. host: the C program that runs the script. wheels:
    it needs PACKAGES. full: the least share of samples that show the whole behaviour. fits: those
    that are right for it; imperfect: the share that may have another. bare: evaluators without a
    Python frame are legal. indifferent: mutations (kind, name of the frame) that make another
    legal stack.
    """

    on: str
    host: str | None = None
    wheels: bool = False
    full: float = 0.5
    fits: frozenset[Fit] = JOINED
    imperfect: float = 0.001
    bare: bool = False
    indifferent: str = "nothing"


# While greenlet copies stacks, the frames of the one that stops are linked past their markers.
SWITCHING = 0.03
# To start recording takes a second. So what depends on how an interpreter links its frames runs
# once for each such way (3.8, 3.9; 3.10; 3.11; 3.12; from 3.13 on), the rest on an old and a new.
EXPECTED = {
    "callers": Expected("3.8 3.10 3.11-shared 3.12 3.14", host="embed_callers"),
    "debugger": Expected(
        "3.11-shared 3.15",
        indifferent="Bdb|[cC]ontext|Scripted|dispatch|user_line|cache|lost: step",
    ),
    "deep_evaluator": Expected(
        "3.11-shared 3.14", fits=JOINED | {Fit.PARTIAL}, indifferent="lost: down"
    ),
    "gevents": Expected(
        "3.8 3.14", wheels=True, full=0.2, imperfect=SWITCHING, bare=True, indifferent="."
    ),
    "greenlets": Expected(
        "3.9 3.10 3.11-shared 3.12 3.13 3.15",
        wheels=True,
        imperfect=SWITCHING,
        bare=True,
        indifferent="lost: (ping|pong)",
    ),
    "in_thread": Expected("3.9 3.12", host="embed_thread"),
    "monitoring": Expected("3.12 3.15", indifferent="lost: step"),
    "nested": Expected("3.8 3.9 3.10 3.11-shared 3.12 3.13 3.15", host="embed_nested", full=0.2),
    "set_trace": Expected("3.8 3.10 3.13", indifferent="lost: step"),
    "subinterpreter": Expected("3.9 3.10 3.11-static 3.12 3.14"),
    # Before 3.12 the threads share one GIL: now and then one of them never starts.
    "subinterpreter_threads": Expected("3.12 3.13-debian"),
}
ANOTHER_NAME = Expected("3.13 3.15")  # one with a shared libpython, one without


def _rows(names: str) -> list[Any]:
    """The rows of SUPPORTED with these names, with a build or without."""
    rows = {str(row.id).partition("=")[0]: row for row in SUPPORTED}
    return [rows[name] for name in names.split()]


def _on_its_builds(name: str) -> list[Any]:
    return [
        pytest.param(name, *row.values, id=f"{name}-{row.id}", marks=row.marks)
        for row in _rows(EXPECTED[name].on)
    ]


# --- programs that are special inside ------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "build"), [row for name in EXPECTED for row in _on_its_builds(name)]
)
def test_every_stack_is_legal(
    name: str,
    build: Build,
    hosts: Callable[[Build, str], Path],
    wheels: Callable[[Build], dict[str, str]],
    tmp_path: Path,
) -> None:
    expected = EXPECTED[name]
    path = EMBEDDING / f"{name}.py"
    if expected.host is not None:
        build = replace(build, executable=str(hosts(build, expected.host)))
    variables = wheels(build) if expected.wheels else {}
    found, nameless = _record(build.command(path, env=variables), tmp_path)
    text = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").rpartition(
        "\n\n"
    )[2]
    grammar = Grammar(text, str(path), build.minor)
    _judge(found, nameless, grammar, expected, learns=build.minor <= LEARNED_UNTIL)
    # before 3.11 a frame's name says too little of whose it is
    if not nameless and build.minor >= (3, 11) and expected.indifferent != ".":
        _check_strength(found, grammar, expected)
    if name == "greenlets":
        _check_apart(found)


def _check_apart(found: Sequence[Stack]) -> None:
    """No stack of one greenlet shows Python frames of another."""
    groups = ({"ping"}, {"pong", "key"}, {"nest", "start", "<module>"})
    seen = set()
    for stack in found:
        names = {frame.name for frame in stack.frames if frame.kind is FrameKind.PYTHON}
        whose = {number for number, group in enumerate(groups) if names & group}
        assert len(whose) <= 1, show(stack.frames)
        seen |= whose
    assert seen >= {0, 1}


# --- ways to start an interpreter ----------------------------------------------------------------


RUNNER = "py:*runpy*:_run_module_as_main py:*runpy*:_run_code c:builtin_exec*"


def _renamed_with_a_zip(build: Build, folder: Path) -> tuple[list[str], str, Path]:
    shutil.copy(build.host_executable, folder / "myapp")
    archive = folder / "program.pyz"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(EMBEDDING / "plain.py", "__main__.py")
    command = replace(build, executable=str(folder / "myapp")).command(archive)
    return command, RUNNER, archive / "__main__.py"


def _linked_with_a_module(build: Build, folder: Path) -> tuple[list[str], str, Path]:
    (folder / "linked").symlink_to(build.executable)
    shutil.copy(EMBEDDING / "plain.py", folder / "plain.py")
    linked = replace(build, executable=str(folder / "linked"))
    command = linked.command("-m", "plain", env={"PYTHONPATH": str(folder)})
    return command, RUNNER, folder / "plain.py"


def _virtual_environment(build: Build, folder: Path) -> tuple[list[str], str, Path]:
    made = folder / "venv"
    subprocess.run(build.command("-m", "venv", "--without-pip", made), check=True)
    inside = replace(build, executable=str(made / "bin" / "python"))
    return inside.command(EMBEDDING / "plain.py"), "", EMBEDDING / "plain.py"


@pytest.mark.parametrize("build", _rows(ANOTHER_NAME.on))
@pytest.mark.parametrize(
    "way",
    [
        pytest.param(_renamed_with_a_zip, id="a renamed copy runs a zip file"),
        pytest.param(_linked_with_a_module, id="a link of another name runs a module"),
        pytest.param(_virtual_environment, id="a virtual environment runs a script"),
    ],
)
def test_an_interpreter_by_another_name(
    way: Callable[[Build, Path], tuple[list[str], str, Path]], build: Build, tmp_path: Path
) -> None:
    command, runner, own_file = way(build, tmp_path)
    found, nameless = _record(command, tmp_path)
    text = f"stack = entry {runner} py:<module> py:work c:builtin_sorted ( c:list_sort* )+ py:key"
    _judge(found, nameless, Grammar(text, str(own_file), build.minor), ANOTHER_NAME)


# --- what is no CPython --------------------------------------------------------------------------


@pytest.mark.skipif(PYPY is None, reason="no pypy3 here: install it, or name one in $MIXSTACK_PYPY")
def test_pypy_is_recorded_natively(tmp_path: Path) -> None:
    assert PYPY is not None
    output = tmp_path / "out.data"
    with running([PYPY, EMBEDDING / "plain.py"]) as target:
        done = run_mixstack("record", "-p", str(target.pid), "-d", "0.5", "-o", output)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("PyPy") == 1
    kinds = {f.kind for s in stacks(read_capture(str(output))) for f in s.frames}
    assert FrameKind.NATIVE in kinds
    assert FrameKind.PYTHON not in kinds


# --- how a recording is judged -------------------------------------------------------------------


def _record(command: Sequence[str], folder: Path) -> tuple[list[Stack], frozenset[str]]:
    """The stacks of a program, and which modules have no symbols."""
    with running(command) as target:
        capture = record_enough(
            target.pid, folder / "out.data", LEAST_SAMPLES, seconds=SECONDS, rate_hz=RATE_HZ
        )
        nameless = nameless_modules(capture)
    return list(stacks(capture)), nameless


def _judge(
    found: Sequence[Stack],
    nameless: frozenset[str],
    grammar: Grammar,
    expected: Expected,
    learns: bool = False,
) -> None:
    """`learns`: until it has learned, frames may have no place; by half of the samples it has."""
    distinct: dict[tuple[Frame, ...], int] = Counter(stack.frames for stack in found)
    verdicts = {frames: grammar.match(frames, nameless) for frames in distinct}
    outside = [
        frames
        for frames, match in verdicts.items()
        if match.verdict is Verdict.OUTSIDE and not _admits_it(frames)
    ]
    assert not outside, "\n".join(
        [f"{sum(distinct[f] for f in outside)} of {len(found)} samples are not legal, such as:"]
        + [
            f"{distinct[f]} x, right to frame {verdicts[f].matched}:\n{show(f)}"
            for f in outside[:3]
        ]
    )
    full = sum(n for f, n in distinct.items() if verdicts[f].verdict is Verdict.FULL)
    assert full >= expected.full * len(found), f"only {full} of {len(found)} show the behaviour"
    wrong = [
        stack
        for at, stack in enumerate(found)
        if (stack.merged.fit not in expected.fits or _lost(stack, expected))
        and not (learns and at < len(found) / 2 and _is_learning(stack))
    ]
    blind = [stack for stack in found if _is_blind(stack)]
    assert len(blind) <= BLIND * len(found), f"{len(blind)} of {len(found)}:\n{show(blind[0].full)}"
    fits = Counter(stack.merged.fit.value for stack in found)
    most = len(found) * expected.imperfect
    assert len(wrong) <= most + 4 * math.sqrt(most), (
        f"{len(wrong)} of {len(found)} are imperfect; {fits}\n{show(wrong[0].full)}"
    )


def _admits_it(frames: Sequence[Frame]) -> bool:
    """Whether a stack says that Python frames found no place; its fit is judged as well."""
    return any(
        frame.kind is FrameKind.MARK and frame.name == MarkReason.UNPLACED.value for frame in frames
    )


def _is_learning(stack: Stack) -> bool:
    return stack.sample.stack.counted and _admits_it(stack.frames)


def _is_blind(stack: Stack) -> bool:
    """Whether Python runs and nothing of it is seen: one evaluator may be entering or leaving."""
    named = {bare_symbol(frame.name) for frame in stack.full if frame.kind is FrameKind.NATIVE}
    python = any(frame.kind is FrameKind.PYTHON for frame in stack.full)
    return "_PyEval_EvalFrameDefault" in named and not python


def _lost(stack: Stack, expected: Expected) -> bool:
    """Whether it claims to be whole, and is not."""
    if stack.merged.fit is Fit.PARTIAL or expected.bare:
        return False
    cut = stack.sample.stack.native_end is not NativeEnd.ROOT
    return cut or bool(bare_evaluators(stack.full))


def _check_strength(found: Sequence[Stack], grammar: Grammar, expected: Expected) -> None:
    """A grammar that lets a bad join through proves nothing."""
    distinct = sorted({stack.frames for stack in found}, key=len)
    legal = [frames for frames in distinct if grammar.match(frames).verdict is Verdict.FULL]
    for frames in legal[: len(legal) // 2 : len(legal) // 10 + 1]:
        for mutant in islice(mutants(frames), 40):
            kind, index = mutant.how
            how = f"{kind}: {frames[index].name}"
            passed = grammar.match(mutant.frames).verdict in (Verdict.FULL, Verdict.PREFIX)
            indifferent = re.search(expected.indifferent, how)
            assert not passed or indifferent, f"too weak, {how}\n{show(mutant.frames)}"


# --- what the programs need ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Build, str], Path]:
    """Compiles a C program against the shared libpython of a build; None is without one."""
    folder = tmp_path_factory.mktemp("hosts")

    @functools.cache
    def compiled(build: Build, name: str) -> Path:
        output = folder / f"{name}-{build.id}"
        question = "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))"
        answer = subprocess.run(
            build.command("-c", question), capture_output=True, text=True, check=True
        )
        libraries = answer.stdout.strip()
        linking: tuple[str, ...] = ("-Wl,--allow-shlib-undefined",)
        if build.tree is None:  # its own dynamic loader knows the place
            linking += (f"-Wl,-rpath,{libraries}",)
        version = "{}.{}".format(*build.minor)
        gcc = ["gcc", "-O2", "-fomit-frame-pointer", "-pthread", "-o", str(output)]
        headers = [f"-I{build.include}", "-idirafter", str(build.include.parent)]
        linking += (f"-L{build.host(libraries)}", f"-lpython{version}")
        subprocess.run([*gcc, *headers, str(NATIVE / f"{name}.c"), *linking], check=True)
        return output

    return compiled


@pytest.fixture(scope="module")
def wheels(request: pytest.FixtureRequest) -> Callable[[Build], dict[str, str]]:
    """Installs PACKAGES for a build; gives the variables that let it import them.

    They are kept between runs of the tests.
    """
    cache = request.config.cache
    assert cache is not None
    kept = cache.mkdir("wheels")

    def installed(build: Build) -> dict[str, str]:
        folder = kept / "{}.{}".format(*build.minor)
        if not folder.exists():
            _install("{}.{}".format(*build.minor), folder)
        variables = {"PYTHONPATH": str(folder)}
        if build.tree is not None:  # it has no C++
            variables["LD_LIBRARY_PATH"] = str(folder / "libraries")
        return variables

    return installed


def _install(version: str, folder: Path) -> None:
    """Skips the test where the index cannot be reached; `folder` appears when it is whole."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        made = Path(place) / "made"
        pip = (sys.executable, "-m", "pip", "install", "--quiet", "--only-binary=:all:")
        done = subprocess.run(
            [*pip, f"--python-version={version}", f"--target={made}", *PACKAGES],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            assert os.environ.get("MIXSTACK_REQUIRE_ALL") != "1", done.stderr
            pytest.skip(f"no wheels for {version}: {done.stderr.strip().splitlines()[-1]}")
        (made / "libraries").mkdir()
        for name in ("libstdc++.so.6", "libgcc_s.so.1"):
            found = subprocess.run(
                ["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True
            )
            shutil.copy(found.stdout.strip(), made / "libraries" / name)
        made.rename(folder)
