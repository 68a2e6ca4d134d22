"""Each kind of item of a joined stack, by name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mixstack.model import (
    CodeKey,
    Frame,
    FrameKind,
    Interpreter,
    Item,
    KernelItem,
    Mapping,
    MappingSnapshot,
    MarkItem,
    MarkReason,
    NativeFrame,
    NativeItem,
    PythonFrame,
    PythonItem,
    Step,
)
from mixstack.symbolize.names import Namer
from tests.unit.symbolize.captures import CODE, LIBC, LIBPYTHON, PID, capture

PYTHON, NATIVE, KERNEL, MARK = FrameKind
LIBPYTHON_PATH, LIBC_PATH, EXTENSION_PATH = (m.path for m in capture().modules.values())
EVAL = "_PyEval_EvalFrameDefault"


def native(pc: int | None, step: Step = Step.LEAF, evaluator: bool = False) -> NativeItem:
    return NativeItem(NativeFrame(pc, 0x7FFF0000, step), evaluator)


def python(offset: int, code: CodeKey = CODE) -> PythonItem:
    return PythonItem(PythonFrame(code, offset))


ROWS: list[tuple[str, Item, Frame]] = [
    ("function", native(0x10210), Frame(NATIVE, "list_sort", LIBPYTHON_PATH)),
    ("return address: the call before it", native(0x10240, Step.CALLER),
     Frame(NATIVE, "list_sort", LIBPYTHON_PATH)),
    ("the same address at the leaf: the next function", native(0x10240),
     Frame(NATIVE, "PyObject_Vectorcall", LIBPYTHON_PATH, plumbing=True)),
    ("signal: the address itself", native(0x10240, Step.SIGNAL),
     Frame(NATIVE, "PyObject_Vectorcall", LIBPYTHON_PATH, plumbing=True)),
    ("frame pointer: a return address", native(0x10240, Step.FRAME_POINTER),
     Frame(NATIVE, "list_sort", LIBPYTHON_PATH)),
    ("the interpreter's names count only in its module", native(0x50150),
     Frame(NATIVE, "method_vectorcall", EXTENSION_PATH)),
    ("C++", native(0x50100), Frame(NATIVE, "ext::run(int)", EXTENSION_PATH)),
    ("behind the last symbol", native(0x10280),
     Frame(NATIVE, "libpython3.12.so.1.0+0x280", LIBPYTHON_PATH, resolved=False)),
    ("before the first symbol", native(0x10010),
     Frame(NATIVE, "libpython3.12.so.1.0+0x10", LIBPYTHON_PATH, resolved=False)),
    ("module without symbols", native(0x30abc),
     Frame(NATIVE, "libc.so.6+0xabc", LIBC_PATH, resolved=False)),
    ("anonymous memory", native(0x80010), Frame(NATIVE, "[anon]", resolved=False)),
    ("perf trampoline", native(0x70010), Frame(NATIVE, "[perf trampoline]", plumbing=True)),
    ("no mapping", native(0x99999), Frame(NATIVE, "[unknown]", resolved=False)),
    ("evaluator by symbol", native(0x10150), Frame(NATIVE, EVAL, LIBPYTHON_PATH, plumbing=True)),
    ("evaluator by marker, under another name", native(0x10210, evaluator=True),
     Frame(NATIVE, EVAL, LIBPYTHON_PATH, plumbing=True)),
    ("evaluator by marker, without a name", native(0x19000, evaluator=True),
     Frame(NATIVE, EVAL, LIBPYTHON_PATH, plumbing=True)),
    ("evaluator by marker, in unknown memory", native(0x99999, evaluator=True),
     Frame(NATIVE, EVAL, LIBPYTHON_PATH, plumbing=True)),
    ("re-synced", native(None, Step.RESYNC), Frame(NATIVE, EVAL, LIBPYTHON_PATH, plumbing=True)),
    ("Python", python(0), Frame(PYTHON, "C.f", "app.py", 11)),
    ("Python, before its code", python(-2), Frame(PYTHON, "C.f", "app.py", 10)),
    ("Python, no location", python(2), Frame(PYTHON, "C.f", "app.py")),
    ("Python, unknown code", python(0, CodeKey(0x5000, 98)),
     Frame(PYTHON, "[unknown code]", resolved=False)),
    ("kernel", KernelItem(0xFFFF0010), Frame(KERNEL, "do_syscall_64", "[kernel]")),
    ("kernel module", KernelItem(0xFFFF0200), Frame(KERNEL, "nft_do_chain", "[nf_tables]")),
    ("kernel, unknown", KernelItem(0xFFFF0100),
     Frame(KERNEL, "[kernel]", "[kernel]", resolved=False)),
    ("mark", MarkItem(MarkReason.TRUNCATED), Frame(MARK, "[truncated]")),
    ("mark with a place", MarkItem(MarkReason.CUT, 0x30123),
     Frame(MARK, "[unwinding stopped] in libc.so.6", LIBC_PATH)),
    ("mark in unknown memory", MarkItem(MarkReason.CUT, 0x99999),
     Frame(MARK, "[unwinding stopped]")),
    ("mark in anonymous memory", MarkItem(MarkReason.CUT, 0x80010),
     Frame(MARK, "[unwinding stopped]")),
]  # fmt: skip


@pytest.mark.parametrize(("item", "expected"), [r[1:] for r in ROWS], ids=[r[0] for r in ROWS])
def test_row(item: Item, expected: Frame) -> None:
    namer = Namer(capture())
    assert namer.frame(PID, 100, item) == expected
    assert namer.frame(PID, 100, item) is namer.frame(PID, 200, item), "equal frames are one"


def test_without_a_line_table() -> None:
    of = capture()
    of.codes = {key: replace(code, linetable=None) for key, code in of.codes.items()}
    assert Namer(of).frame(PID, 100, python(0)) == Frame(PYTHON, "C.f", "app.py")


FOUR_BYTES = bytes([4, 1, 4, 1])


@pytest.mark.parametrize(
    ("version", "table", "lines"),
    [
        ((3, 8, 18), FOUR_BYTES, {-1: 10, 0: 10, 4: 11, 8: 12, 100: 12}),
        ((3, 9, 18), b"", {-1: 10, 0: 10, 100: 10}),
        ((3, 10, 13), FOUR_BYTES, {-2: 10, 0: 11, 4: 12, 8: None}),
        ((3, 11, 7), FOUR_BYTES, {-2: 10, 0: None}),
        ((3, 15, 2), bytes([0x80 | 13 << 3, 2]), {-2: 10, 0: 11, 2: None}),
    ],
    ids=["3.8", "3.9, one line", "3.10", "3.11, another version's table", "3.15"],
)
def test_the_process_tells_the_format_of_its_line_tables(
    version: tuple[int, int, int], table: bytes, lines: dict[int, int | None]
) -> None:
    of = capture()
    of.processes = {
        PID: replace(of.processes[PID], interpreter=Interpreter(version, LIBPYTHON, None))
    }
    of.codes = {key: replace(code, linetable=table) for key, code in of.codes.items()}
    namer = Namer(of)
    assert {offset: namer.frame(PID, 100, python(offset)).line for offset in lines} == lines


def test_line_0_is_no_line() -> None:
    of = capture()
    of.codes = {key: replace(code, first_line=-1) for key, code in of.codes.items()}
    assert Namer(of).frame(PID, 100, python(0)).line is None


def test_without_an_interpreter_nothing_is_plumbing_and_no_line_is_known() -> None:
    of = capture()
    of.processes = {PID: replace(of.processes[PID], interpreter=None)}
    assert Namer(of).frame(PID, 100, python(0)) == Frame(PYTHON, "C.f", "app.py"), "no line"
    assert not Namer(of).frame(PID, 100, native(0x10240)).plumbing
    assert Namer(of).frame(PID, 100, native(None, Step.RESYNC)) == Frame(
        NATIVE, EVAL, None, plumbing=True
    )


def test_names_follow_the_mappings() -> None:
    of = capture()
    later = MappingSnapshot(PID, 500, (Mapping(0x10000, 0x20000, 0x10000, LIBC, None),))
    of.mappings = {PID: (*of.mappings[PID], later)}
    namer = Namer(of)
    assert namer.frame(PID, 499, native(0x10210)).name == "list_sort"
    assert namer.frame(PID, 500, native(0x10210)).name == "libc.so.6+0x210"
    assert namer.generation(PID, 499) != namer.generation(PID, 500)
    assert namer.generation(PID, 0) == namer.generation(PID, 499)


def test_another_process_has_other_names() -> None:
    namer = Namer(capture())
    assert namer.frame(PID + 1, 100, native(0x10210)).name == "[unknown]"
    assert namer.frame(PID + 1, 100, python(0)).name == "[unknown code]"
    assert namer.frame(PID, 100, native(0x10210)).name == "list_sort"


def test_interpreter_module_that_is_missing() -> None:
    of = capture()
    del of.modules[LIBPYTHON]
    assert Namer(of).frame(PID, 100, native(None, Step.RESYNC)).file is None
    assert Namer(of).frame(PID, 100, native(0x10210)).name == "[unknown]"
