"""Legal stacks, written down as a small regular grammar over frames and checked by an automaton.

A grammar is a list of rules, one `name = pattern` per line (an indented line goes on with the one
above, `#` begins a comment); `stack` is where it starts. Where the C or the libraries of CPython
changed, a rule says of which versions it holds: `step[3.8-3.10] = ...`, `step[3.12-] = ...`,
`stack[3.11] = ...`. Of rules with one name the last that holds counts. Words of a pattern, divided
by blanks:

    py:work               a Python frame of the program's own file, by qualname; `*`: any text
    py:json/decoder.py:*  a Python frame of another file: `FILE:QUALNAME`, where FILE ends the path
    c:list_sort,@_json*   one native frame: by symbol, or by `@module`
    c:*                   any number of native frames
    k:*                   one or more kernel frames
    mark:truncated        a mark, by the name of its MarkReason
    ( ... )  ( ... )?  ( ... )*  ( ... )+  |  and the name of a rule that stands above

What is legal is more than the patterns themselves, because a sample comes at any moment: every
beginning of a described stack is legal once it holds a Python frame, and after it may follow the C
that this frame runs, then the kernel. Nothing else is: no Python frame without its native parents,
no kernel frame below user code, no mark that was not written down.

A mark that was not written down stands for what it says is missing, and for nothing else: after
[Python stack cut] Python frames, up to the next one; at [unwinding stopped] native frames, down to
the first that is there; at [frames missing] native frames, up to the next one. Such a stack is
INCOMPLETE: how many there may be is for the test to say.

A stripped module has no names for its static functions. There an unnamed frame may stand for any
`c:` word, and may stand between two frames as well (it may be plumbing that could not be hidden).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from mixstack.model import Frame, FrameKind, MarkReason

BUILT_IN = """
entry = c:_start ( c:__libc_start*,@libc.so* )+ ( c:main )?
root = entry py:<module>
pthread = ( c:*clone3,start_thread,@libc.so* )+
thread = pthread py:threading.py:Thread._bootstrap py:threading.py:Thread._bootstrap_inner
         py:threading.py:Thread.run
thread[3.14-] = pthread py:threading.py:Thread._bootstrap
         py:threading.py:Thread._bootstrap_inner c:context_run* py:threading.py:Thread.run
"""


NEWEST = (3, 15)
QUALIFIED_SINCE = (3, 11)  # before, a code object has no qualified name, only its last part

_Kinds = frozenset[FrameKind]
_Version = tuple[int, int]
_NOTHING: _Kinds = frozenset()


class Verdict(enum.Enum):
    """`FULL`: a described stack to its end. `PREFIX`: legal, but the behaviour was not reached.

    `INCOMPLETE`: one of these two, but for the frames that a mark says are missing.
    """

    FULL = "full"
    PREFIX = "prefix"
    INCOMPLETE = "incomplete"
    OUTSIDE = "outside"


class BadGrammar(ValueError):
    """The text of a grammar is wrong; the message says where."""


class Word(NamedTuple):
    """One frame of a pattern. `choices`: (file or module pattern or None, name pattern or None)."""

    kind: FrameKind
    choices: tuple[tuple[re.Pattern[str] | None, re.Pattern[str] | None], ...]

    def admits(self, frame: Frame, stripped: Collection[str]) -> bool:
        if frame.kind is not self.kind:
            return False
        if frame.kind is FrameKind.NATIVE and is_nameless(frame, stripped):
            return True
        name = bare_symbol(frame.name) if frame.kind is FrameKind.NATIVE else frame.name
        return any(
            (file is None or (frame.file is not None and file.fullmatch(frame.file) is not None))
            and (pattern is None or pattern.fullmatch(name) is not None)
            for file, pattern in self.choices
        )


class Match(NamedTuple):
    """A verdict, and how many frames from the root were matched before the leaf's C and kernel."""

    verdict: Verdict
    matched: int


