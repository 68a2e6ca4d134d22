"""The grammar engine itself, on stacks written by hand: what it admits, and what it must refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixstack.model import Frame, FrameKind

from .grammar import NEWEST, BadGrammar, Grammar, Verdict, bare_evaluators
from .mutants import mutants
from .programs import PROGRAMS, legal_stacks

OWN = "/srv/app.py"
PYTHON = "/usr/bin/python3"
KINDS = {
    "py": FrameKind.PYTHON,
    "c": FrameKind.NATIVE,
    "k": FrameKind.KERNEL,
}
ROOT = "c:_start c:__libc_start_main c:main py:<module>"
SORT = "stack = root py:work c:builtin_sorted ( c:list_sort* )+ py:key"


def frames(text: str) -> list[Frame]:
    """`c:name`, `c:?` (nameless, the interpreter's), `c:name@module`, `py:name`, `py:file:name`."""
    made = []
    for word in text.split():
        prefix, _, rest = word.partition(":")
        if prefix == "py":
            file, _, name = rest.rpartition(":")
            made.append(Frame(FrameKind.PYTHON, name, file or OWN, 1))
        elif prefix == "mark":
            made.append(Frame(FrameKind.MARK, rest.replace("_", " "), None))
        elif rest == "?":
            made.append(Frame(FrameKind.NATIVE, "python3+0x10", PYTHON, resolved=False))
        else:
            name, _, module = rest.partition("@")
            made.append(Frame(KINDS[prefix], name, f"/lib/{module}" if module else None))
    return made


LEGAL = "c:_start c:__libc_start_main c:main py:<module> py:work c:builtin_sorted c:list_sort"


@pytest.mark.parametrize(
    ("stack", "verdict"),
    [
        pytest.param(f"{LEGAL} c:list_sort_impl py:key", Verdict.FULL, id="the whole stack"),
        pytest.param(f"{LEGAL} py:key c:long_xor c:malloc", Verdict.FULL, id="C below the leaf"),
        pytest.param(f"{LEGAL} py:key c:malloc k:page_fault", Verdict.FULL, id="kernel at the end"),
        pytest.param(f"{LEGAL} py:key k:timer", Verdict.FULL, id="kernel straight after Python"),
        pytest.param(LEGAL, Verdict.PREFIX, id="stopped in the C parent"),
        pytest.param(f"{ROOT} py:work c:gc_collect", Verdict.PREFIX, id="C of the caller"),
        pytest.param(
            f"{LEGAL} c:list_sort_impl.constprop.0 py:key", Verdict.FULL, id="a copied function"
        ),
        pytest.param(f"{ROOT} py:work py:key", Verdict.OUTSIDE, id="no native parent"),
        pytest.param(
            f"{ROOT} py:work c:list_sort py:key", Verdict.OUTSIDE, id="a native parent is missing"
        ),
        pytest.param(
            f"{ROOT} py:work py:key c:builtin_sorted c:list_sort",
            Verdict.OUTSIDE,
            id="the segment went into the slot above",
        ),
        pytest.param(
            f"{ROOT} py:key c:builtin_sorted c:list_sort py:work",
            Verdict.OUTSIDE,
            id="two segments exchanged",
        ),
        pytest.param(
            f"{ROOT} c:builtin_sorted c:list_sort py:key", Verdict.OUTSIDE, id="the caller is lost"
        ),
        pytest.param(
            "c:main py:<module> py:work c:builtin_sorted c:list_sort py:key",
            Verdict.OUTSIDE,
            id="does not reach the root",
        ),
        pytest.param(
            f"mark:[truncated] {LEGAL} py:key", Verdict.OUTSIDE, id="a mark nobody wrote down"
        ),
        pytest.param(
            f"{LEGAL} k:page_fault py:key", Verdict.OUTSIDE, id="kernel frames below user code"
        ),
        pytest.param(f"{LEGAL} py:key py:key", Verdict.OUTSIDE, id="a frame twice"),
        pytest.param(f"{LEGAL} py:/x/other.py:key", Verdict.OUTSIDE, id="the name, another file"),
        pytest.param("c:_start c:__libc_start_main c:main", Verdict.OUTSIDE, id="no Python at all"),
        pytest.param("", Verdict.OUTSIDE, id="an empty stack"),
    ],
)
def test_a_callback_from_c(stack: str, verdict: Verdict) -> None:
    assert Grammar(SORT, OWN).match(frames(stack)).verdict is verdict


@pytest.mark.parametrize(
    ("stack", "stripped", "verdict"),
    [
        pytest.param(
            "c:? c:__libc_start_main c:? c:? py:<module> c:? py:work c:? c:? py:key",
            True,
            Verdict.FULL,
            id="unnamed parents and plumbing",
        ),
        pytest.param(
            "c:? c:__libc_start_main py:<module> py:work py:key",
            True,
            Verdict.OUTSIDE,
            id="still needs its parents",
        ),
        pytest.param(
            "c:? c:__libc_start_main c:? py:<module> py:key c:? c:? py:work",
            True,
            Verdict.OUTSIDE,
            id="still in order",
        ),
        pytest.param(
            f"{ROOT} py:work c:? c:? py:key",
            False,
            Verdict.OUTSIDE,
            id="not where the module has symbols",
        ),
    ],
)
def test_a_stripped_interpreter(stack: str, stripped: bool, verdict: Verdict) -> None:
    modules = {PYTHON} if stripped else set()
    assert Grammar(SORT, OWN).match(frames(stack), modules).verdict is verdict


CALLS = "c:builtin_sorted c:list_sort"


@pytest.mark.parametrize(
    ("stack", "verdict"),
    [
        pytest.param(
            f"c:_start c:__libc_start_main c:main mark:[Python_stack_cut] py:work {CALLS} py:key",
            Verdict.INCOMPLETE,
            id="the outer end of a segment",
        ),
        pytest.param(
            f"mark:[Python_stack_cut] c:_start c:__libc_start_main c:main {CALLS} py:key",
            Verdict.INCOMPLETE,
            id="a whole segment",
        ),
        pytest.param(
            f"mark:[Python_stack_cut] c:_start c:__libc_start_main c:main {CALLS}",
            Verdict.INCOMPLETE,
            id="all Python frames",
        ),
        pytest.param(
            "c:_start c:__libc_start_main c:main mark:[Python_stack_cut] py:work py:key",
            Verdict.OUTSIDE,
            id="a cut chain does not excuse a lost native frame",
        ),
        pytest.param(
            f"c:_start c:__libc_start_main c:main mark:[Python_stack_cut] py:key {CALLS} py:work",
            Verdict.OUTSIDE,
            id="nor the wrong order",
        ),
        pytest.param(
            f"{ROOT} mark:[Python_stack_cut] {CALLS} py:<module>",
            Verdict.OUTSIDE,
            id="nor a frame in the wrong place",
        ),
        pytest.param(
            f"{ROOT} py:work mark:[frames_missing] c:list_sort py:key",
            Verdict.INCOMPLETE,
            id="a gap in the native stack",
        ),
        pytest.param(
            f"{ROOT} py:work mark:[frames_missing] py:key",
            Verdict.INCOMPLETE,
            id="nothing but a gap",
        ),
        pytest.param(
            f"{ROOT} py:work mark:[frames_missing] c:PyLong_Add",
            Verdict.INCOMPLETE,
            id="a leaf's gap",
        ),
        pytest.param(
            f"{ROOT} mark:[frames_missing] {CALLS} py:key",
            Verdict.OUTSIDE,
            id="a gap does not excuse a lost Python frame",
        ),
        pytest.param(
            f"{ROOT} py:work mark:[frames_missing] c:list_sort c:main py:key",
            Verdict.OUTSIDE,
            id="nor a native frame that does not belong there",
        ),
        pytest.param(
            "py:<module> py:work mark:[unwinding_stopped] c:list_sort py:key",
            Verdict.INCOMPLETE,
            id="the native stack was cut",
        ),
        pytest.param(
            "py:work mark:[unwinding_stopped] c:list_sort py:key",
            Verdict.OUTSIDE,
            id="which does not excuse a lost Python frame",
        ),
        pytest.param(
            "mark:[Python_stack_cut] mark:[unwinding_stopped] c:list_sort",
            Verdict.INCOMPLETE,
            id="both were cut",
        ),
        pytest.param(
            f"{ROOT} py:work {CALLS} py:key mark:[unplaced_Python_frames]",
            Verdict.OUTSIDE,
            id="frames without a place are not missing",
        ),
    ],
)
def test_marks_that_nobody_wrote_down(stack: str, verdict: Verdict) -> None:
    assert Grammar(SORT, OWN).match(frames(stack)).verdict is verdict


@pytest.mark.parametrize(
    ("pattern", "stack", "verdict"),
    [
        pytest.param("( py:a py:b )* ( py:a )?", "py:a py:b py:a", Verdict.FULL, id="turns"),
        pytest.param("( py:a py:b )* ( py:a )?", "py:a py:a", Verdict.OUTSIDE, id="out of turn"),
        pytest.param("py:a ( c:f | c:g ) py:b", "py:a c:g py:b", Verdict.FULL, id="either"),
        pytest.param("py:a ( c:f | c:g ) py:b", "py:a c:f c:g py:b", Verdict.OUTSIDE, id="both"),
        pytest.param("py:a c:* py:b", "py:a c:x c:y py:b", Verdict.FULL, id="any C"),
        pytest.param("py:a c:* py:b", "py:a py:b", Verdict.FULL, id="no C"),
        pytest.param("py:a c:* py:b", "py:a k:x py:b", Verdict.OUTSIDE, id="kernel is not C"),
        pytest.param("py:a c:@libz.so* k:*", "py:a c:f@libz.so.1 k:x", Verdict.FULL, id="module"),
        pytest.param("py:a c:@libz.so* py:b", "py:a c:f@libm.so py:b", Verdict.OUTSIDE, id="other"),
        pytest.param("py:a c:f k:*", "py:a c:f", Verdict.PREFIX, id="kernel not reached"),
        pytest.param("mark:truncated py:a", "mark:[truncated] py:a", Verdict.FULL, id="a mark"),
        pytest.param("py:<made*>:f*", "py:<made7>:f7", Verdict.FULL, id="made-up files"),
        pytest.param("py:json/a.py:f", "py:/lib/json/a.py:f", Verdict.FULL, id="a library's file"),
        pytest.param("py:json/a.py:f", "py:/lib/xjson/a.py:f", Verdict.OUTSIDE, id="whole parts"),
        pytest.param("c:burn", "c:burn", Verdict.FULL, id="a thread without Python"),
        pytest.param("py:f,g py:h", "py:g py:h", Verdict.FULL, id="one of several names"),
    ],
)
def test_patterns(pattern: str, stack: str, verdict: Verdict) -> None:
    assert Grammar(f"stack = {pattern}", OWN).match(frames(stack)).verdict is verdict


@pytest.mark.parametrize(
    ("stack", "version", "verdict"),
    [
        pytest.param("py:A.f py:/lib/b.py:B.g", (3, 11), Verdict.FULL, id="qualified"),
        pytest.param("py:f py:/lib/b.py:g", (3, 11), Verdict.OUTSIDE, id="the class is missing"),
        pytest.param("py:f py:/lib/b.py:g", (3, 10), Verdict.FULL, id="before 3.11"),
        pytest.param("py:f py:/lib/b.py:f", (3, 10), Verdict.OUTSIDE, id="another name"),
    ],
)
def test_names_before_they_were_qualified(
    stack: str, version: tuple[int, int], verdict: Verdict
) -> None:
    grammar = Grammar("stack = py:A.f py:b.py:B.g", OWN, version)
    assert grammar.match(frames(stack)).verdict is verdict


BY_VERSION = """
call = c:any
call[3.9] = c:one
call[3.11-3.12] = c:some
       c:more
call[3.14-] = c:later
stack[-3.14] = py:f call py:g
stack[3.15] = py:g call py:f
"""


@pytest.mark.parametrize(
    ("version", "stack"),
    [
        pytest.param((3, 8), "py:f c:any py:g", id="none of the special ones"),
        pytest.param((3, 9), "py:f c:one py:g", id="one version"),
        pytest.param((3, 10), "py:f c:any py:g", id="between two"),
        pytest.param((3, 11), "py:f c:some c:more py:g", id="the first of some"),
        pytest.param((3, 12), "py:f c:some c:more py:g", id="the last of some"),
        pytest.param((3, 13), "py:f c:any py:g", id="just after"),
        pytest.param((3, 14), "py:f c:later py:g", id="that one, and up to that one"),
        pytest.param((3, 15), "py:g c:later py:f", id="and later ones"),
    ],
)
def test_rules_of_some_versions(version: tuple[int, int], stack: str) -> None:
    legal = [
        minor
        for minor in range(8, 16)
        if Grammar(BY_VERSION, OWN, (3, minor)).match(frames(stack)).verdict is Verdict.FULL
    ]
    assert version[1] in legal
    assert len(legal) == (3 if "any" in stack else 2 if "some" in stack else 1)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("stack = ( py:a", id="open group"),
        pytest.param("stack = py:a )", id="closed too often"),
        pytest.param("stack = nothing", id="unknown rule"),
        pytest.param("stack = mark:lost", id="unknown mark"),
        pytest.param("stack = x:y", id="unknown kind"),
        pytest.param("begin = py:a", id="no start"),
        pytest.param("py:a py:b", id="no rule at all"),
        pytest.param("stack[3] = py:a", id="no version"),
        pytest.param("stack[3.83.9] = py:a", id="two versions in one"),
        pytest.param("stack[-3.12] = py:a", id="not for this version"),
    ],
)
def test_a_wrong_grammar_is_refused(text: str) -> None:
    with pytest.raises(BadGrammar):
        Grammar(text, OWN)


