"""Frames in JIT code: only in memory without a module, and with the name of their moment."""

from __future__ import annotations

import pytest

from mixstack.jit.model import JitLine, JitSource, JitSymbol
from mixstack.model import Frame, FrameKind, NativeFrame, NativeItem, Step
from mixstack.symbolize.names import Namer

from .captures import PID, FakeCapture, capture

FIB = JitSymbol(
    PID,
    JitSource.DUMP,
    1,
    0x80000,
    0x80100,
    "_Z3fibi",
    90,
    90,
    (JitLine(0x80010, 3, "fib.js"), JitLine(0x80020, 4, "inlined.js")),
)
SORT = JitSymbol(PID, JitSource.DUMP, 2, 0x80000, 0x80100, "JS:*sort a.js:1:2", 200, 200)
EVERYWHERE = JitSymbol(PID, JitSource.MAP, 1, 0x1000, 0x100000, "everywhere", 0, 90)


def with_jit(*symbols: JitSymbol) -> FakeCapture:
    of = capture()
    of.jit_symbols = {PID: symbols}
    return of


def _at(pc: int, step: Step = Step.LEAF) -> NativeItem:
    return NativeItem(NativeFrame(pc, 0, step), evaluator=False)


@pytest.mark.parametrize(
    ("pc", "step", "name", "file", "line"),
    [
        pytest.param(0x80010, Step.LEAF, "fib(int)", "fib.js", 3, id="with a line"),
        pytest.param(0x80020, Step.LEAF, "fib(int)", "inlined.js", 4, id="with another file's"),
        pytest.param(0x80020, Step.CALLER, "fib(int)", "fib.js", 3, id="a call's own line"),
        pytest.param(0x80000, Step.LEAF, "fib(int)", "[jit]", None, id="before the first line"),
        pytest.param(0x99999, Step.LEAF, "everywhere", "[jit]", None, id="in no known mapping"),
        pytest.param(0x30010, Step.LEAF, "libc.so.6+0x10", "/lib/libc.so.6", None, id="a module"),
        pytest.param(0x70010, Step.LEAF, "[perf trampoline]", None, None, id="a trampoline"),
        pytest.param(0x100000, Step.LEAF, "[unknown]", None, None, id="nothing said"),
    ],
)
def test_what_is_named(pc: int, step: Step, name: str, file: str | None, line: int | None) -> None:
    found = Namer(with_jit(FIB, EVERYWHERE)).frame(PID, 100, _at(pc, step))
    assert (found.name, found.file, found.line) == (name, file, line)
    assert found.resolved == (file != "/lib/libc.so.6" and name != "[unknown]")


def test_memory_that_is_used_again_has_another_name() -> None:
    namer = Namer(with_jit(FIB, SORT))
    before, after = namer.frame(PID, 199, _at(0x80000)), namer.frame(PID, 200, _at(0x80000))
    assert before == Frame(FrameKind.NATIVE, "fib(int)", "[jit]")
    assert after == Frame(FrameKind.NATIVE, "JS:*sort a.js:1:2", "[jit]")
    assert namer.generation(PID, 199) != namer.generation(PID, 200)
    assert namer.frame(PID, 200, _at(0x10210)) is namer.frame(PID, 100, _at(0x10210))