class Grammar:
    """The automaton of a grammar's `stack` rule.

    own_file: the file that `py:NAME` means. version: the CPython (major, minor) that is meant; if
    it has no qualified names, a pattern means their last part. Raises BadGrammar.
    """

    def __init__(self, text: str, own_file: str, version: tuple[int, int] = NEWEST) -> None:
        rules: dict[str, list[str]] = {}
        for name, pattern in _rules(BUILT_IN + "\n" + text, version):
            words: list[str] = []
            for word in pattern.split():
                words += ["(", *rules[word], ")"] if word in rules else [word]
            rules[name] = words
        if "stack" not in rules:
            raise BadGrammar("there is no rule `stack`")
        self._own_file = own_file
        self._qualified = version >= QUALIFIED_SINCE
        self._edges: list[list[tuple[Word, int]]] = []
        self._skips: list[list[int]] = []
        self._steps: dict[tuple[frozenset[int], Frame, frozenset[str], _Kinds], frozenset[int]] = {}
        self._words = rules["stack"]
        self._next = 0
        self._start, self._accept = self._alternatives()
        if self._next != len(self._words):
            raise BadGrammar(f"unexpected {self._words[self._next]!r}")

    def match(self, frames: Sequence[Frame], stripped: Collection[str] = ()) -> Match:
        """Frames outermost first, plumbing removed; `stripped`: modules without symbols."""
        stripped = frozenset(stripped)
        found = self._match(frames, stripped, [_NOTHING] * (len(frames) + 1))
        missing = _missing(frames)
        if found.verdict is not Verdict.OUTSIDE or not any(missing):
            return found
        again = self._match(frames, stripped, missing)
        legal = again.verdict is not Verdict.OUTSIDE
        return Match(Verdict.INCOMPLETE if legal else Verdict.OUTSIDE, again.matched)

    def spoken_of(self, frames: Sequence[Frame]) -> tuple[Frame, ...]:
        """Without the C functions that are there only where nothing is inlined.

        No pattern means them, or they are what Argument Clinic calls the rest of their caller.
        """
        words = {word for edges in self._edges for word, _ in edges}
        callers = ["", *(frame.name for frame in frames)]
        return tuple(
            frame
            for caller, frame in zip(callers, frames, strict=False)
            if frame.kind is not FrameKind.NATIVE
            or (frame.name != f"{caller}_impl" and any(word.admits(frame, ()) for word in words))
        )

    def _match(
        self, frames: Sequence[Frame], stripped: frozenset[str], missing: Sequence[_Kinds]
    ) -> Match:
        """`missing`: before each frame, and at the end, of which kinds frames may be missing."""
        states = self._closure({self._start}, missing[0])
        python_seen = False
        verdict, matched = Verdict.OUTSIDE, 0
        leaf_from = _leaf_start(frames)
        for index in range(len(frames) + 1):
            if not states:
                break
            matched = index
            complete = self._accept in states
            if index >= leaf_from and (complete or python_seen) and verdict is not Verdict.FULL:
                verdict = Verdict.FULL if complete else Verdict.PREFIX
            if index < len(frames):
                frame, after = frames[index], missing[index + 1]
                states = self._step(states, frame, stripped, after)
                python_seen |= frame.kind is FrameKind.PYTHON or FrameKind.PYTHON in after
        return Match(verdict, matched)

    def _step(
        self, states: frozenset[int], frame: Frame, stripped: frozenset[str], missing: _Kinds
    ) -> frozenset[int]:
        key = (states, frame, stripped, missing)
        if key not in self._steps:
            after = {
                target
                for state in states
                for word, target in self._edges[state]
                if word.admits(frame, stripped)
            }
            nameless = frame.kind is FrameKind.NATIVE and is_nameless(frame, stripped)
            if nameless or (frame.kind is FrameKind.MARK and missing):
                after |= states
            self._steps[key] = self._closure(after, missing)
        return self._steps[key]

    def _closure(self, states: Iterable[int], missing: _Kinds) -> frozenset[int]:
        reached, pending = set(states), list(states)
        while pending:
            state = pending.pop()
            skipped = [target for word, target in self._edges[state] if word.kind in missing]
            for target in self._skips[state] + skipped:
                if target not in reached:
                    reached.add(target)
                    pending.append(target)
        return frozenset(reached)

    # --- the parser: recursive descent, each method returns (entry, exit) of its part -------------

    def _state(self) -> int:
        self._edges.append([])
        self._skips.append([])
        return len(self._edges) - 1

    def _alternatives(self) -> tuple[int, int]:
        entry, exit_ = self._state(), self._state()
        while True:
            first, last = self._sequence()
            self._skips[entry].append(first)
            self._skips[last].append(exit_)
            if self._peek() != "|":
                return entry, exit_
            self._next += 1

    def _sequence(self) -> tuple[int, int]:
        entry = last = self._state()
        while (word := self._peek()) is not None and word != "|" and not word.startswith(")"):
            self._next += 1
            first, end = self._group() if word == "(" else self._single(word)
            self._skips[last].append(first)
            last = end
        return entry, last

    def _group(self) -> tuple[int, int]:
        first, last = self._alternatives()
        closing = self._peek()
        if closing not in (")", ")?", ")*", ")+"):
            raise BadGrammar("a ( is not closed")
        self._next += 1
        entry, exit_ = self._state(), self._state()
        self._skips[entry].append(first)
        self._skips[last].append(exit_)
        if closing in (")?", ")*"):
            self._skips[entry].append(exit_)
        if closing in (")*", ")+"):
            self._skips[last].append(first)
        return entry, exit_

    def _single(self, text: str) -> tuple[int, int]:
        entry, exit_ = self._state(), self._state()
        word = parse_word(text, self._own_file, self._qualified)
        self._edges[entry].append((word, exit_))
        if text in ("c:*", "k:*"):
            self._skips[exit_].append(entry)
        if text == "c:*":
            self._skips[entry].append(exit_)
        return entry, exit_

    def _peek(self) -> str | None:
        return self._words[self._next] if self._next < len(self._words) else None