def test_every_mutant_of_a_legal_stack_is_outside() -> None:
    grammar = Grammar(SORT, OWN)
    legal = frames(f"{LEGAL} c:list_sort_impl py:key c:long_xor")
    made = list(mutants(legal))
    assert len(made) > 5
    passed = [m.how for m in made if grammar.match(m.frames).verdict is not Verdict.OUTSIDE]
    assert passed == []


@pytest.mark.parametrize(
    ("stack", "bare"),
    [
        ("c:_PyEval_EvalFrameDefault py:a c:f c:_PyEval_EvalFrameDefault py:b", 0),
        ("c:_PyEval_EvalFrameDefault py:a c:f c:_PyEval_EvalFrameDefault", 0),
        ("c:_PyEval_EvalFrameDefault c:f c:_PyEval_EvalFrameDefault py:b", 1),
        ("c:_PyEval_EvalFrameDefault.cold c:_PyEval_EvalFrameDefault", 1),
        ("c:f", 0),
    ],
)
def test_evaluators_without_python(stack: str, bare: int) -> None:
    assert bare_evaluators(frames(stack)) == bare


@pytest.mark.parametrize("path", sorted(PROGRAMS.glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_every_program_says_which_stacks_are_legal(path: Path) -> None:
    if path.stem != "mixture":
        for minor in range(8, NEWEST[1] + 1):
            legal_stacks(path, (3, minor))
