"""What is shown of a native frame whose source is known."""

from __future__ import annotations

import pytest

from mixstack.model import Frame, FrameKind, NativeFrame, NativeItem, SourceCall, Step, Symbol
from mixstack.symbolize.demangle import demangle
from mixstack.symbolize.inlined import with_source
from mixstack.symbolize.names import Namer
from tests.unit.symbolize.captures import LIBPYTHON, PID, capture

MODULE = "/opt/lib/libpython3.12.so.1.0"


def native(name: str, file: str = MODULE, line: int | None = None, **more: bool) -> Frame:
    return Frame(FrameKind.NATIVE, name, file, line, **more)


SORT, CALL = native("list_sort"), native("PyObject_Vectorcall", plumbing=True)
NAMELESS = native("libpython3.12.so.1.0+0x5", resolved=False)
ROWS = [
    ("nothing is known", SORT, [], [SORT]),
    ("a line", SORT, [("list_sort", "/src/list.c", 7)], [native("list_sort", "/src/list.c", 7)]),
    ("a file without a line", SORT, [("list_sort", "/src/list.c", None)], [SORT]),
    (
        "an inlined call",
        SORT,
        [("list_sort", "/src/list.c", 7), ("_ZN3ext3runEi", "/src/ext.h", 3)],
        [
            native("list_sort", "/src/list.c", 7),
            native("ext::run(int)", "/src/ext.h", 3, inlined=True),
        ],
    ),
    (
        "the symbol has the last word on the function that has the frame",
        SORT,
        [("other", "/src/list.c", 7)],
        [native("list_sort", "/src/list.c", 7)],
    ),
    (
        "where there is no symbol, debug information names it",
        NAMELESS,
        [("PyObject_Call", "/src/call.c", 7)],
        [native("PyObject_Call", "/src/call.c", 7, plumbing=True)],
    ),
    ("nothing names it", NAMELESS, [(None, "/a.c", 7)], [NAMELESS._replace(file="/a.c", line=7)]),
    (
        "an inlined call without a name is left out",
        SORT,
        [("list_sort", "/src/list.c", 7), (None, "/a.h", 1), ("inner", "/b.h", 2)],
        [native("list_sort", "/src/list.c", 7), native("inner", "/b.h", 2, inlined=True)],
    ),
    (
        "an inlined call without a line is in the module",
        SORT,
        [("list_sort", "/src/list.c", 7), ("inner", "/b.h", None)],
        [native("list_sort", "/src/list.c", 7), native("inner", inlined=True)],
    ),
    (
        "what is inlined into plumbing is plumbing",
        CALL,
        [("PyObject_Vectorcall", "/src/call.c", 7), ("Py_INCREF", "/o.h", 2)],
        [
            native("PyObject_Vectorcall", "/src/call.c", 7, plumbing=True),
            native("Py_INCREF", "/o.h", 2, plumbing=True, inlined=True),
        ],
    ),
    (
        "inlined plumbing is plumbing, and what is in it",
        SORT,
        [
            ("list_sort", "/src/list.c", 7),
            ("cmp", "/src/list.c", 2),
            ("_PyObject_VectorcallTstate", "/call.h", 9),
            ("Py_INCREF", "/o.h", 2),
        ],
        [
            native("list_sort", "/src/list.c", 7),
            native("cmp", "/src/list.c", 2, inlined=True),
            native("_PyObject_VectorcallTstate", "/call.h", 9, plumbing=True, inlined=True),
            native("Py_INCREF", "/o.h", 2, plumbing=True, inlined=True),
        ],
    ),
]


@pytest.mark.parametrize(
    ("frame", "calls", "expected"), [r[1:] for r in ROWS], ids=[r[0] for r in ROWS]
)
def test_row(
    frame: Frame, calls: list[tuple[str | None, str, int | None]], expected: list[Frame]
) -> None:
    given = tuple(SourceCall(*call) for call in calls)
    assert list(with_source(frame, given, demangle, own=True)) == expected


def test_in_other_modules_nothing_is_plumbing() -> None:
    calls = (SourceCall("f", "/a.c", 1), SourceCall("Py_INCREF", "/o.h", 2))
    assert not any(f.plumbing for f in with_source(SORT, calls, demangle, own=False))


def test_short_names() -> None:
    of = capture()
    name = "_ZNSt6vectorIiSaIiEE4sizeEv"
    of.symbols[LIBPYTHON] = (Symbol(LIBPYTHON, 0x200, 0x240, name),)
    of.source_calls = {(LIBPYTHON, 0x210): (SourceCall(name, "/a", 1), SourceCall(name, "/a", 2))}
    item = NativeItem(NativeFrame(0x10210, 0x9000, Step.LEAF), False)
    whole = "std::vector<int, std::allocator<int>>::size()"
    for short, expected in ((False, whole), (True, "std::vector<...>::size()")):
        frames = Namer(of, short_names=short).frames(PID, 100, item)
        assert [frame.name for frame in frames] == [expected, expected]


def test_the_namer_shows_source_of_the_very_address() -> None:
    of = capture()
    of.source_calls = {
        (LIBPYTHON, 0x210): (SourceCall("list_sort", "/l.c", 5), SourceCall("swap", "/l.h", 6)),
        (LIBPYTHON, 0x211): (SourceCall("list_sort", "/l.c", 8),),
    }
    namer = Namer(of)

    def shown(pc: int, step: Step = Step.LEAF, evaluator: bool = False) -> list[str]:
        item = NativeItem(NativeFrame(pc, 0x9000, step), evaluator)
        frames = namer.frames(PID, 100, item)
        assert namer.frame(PID, 100, item).file == MODULE, "the module's own is not lost"
        return [f"{f.name} {f.line}{' inlined' if f.inlined else ''}" for f in frames]

    assert shown(0x10210) == ["list_sort 5", "swap 6 inlined"]
    assert shown(0x10211) == ["list_sort 8"]
    assert shown(0x10211, Step.CALLER) == ["list_sort 5", "swap 6 inlined"], "inside of the call"
    assert shown(0x10212) == ["list_sort None"]
    assert shown(0x10210, evaluator=True) == ["_PyEval_EvalFrameDefault None"]