def parse_word(text: str, own_file: str, qualified: bool = True) -> Word:
    """`py:a,file.py:b`, `c:symbol,@module`, `k:symbol` or `mark:reason`. Raises BadGrammar."""
    prefix, colon, rest = text.partition(":")
    if not colon or not rest:
        raise BadGrammar(f"neither a frame nor a rule above: {text!r}")
    parts = rest.split(",")
    if prefix == "py":
        choices = []
        for part in parts:
            file, divider, name = part.rpartition(":")
            name = name if qualified else name.rpartition(".")[2]
            path = file if file[:1] in ("<", "/", "*") else "*/" + file
            choices.append((_glob(path if divider else own_file), _glob(name)))
        return Word(FrameKind.PYTHON, tuple(choices))
    if prefix == "c":
        return Word(
            FrameKind.NATIVE,
            tuple(
                (_glob("*/" + part[1:]), None) if part.startswith("@") else (None, _glob(part))
                for part in parts
            ),
        )
    if prefix == "k":
        return Word(FrameKind.KERNEL, tuple((None, _glob(part)) for part in parts))
    if prefix == "mark":
        try:
            return Word(
                FrameKind.MARK,
                # a cut may say where: "[unwinding stopped] in libfoo.so"
                tuple((None, _glob(MarkReason[part.upper()].value + "*")) for part in parts),
            )
        except KeyError as unknown:
            raise BadGrammar(f"no such mark: {unknown.args[0].lower()!r}") from None
    raise BadGrammar(f"unknown kind of frame: {text!r}")


def bare_symbol(name: str) -> str:
    """A symbol without what a compiler adds to a copy (`.constprop.0`, ` [clone ...]`)."""
    return name.split(" [", 1)[0].split(".", 1)[0]


def is_nameless(frame: Frame, stripped: Collection[str]) -> bool:
    return not frame.resolved and frame.file in stripped


def bare_evaluators(frames: Sequence[Frame]) -> int:
    """How many evaluators that are not the innermost hold no Python frame; plumbing included.

    One that is about to return has lost its frame already and may still run a finalizer; anywhere
    else it means that Python frames were lost or put in the wrong slot.
    """
    evaluators = [
        i
        for i, frame in enumerate(frames)
        if frame.kind is FrameKind.NATIVE and bare_symbol(frame.name) == "_PyEval_EvalFrameDefault"
    ]
    return sum(frames[i + 1].kind is not FrameKind.PYTHON for i in evaluators[:-1])


def _leaf_start(frames: Sequence[Frame]) -> int:
    """The first index from which on there are only native frames, then only kernel frames."""
    index = len(frames)
    while index and frames[index - 1].kind is FrameKind.KERNEL:
        index -= 1
    while index and frames[index - 1].kind is FrameKind.NATIVE:
        index -= 1
    return index


def _missing(frames: Sequence[Frame]) -> list[_Kinds]:
    """Before each frame, and behind the last, of which kinds frames may be missing."""
    missing = []
    cut = any(_is_mark(frame, MarkReason.CUT) for frame in frames)
    kinds = {FrameKind.NATIVE} if cut else set()
    for frame in frames:
        missing.append(frozenset(kinds))
        if _is_mark(frame, MarkReason.CHAIN_CUT):
            kinds.add(FrameKind.PYTHON)
        elif _is_mark(frame, MarkReason.GAP):
            kinds.add(FrameKind.NATIVE)
        else:
            kinds.discard(frame.kind)
    return [*missing, frozenset(kinds)]


def _is_mark(frame: Frame, reason: MarkReason) -> bool:
    # a cut may say where: "[unwinding stopped] in libfoo.so"
    return frame.kind is FrameKind.MARK and frame.name.startswith(reason.value)


def _rules(text: str, version: _Version) -> list[tuple[str, str]]:
    """(name, pattern) of the rules that hold for a version, in their order."""
    rules: list[tuple[str, str]] = []
    for line in text.splitlines():
        line = re.sub(r"(^|\s)#.*", "", line).rstrip()
        if not line:
            continue
        if line[0].isspace() and rules:
            rules[-1] = (rules[-1][0], f"{rules[-1][1]} {line}")
            continue
        name, equals, pattern = line.partition(" = ")
        if not equals:
            raise BadGrammar(f"not a rule: {line!r}")
        rules.append((name.strip(), pattern))
    return [(name.partition("[")[0], of) for name, of in rules if _holds(name, version)]


def _holds(rule: str, version: _Version) -> bool:
    """Whether `name`, `name[3.11]`, `name[3.8-3.10]` or `name[3.12-]` is meant for a version."""
    match = re.fullmatch(r"\w+(?:\[(3\.\d+)\]|\[(3\.\d+)?-(3\.\d+)?\])?", rule)
    if match is None:
        raise BadGrammar(f"not the name of a rule: {rule!r}")
    only, first, last = map(_version, match.groups())
    return version == (only or version) and (first or version) <= version <= (last or version)


def _version(text: str | None) -> _Version | None:
    if text is None:
        return None
    major, _, minor = text.partition(".")
    return int(major), int(minor)


def _glob(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)
