"""Which native frames are taken for the bytecode loop, by what has held a marker and by name.

Native frames are written `function/place@CFA`: the namer knows the function, the pc is the place.
Whether `f` (a frame of a chain that was cut in its only segment) has a place depends on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from posixpath import basename
from typing import Any

import pytest

from mixstack.merge.arrange import merged_stack
from mixstack.merge.evaluators import Evaluators
from mixstack.model import (
    ChainEnd,
    Fit,
    Frame,
    FrameKind,
    Item,
    MergedStack,
    NativeEnd,
    NativeItem,
    RawStack,
)
from tests.unit.merge.notation import name_of, raw_stack, words

LOOP = "_PyEval_EvalFrameDefault"


@dataclass
class FakeNamer:
    """Knows of each pc the function; `modules`: the module of some functions."""

    modules: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def has_module(self, pid: int, prefixes: tuple[str, ...]) -> bool:
        return any(basename(path).startswith(prefixes) for path in self.modules.values())

    def generation(self, pid: int, time_ns: int) -> int:
        return 0

    def frames(self, pid: int, time_ns: int, item: Item) -> tuple[Frame, ...]:
        raise AssertionError("inlined calls hold no markers")

    def frame(self, pid: int, time_ns: int, item: Item) -> Frame:
        assert isinstance(item, NativeItem)
        assert not item.evaluator, "then the answer would be that it is one"
        assert item.frame.pc is not None
        function = name_of(item.frame.pc).partition("/")[0]
        self.asked.append(function)
        return Frame(FrameKind.NATIVE, function, self.modules.get(function))


def merged(evaluators: Evaluators, pid: int, stack: RawStack) -> MergedStack:
    return merged_stack(stack, evaluators.join(pid, 0, stack))


def cut(native: str, **more: Any) -> RawStack:
    """A stack of which the chain was cut inside its only segment."""
    return raw_stack(native, "?:f", chain_end=ChainEnd.TRUNCATED, **more)


def whole(native: str, python: str = "760:main", **more: Any) -> RawStack:
    return raw_stack(native, python, **more)


PLAIN = "run@900 code/1@800 leaf@500"
OTHER_PLACE = cut("run@900 code/2@800 leaf@500")


@pytest.mark.parametrize(
    ("before", "stack", "slot"),
    [
        pytest.param([], OTHER_PLACE, None, id="nothing is known"),
        pytest.param([whole(PLAIN)], OTHER_PLACE, "code/2", id="the function held a marker"),
        pytest.param(
            [whole(PLAIN)],
            cut("run@900 code/1@800 other/1@700 leaf@500"),
            "code/1",
            id="of its callees nothing is known",
        ),
        pytest.param([], cut(f"run@900 {LOOP}/1@800 leaf@500"), f"{LOOP}/1", id="by its symbol"),
        pytest.param(
            [], cut(f"run@900 {LOOP}.cold/1@800 leaf@500"), f"{LOOP}.cold/1", id="its cold part"
        ),
        pytest.param(
            [], cut(f"run@900 {LOOP}2/1@800 leaf@500"), None, id="a name that begins like it"
        ),
        pytest.param(
            [whole("run@900 code/1@800^fp leaf@500")],
            OTHER_PLACE,
            "code/2",
            id="frames missing further in change nothing",
        ),
        pytest.param(
            [whole("code/1@800 leaf@500", native_end=NativeEnd.NO_RULE)],
            OTHER_PLACE,
            None,
            id="a cut stack is no proof",
        ),
        pytest.param(
            [whole("code/1@800 leaf@500", native_end=NativeEnd.NO_RULE, marker_span=40)],
            OTHER_PLACE,
            "code/2",
            id="a cut stack is proof at the distance that the probe knew",
        ),
        pytest.param(
            [whole("code/1@801 leaf@500", native_end=NativeEnd.NO_RULE, marker_span=40)],
            OTHER_PLACE,
            None,
            id="but not at another one",
        ),
        pytest.param(
            [
                whole("run@900 known/1@800 leaf@500"),
                whole("code/1@800 leaf@500", native_end=NativeEnd.NO_RULE, marker_span=40),
            ],
            OTHER_PLACE,
            None,
            id="once one is known, only whole stacks prove more",
        ),
        pytest.param(
            [whole("run@900 known/1@800 leaf@500"), whole(PLAIN)],
            OTHER_PLACE,
            "code/2",
            id="they do",
        ),
        pytest.param(
            [whole("run@900 code/1@800^resync dead@500", marker_span=40)],
            cut("run@900 dead/1@800 leaf@500"),
            None,
            id="a frame that the walk restarted at tells no function",
        ),
        pytest.param(
            [],
            cut("run@900 code/1@800^resync dead@500"),
            "?",
            id="but is an evaluator itself",
        ),
        pytest.param(
            [whole("run@900 code/1@800 sort@700 leaf@500", "main", counted=True)],
            OTHER_PLACE,
            None,
            id="where nothing could be counted nothing is proven",
        ),
        pytest.param(
            [raw_stack(f"run@900 {LOOP}/1@800 leaf@500", "main", counted=True)],
            OTHER_PLACE,
            None,
            id="what was counted proves nothing new",
        ),
    ],
)
def test_where_the_frames_of_a_cut_chain_go(
    before: list[RawStack], stack: RawStack, slot: str | None
) -> None:
    evaluators = Evaluators(FakeNamer())
    for earlier in before:
        evaluators.join(1, 0, earlier)
    joined = words(merged(evaluators, 1, stack).items)
    if slot is None:
        assert "f [unplaced-Python-frames]" in joined
    else:
        assert f"{slot}* [truncated] f" in joined


def test_a_marker_in_another_process_proves_nothing() -> None:
    evaluators = Evaluators(FakeNamer())
    evaluators.join(1, 0, whole(PLAIN))
    assert "unplaced" in words(merged(evaluators, 2, OTHER_PLACE).items)
    assert "unplaced" not in words(merged(evaluators, 1, OTHER_PLACE).items)


def test_a_stripped_evaluator_fills_gaps_too() -> None:
    """3.8, 3.9: the frame that is traced has no marker yet; its evaluator is known from others."""
    evaluators = Evaluators(FakeNamer())
    evaluators.join(1, 0, whole(PLAIN, marker_span=40))
    stack = whole("run@990 code/3@900 code/4@800 leaf@500", "860:main ?:traced", marker_span=40)
    found = merged(evaluators, 1, stack)
    assert words(found.items) == "run code/3* main code/4* traced leaf"
    assert found.fit is Fit.COUNTED


def test_where_addresses_settle_all_only_the_holder_is_named() -> None:
    namer = FakeNamer()
    Evaluators(namer).join(1, 0, whole(PLAIN))
    assert namer.asked == ["code"]


# The hub runs main, and switch begins a greenlet that runs task; no marker is known (3.8, 3.9).
GREENLET = raw_stack(f"run@900 {LOOP}/1@800 switch@700 {LOOP}/2@600 leaf@500", "task", counted=True)
PLACED = f"run {LOOP}/1 switch {LOOP}/2* task leaf"
UNPLACED = f"task [unplaced-Python-frames] run {LOOP}/1 switch {LOOP}/2 leaf"


@pytest.mark.parametrize(
    ("module", "line", "fit"),
    [
        ("/lib/greenlet/_greenlet.cpython-38-x86_64-linux-gnu.so", PLACED, Fit.COUNTED),
        ("/lib/greenlet.cpython-38-x86_64-linux-gnu.so", PLACED, Fit.COUNTED),
        ("/lib/greenlet/other.so", UNPLACED, Fit.PARTIAL),
        (None, UNPLACED, Fit.PARTIAL),
    ],
    ids=["greenlet since 1.0", "before", "a folder of that name", "no module"],
)
def test_only_greenlet_switches_stacks(module: str | None, line: str, fit: Fit) -> None:
    namer = FakeNamer(modules={} if module is None else {"switch": module})
    found = merged(Evaluators(namer), 1, GREENLET)
    assert words(found.items) == line
    assert found.fit is fit


SWITCHING = {"switch": "/lib/greenlet/_greenlet.cpython-315-x86_64-linux-gnu.so"}


@pytest.mark.parametrize(
    ("modules", "native", "line", "fit"),
    [
        (
            SWITCHING,
            f"run@900 {LOOP}/1@800 sort@700 {LOOP}/2@600 switch@500 copy@400",
            f"run {LOOP}/1* pong key [unplaced-Python-frames] sort {LOOP}/2 switch copy",
            Fit.PARTIAL,
        ),
        (
            SWITCHING,
            f"run@900 {LOOP}/1@800 sort@700 {LOOP}/2@600",
            f"run {LOOP}/1* pong key sort {LOOP}/2",
            Fit.EXACT,
        ),
        (
            SWITCHING,
            f"run@900 {LOOP}/1@800 switch@700 copy@600",
            f"run {LOOP}/1* pong key switch copy",
            Fit.EXACT,
        ),
        (
            {},
            f"run@900 {LOOP}/1@800 sort@700 {LOOP}/2@600 switch@500 copy@400",
            f"run {LOOP}/1* pong key sort {LOOP}/2 switch copy",
            Fit.EXACT,
        ),
    ],
    ids=["it relinks", "an evaluator that begins", "no other evaluator", "another library"],
)
def test_frames_that_greenlet_links_past_their_markers(
    modules: dict[str, str], native: str, line: str, fit: Fit
) -> None:
    """One of two evaluators has both frames for a moment: that is not said to be exact."""
    evaluators = Evaluators(FakeNamer(modules))
    found = merged(evaluators, 1, raw_stack(native, "760:pong,key"))
    assert words(found.items) == line
    assert found.fit is fit
