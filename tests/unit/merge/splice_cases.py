"""The named cases of the join: what the probe saw, and the one stack that it must become.

An evaluator's marker lies 40 bytes below its CFA throughout.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from mixstack.merge.splice import splice
from mixstack.model import ChainEnd, Fit, NativeEnd, NativeFrame
from tests.unit.merge.notation import address_of, raw_stack, words

EXACT, RESYNCED, COUNTED, PARTIAL = Fit.EXACT, Fit.RESYNCED, Fit.COUNTED, Fit.PARTIAL
TRUNCATED, GAP, CUT = "[truncated]", "[frames-missing]", "[unwinding-stopped]"
UNPLACED, CHAIN_CUT = "[unplaced-Python-frames]", "[Python-stack-cut]"
CHAIN_TRUNCATED = {"chain_end": ChainEnd.TRUNCATED}


class Case(NamedTuple):
    """What the caller knows of native frames, by their names.

    evaluators: they are the bytecode loop. switches: they are of a library that switches C stacks.
    """

    name: str
    given: dict[str, Any]
    joined: str
    fit: Fit
    evaluators: str = ""
    switches: str = ""


def case(
    name: str,
    native: str,
    python: str,
    joined: str,
    fit: Fit,
    *,
    evaluators: str = "",
    switches: str = "",
    **more: Any,
) -> Case:
    given = {"native": native, "python": python, **more}
    return Case(name, given, joined, fit, evaluators, switches)


def counted(
    name: str, native: str, python: str, joined: str, fit: Fit, *, switches: str = "", **more: Any
) -> Case:
    """A case without markers; evaluators are the native frames whose names begin with `E`."""
    evaluators = " ".join(w for w in re.split(r"[@^\s]\S*\s*", native) if w.startswith("E"))
    more = {"counted": True, "evaluators": evaluators, "switches": switches, **more}
    return case(name, native, python, joined, fit, **more)


# Two evaluators: A runs main and load and calls C code, from which B runs key.
TWO = "root@900 A@800 sort@700 B@600 leaf@500"
TWO_PYTHON = "760:main,load 560:key"

CASES = [
    # --- the normal case
    case("one evaluator", "root@900 A@800 leaf@500", "760:main", "root A* main leaf", EXACT),
    case("nested", TWO, TWO_PYTHON, "root A* main load sort B* key leaf", EXACT),
    case("evaluator is leaf", "root@900 A@800", "760:main", "root A* main", EXACT, sp=600),
    case("adjacent evaluators", "A@800 B@700", "760:a 660:b", "A* a B* b", EXACT, sp=500),
    case(
        "kernel frames come last, outermost first",
        "root@900 A@800 read@700",
        "760:main",
        "root A* main read k:syscall k:vfs",
        EXACT,
        kernel="syscall vfs",
    ),
    # --- the edges of a frame: SP <= marker < CFA
    case("marker at SP", "root@900 A@800", "760:f", "root A* f", EXACT, sp=760),
    case(
        "marker just below SP", "root@900 A@800", "760:f", f"f {UNPLACED} root A", PARTIAL, sp=761
    ),
    case("marker at inner CFA", "root@900 A@800 in@760", "760:f", "root A* f in", EXACT),
    case("marker below inner CFA", "A@800 in@761 leaf@90", "760:f", "A in* f leaf", EXACT),
    case("marker just below CFA", "root@900 A@761 leaf@90", "760:f", "root A* f leaf", EXACT),
    case("marker at CFA", "root@900 A@760 leaf@90", "760:f", "root* f A leaf", EXACT),
    case("marker at last CFA", "root@760 A@500", "760:f", f"f {UNPLACED} root A", PARTIAL),
    # --- entering, leaving
    case(
        "an evaluator at the top without marker is entering or leaving",
        "root@900 A@800 sort@700 B@600",
        "760:main",
        "root A* main sort B",
        EXACT,
    ),
    case(
        "a torn newest record leaves the top evaluator without segment",
        "root@900 A@800 sort@700 B@600",
        "760:main",
        "root A* main sort B",
        EXACT,
        torn=True,
    ),
    case(
        "torn: a known evaluator further out without segment says that some were skipped",
        "root@900 A@800 C@750 sort@700 B@600",
        "760:main",
        "root A* main C sort B",
        PARTIAL,
        torn=True,
        evaluators="C",
    ),
    case(
        "torn: the skipped one may be next to the top",
        "root@900 A@800 C@750 B@600",
        "760:main",
        "root A* main C B",
        PARTIAL,
        torn=True,
        evaluators="C",
    ),
    case(
        "not torn: an evaluator further out without segment may have none",
        "root@900 A@800 C@750 sort@700 B@600",
        "760:main",
        "root A* main C sort B",
        EXACT,
        evaluators="C",
    ),
    case(
        "torn: a known evaluator at the top is the one that was skipped",
        "root@900 A@800 sort@700 B@600",
        "760:main",
        "root A* main sort B",
        EXACT,
        torn=True,
        evaluators="A B",
    ),
    case(
        "torn: nothing at all is not a native thread",
        "root@900 sort@700 B@600",
        "",
        "root sort B",
        PARTIAL,
        torn=True,
    ),
    case("empty segment", TWO, "760:main 560:", "root A* main sort B* leaf", EXACT),
    case("all segments empty", TWO, "760: 560:", "root A* sort B* leaf", EXACT),
    case(
        "incomplete frames are dropped, at the end and in the middle",
        TWO,
        "760:main,~__init__,load 560:~key",
        "root A* main load sort B* leaf",
        EXACT,
    ),
    # --- no Python
    case(
        "native thread",
        "clone@900 work@800",
        "",
        "clone work",
        Fit.NATIVE_ONLY,
        chain_end=ChainEnd.NO_THREAD_STATE,
    ),
    case(
        "not a Python process",
        "start@900 work@800",
        "",
        "start work k:read",
        Fit.NATIVE_ONLY,
        kernel="read",
        chain_end=ChainEnd.NOT_PYTHON,
    ),
    case("idle Python thread", "clone@900 run@800", "", "clone run", Fit.NATIVE_ONLY),
    case(
        "a thread that is ending has no stack any more, and nothing is missing",
        "exit@100",
        "",
        "[exiting] exit k:do_exit",
        Fit.NATIVE_ONLY,
        kernel="do_exit",
        chain_end=ChainEnd.NO_THREAD_STATE,
        native_end=NativeEnd.EXITING,
    ),
    case(
        "a thread that is ending cannot hold Python frames",
        "exit@100",
        "760:main",
        "main [exiting] exit",
        PARTIAL,
        native_end=NativeEnd.EXITING,
    ),
    case(
        "native thread whose walk was cut",
        "work@900 leaf@800",
        "",
        f"{CUT}@odd work leaf",
        PARTIAL,
        chain_end=ChainEnd.NO_THREAD_STATE,
        native_end=NativeEnd.NO_RULE,
        end_pc="odd",
    ),
    # --- no native stack
    case(
        "no user registers: Python only",
        "",
        "760:main 560:key",
        f"main key {CUT} k:switch",
        Fit.PYTHON_ONLY,
        native_end=NativeEnd.NO_USER_REGS,
        sp=None,
        kernel="switch",
    ),
    case(
        "no user registers: nothing is known of the stack, so no marker is out of place",
        "",
        "0:main",
        f"main {CUT}",
        Fit.PYTHON_ONLY,
        native_end=NativeEnd.NO_USER_REGS,
        sp=None,
    ),
    case(
        "no user registers, and a chain cut inside its only segment",
        "",
        "?:main",
        f"{CHAIN_CUT} main {CUT}",
        Fit.PYTHON_ONLY,
        native_end=NativeEnd.NO_USER_REGS,
        chain_end=ChainEnd.INVALID,
        sp=None,
    ),
    case(
        "neither",
        "",
        "",
        f"{CUT} k:switch",
        PARTIAL,
        native_end=NativeEnd.NO_USER_REGS,
        sp=None,
        kernel="switch",
        chain_end=ChainEnd.NO_THREAD_STATE,
    ),
    case(
        "neither, and only incomplete Python frames",
        "",
        "760:~main",
        CUT,
        PARTIAL,
        native_end=NativeEnd.NO_USER_REGS,
        sp=None,
    ),
    case(
        "registers of a stack of which nothing is known",
        "",
        "760:f",
        "f " + UNPLACED,
        Fit.PYTHON_ONLY,
        sp=None,
    ),
    # --- the walk died and restarted at a marker
    case(
        "re-synced: what lies inside of the evaluator is unknown",
        "root@900 A@800^resync dead@500 leaf@500",
        "760:main",
        f"root ?* main {GAP} dead leaf",
        RESYNCED,
        sp=400,
    ),
    case(
        "re-synced: the dead frame is the leaf and has an empty range",
        "root@900 A@800^resync jit@600",
        "760:main",
        f"root ?* main {GAP} jit",
        RESYNCED,
        sp=600,
    ),
    case(
        "re-synced: a dead frame without CFA",
        "root@900 A@800^resync dead@0 leaf@500",
        "760:main",
        f"root ?* main {GAP} dead leaf",
        RESYNCED,
        sp=400,
    ),
    case(
        "re-synced: a dead frame with the CFA of the marker's frame",
        "root@900 A@800^resync dead@800 leaf@500",
        "760:main",
        f"root ?* main {GAP} dead leaf",
        RESYNCED,
        sp=400,
    ),
    case(
        "re-synced twice, evaluators in between",
        "root@900 A@800^resync jit@600 B@600 sort@500 C@400^resync dead@200 leaf@200",
        "760:a 560:b 360:c",
        f"root ?* a {GAP} jit B* b sort ?* c {GAP} dead leaf",
        RESYNCED,
        sp=100,
    ),
    case(
        "re-synced with an empty segment, in the kernel",
        "root@900 A@800^resync dead@500",
        "760:",
        f"root ?* {GAP} dead k:read",
        RESYNCED,
        sp=500,
        kernel="read",
    ),
    case(
        "re-synced, but no segment belongs there",
        "root@900 A@800^resync dead@500 B@500",
        "460:b",
        f"root ?* {GAP} dead B* b",
        PARTIAL,
        sp=300,
    ),
    case(
        "re-synced, then cut",
        "A@800^resync dead@500",
        "960:main 760:key",
        f"main {CUT}@odd ?* key {GAP} dead",
        PARTIAL,
        sp=500,
        native_end=NativeEnd.NO_TABLE,
        end_pc="odd",
    ),
    # --- the native walk did not reach the root
    case(
        "cut: segments beyond the known stack stay outside of the mark",
        "sort@700 B@600 leaf@500",
        "960:main 760:load 560:key",
        f"main load {CUT}@odd sort B* key leaf",
        PARTIAL,
        native_end=NativeEnd.NO_RULE,
        end_pc="odd",
    ),
    case(
        "cut: a marker at the last known CFA is beyond it",
        "sort@760 B@600",
        "760:load 560:key",
        f"load {CUT} sort B* key",
        PARTIAL,
        native_end=NativeEnd.READ_FAULT,
    ),
    case(
        "cut in a frame without CFA",
        "dead@600 B@600 leaf@500",
        "700:load 560:key",
        f"load {CUT}@dead dead B* key leaf",
        PARTIAL,
        native_end=NativeEnd.NO_MAPPING,
        end_pc="dead",
    ),
    case(
        "cut outside of every segment",
        "A@800 leaf@500",
        "760:main",
        f"{CUT} A* main leaf",
        PARTIAL,
        native_end=NativeEnd.NO_PROGRESS,
    ),
    case(
        "native stack truncated by the frame limit",
        "sort@700 B@600 leaf@500",
        "760:load 560:key",
        f"load {TRUNCATED} sort B* key leaf",
        PARTIAL,
        native_end=NativeEnd.TRUNCATED,
        end_pc="odd",
    ),
    case(
        "native stack truncated by the kernel's limit",
        "B@600 leaf@500",
        "560:key",
        f"{TRUNCATED} B* key leaf",
        PARTIAL,
        native_end=NativeEnd.TAIL_CALLS,
    ),
    # --- the interpreter's chain did not reach its end
    case(
        "chain truncated behind a marker",
        TWO,
        "560:key",
        f"{TRUNCATED} root A sort B* key leaf",
        PARTIAL,
        **CHAIN_TRUNCATED,
    ),
    case(
        "chain overwritten behind a marker",
        TWO,
        "560:key",
        f"{CHAIN_CUT} root A sort B* key leaf",
        PARTIAL,
        chain_end=ChainEnd.INVALID,
    ),
    case(
        "chain unreadable before any frame",
        TWO,
        "",
        f"{CHAIN_CUT} root A sort B leaf",
        PARTIAL,
        chain_end=ChainEnd.READ_FAULT,
    ),
    case(
        "chain truncated inside a segment, no evaluator known",
        TWO,
        "?:load 560:key",
        f"{TRUNCATED} load {UNPLACED} root A sort B* key leaf",
        PARTIAL,
        **CHAIN_TRUNCATED,
    ),
    case(
        "chain truncated inside a segment, its evaluator known",
        TWO,
        "?:load 560:key",
        f"root A* {TRUNCATED} load sort B* key leaf",
        PARTIAL,
        evaluators="A B",
        **CHAIN_TRUNCATED,
    ),
    case(
        "deep recursion in one evaluator",
        "root@900 A@800",
        "?:f,f,f",
        f"root A* {TRUNCATED} f f f",
        PARTIAL,
        sp=500,
        evaluators="A",
        chain_end=ChainEnd.TAIL_CALLS,
    ),
    case(
        "of several known evaluators the innermost runs the newest frames",
        "root@900 Z@880 A@800 sort@700 B@600 leaf@500",
        "?:f",
        f"root Z A sort B* {TRUNCATED} f leaf",
        PARTIAL,
        evaluators="Z A B",
        **CHAIN_TRUNCATED,
    ),
    case(
        "of several further out the innermost runs the next older frames",
        "root@990 Z@950 A@800 sort@700 B@600 leaf@500",
        "?:f 560:key",
        f"root Z A* {TRUNCATED} f sort B* key leaf",
        PARTIAL,
        evaluators="Z A B",
        **CHAIN_TRUNCATED,
    ),
    case(
        "a cut chain's frames stay unplaced while another segment has no place",
        "root@900 A@800 sort@700 B@600 leaf@500",
        "?:f 640:g 560:key",
        f"{TRUNCATED} f g {UNPLACED} root A sort B* key leaf",
        PARTIAL,
        evaluators="A",
        **CHAIN_TRUNCATED,
    ),
    case(
        "chain and native stack truncated: the mark is shown once",
        "B@600 leaf@500",
        "560:key",
        f"{TRUNCATED} B* key leaf",
        PARTIAL,
        native_end=NativeEnd.TRUNCATED,
        **CHAIN_TRUNCATED,
    ),
    case(
        "chain and native stack truncated with frames in between",
        "B@600 leaf@500",
        "?:f 760:g 560:key",
        f"{TRUNCATED} f g {TRUNCATED} B* key leaf",
        PARTIAL,
        native_end=NativeEnd.TRUNCATED,
        evaluators="B leaf",
        **CHAIN_TRUNCATED,
    ),
    case(
        "chain cut inside a segment, native stack cut, evaluator not known",
        "B@600 leaf@500",
        "?:f 560:key",
        f"{TRUNCATED} f {UNPLACED} {CUT} B* key leaf",
        PARTIAL,
        native_end=NativeEnd.NO_RULE,
        **CHAIN_TRUNCATED,
    ),
    case(
        "a segment without marker, though the chain is whole, is nothing to build on",
        "root@900 A@800 leaf@500",
        "?:f",
        f"f {UNPLACED} root A leaf",
        PARTIAL,
        evaluators="A",
    ),
    case(
        "a segment without marker in the middle keeps its order",
        TWO,
        "760:main ?:load 560:key",
        f"root A* main load {UNPLACED} sort B* key leaf",
        PARTIAL,
        evaluators="A B",
    ),
    case(
        "behind one thread state another one could not be found",
        TWO,
        "560:key",
        f"{CHAIN_CUT} root A sort B* key leaf",
        PARTIAL,
        chain_end=ChainEnd.NO_THREAD_STATE,
    ),
    # --- before 3.11: one frame in each segment, and of some the marker was not found
    case(
        "not found in the middle: nothing says in which of the evaluators",
        "root@990 A@900 B@800 C@700 leaf@500",
        "860:a ?:b 660:c",
        f"root A* a b {UNPLACED} B C* c leaf",
        PARTIAL,
        evaluators="A B C",
    ),
    case(
        "two not found in the middle have one mark",
        "root@990 A@900 B@800 C@700 D@600 leaf@500",
        "860:a ?:b ?:c 560:d",
        f"root A* a b c {UNPLACED} B C D* d leaf",
        PARTIAL,
        evaluators="A B C D",
    ),
    case(
        "not found for the newest frame",
        TWO,
        "760:main ?:key",
        f"root A* main key {UNPLACED} sort B leaf",
        PARTIAL,
        evaluators="A B",
    ),
    case(
        "not found in the middle, the native stack cut: only the outer end is beyond the cut",
        "sort@700 B@600 C@500 leaf@400",
        "?:load 560:key ?:cmp",
        f"load {CUT}@odd sort B* key cmp {UNPLACED} C leaf",
        PARTIAL,
        native_end=NativeEnd.NO_RULE,
        end_pc="odd",
        evaluators="B C",
    ),
    case(
        "not found at the outer end, and the native stack is whole",
        TWO,
        "?:main ?:load 560:key",
        f"main load {UNPLACED} root A sort B* key leaf",
        PARTIAL,
        evaluators="A B",
    ),
    case(
        "not found at the outer end: those are beyond the cut",
        "sort@700 B@600 leaf@500",
        "?:main ?:load ?:run 560:key",
        f"main load run {CUT}@odd sort B* key leaf",
        PARTIAL,
        native_end=NativeEnd.NO_TABLE,
        end_pc="odd",
    ),
    case(
        "not found at the outer end, the native stack truncated",
        "sort@700 B@600 leaf@500",
        "?:main ?:load 560:key",
        f"main load {TRUNCATED} sort B* key leaf",
        PARTIAL,
        native_end=NativeEnd.TRUNCATED,
    ),
    case(
        "none found of a deep recursion, and both stacks cut",
        "work@600 leaf@500",
        "?:f ?:f ?:f",
        f"{TRUNCATED} f f f {TRUNCATED} work leaf",
        PARTIAL,
        native_end=NativeEnd.TRUNCATED,
        **CHAIN_TRUNCATED,
    ),
    case(
        "more than one not found: the chain was not cut inside a segment",
        "sort@700 B@600 leaf@500",
        "?:f ?:f 560:key",
        f"{TRUNCATED} f f {CUT} sort B* key leaf",
        PARTIAL,
        native_end=NativeEnd.NO_RULE,
        evaluators="sort B",
        **CHAIN_TRUNCATED,
    ),
    case(
        "more than one not found: where the chain was cut no evaluator is known by count",
        TWO,
        "?:f ?:f 560:key",
        f"{TRUNCATED} f f {UNPLACED} root A sort B* key leaf",
        PARTIAL,
        evaluators="A B",
        **CHAIN_TRUNCATED,
    ),
    case(
        "a cut chain's outermost marker that is believed nowhere is not sought by name",
        "root@900 A@800 sort@700 B@600 leaf@500",
        "640:load 560:key",
        f"{TRUNCATED} load {UNPLACED} root A sort B* key leaf",
        PARTIAL,
        evaluators="A B",
        **CHAIN_TRUNCATED,
    ),
    case(
        "none found, and there is no native stack",
        "",
        "?:main ?:load",
        f"main load {CUT}",
        Fit.PYTHON_ONLY,
        native_end=NativeEnd.NO_USER_REGS,
        sp=None,
    ),
    case(
        "none found in a thread that is ending",
        "exit@100",
        "?:main ?:load",
        "main load [exiting] exit",
        PARTIAL,
        native_end=NativeEnd.EXITING,
    ),
    # --- 3.8, 3.9: no marker is known, evaluators and frames are counted from the root
    counted(
        "counted: as many evaluators as frames",
        "root@900 E1@800 sort@700 E2@600 leaf@500",
        "main key",
        "root E1* main sort E2* key leaf",
        COUNTED,
    ),
    counted(
        "counted: one evaluator more is being entered or left",
        "root@900 E1@800 sort@700 E2@600",
        "main",
        "root E1* main sort E2",
        COUNTED,
    ),
    counted(
        "counted: one evaluator more, but the innermost is inside a call and must have a frame",
        "root@900 E1@800 sort@700 E2@600 leaf@500",
        "main",
        f"main {UNPLACED} root E1 sort E2 leaf",
        PARTIAL,
    ),
    counted(
        "counted: two evaluators more",
        "root@900 E1@800 E2@700 E3@600",
        "main",
        f"main {UNPLACED} root E1 E2 E3",
        PARTIAL,
    ),
    counted(
        "counted: an evaluator less",
        "root@900 E1@800 sort@700 leaf@500",
        "main key",
        f"main key {UNPLACED} root E1 sort leaf",
        PARTIAL,
    ),
    counted(
        "counted: no evaluator is known",
        "root@900 sort@700 leaf@500",
        "main",
        f"main {UNPLACED} root sort leaf",
        PARTIAL,
    ),
    counted(
        "counted: the outermost native frame is an evaluator",
        "E1@800 leaf@500",
        "main",
        "E1* main leaf",
        COUNTED,
    ),
    counted(
        "counted: a thread without Python frames",
        "root@900 work@800",
        "",
        "root work",
        Fit.NATIVE_ONLY,
    ),
    counted(
        "counted: the native stack is cut",
        "E1@800 sort@700 E2@600 leaf@500",
        "main key",
        f"main key {UNPLACED} {CUT}@odd E1 sort E2 leaf",
        PARTIAL,
        native_end=NativeEnd.NO_RULE,
        end_pc="odd",
    ),
    counted(
        "counted: a frame pointer step may have passed an evaluator over",
        "root@900 lib@850^fp E1@800 leaf@500",
        "main",
        f"main {UNPLACED} root lib E1 leaf",
        PARTIAL,
    ),
    counted(
        "counted: so may a restart of the walk",
        "root@900 E1@800 sort@700^resync dead@600 leaf@500",
        "main key",
        f"main key {UNPLACED} root E1 ?* {GAP} dead leaf",
        PARTIAL,
    ),
    counted(
        "counted: the chain is cut",
        "root@900 E1@800 sort@700 E2@600 leaf@500",
        "load key",
        f"{CHAIN_CUT} load key {UNPLACED} root E1 sort E2 leaf",
        PARTIAL,
        chain_end=ChainEnd.INVALID,
    ),
    counted(
        "counted: there is no native stack",
        "",
        "main key",
        f"main key {CUT}",
        Fit.PYTHON_ONLY,
        native_end=NativeEnd.NO_USER_REGS,
        sp=None,
    ),
    counted(
        "counted: a contradiction of CFAs is still one",
        "root@990 E1@900 B@590 C@600 leaf@400",
        "main",
        "root E1* main B C leaf",
        PARTIAL,
    ),
    counted(
        "counted, greenlet: the evaluators of the hub run other frames",
        "root@990 E1@900 E2@800 switch@750 E3@700 leaf@500",
        "task",
        "root E1 E2 switch E3* task leaf",
        COUNTED,
        switches="switch",
    ),
    counted(
        "counted, greenlet: a greenlet begun by another one",
        "root@990 E1@900 switch@850 E2@800 switch@750 E3@700 E4@600 leaf@500",
        "task work",
        "root E1 switch E2 switch E3* task E4* work leaf",
        COUNTED,
        switches="switch",
    ),
    counted(
        "counted, greenlet: not known to switch stacks",
        "root@990 E1@900 E2@800 switch@750 E3@700 leaf@500",
        "task",
        f"task {UNPLACED} root E1 E2 switch E3 leaf",
        PARTIAL,
    ),
    counted(
        "counted, greenlet: just switching: whose frames these are is not known",
        "root@990 E1@900 switch@850 E2@800 switch@750",
        "task",
        f"task {UNPLACED} root E1 switch E2 switch",
        PARTIAL,
        switches="switch",
    ),
    counted(
        "counted, greenlet: the outermost frame",
        "switch@950 E1@900 leaf@500",
        "task",
        "switch E1* task leaf",
        COUNTED,
        switches="switch",
    ),
    # --- what does not fit is kept, marked, and never guessed
    case(
        "two markers in one frame, the distance known from another",
        TWO,
        "760:main 750:load 560:key",
        f"root A* main load {UNPLACED} sort B* key leaf",
        PARTIAL,
    ),
    case(
        "two markers in the only frame that has any",
        "root@900 A@800 leaf@500",
        "760:main 750:load",
        f"main load {UNPLACED} root A leaf",
        PARTIAL,
    ),
    case(
        "an evaluator is missing: its marker falls into the frame outside, at a wrong distance",
        "root@900 A@800 sort@700 leaf@500",
        "760:main 560:key",
        f"root A* main key {UNPLACED} sort leaf",
        PARTIAL,
    ),
    case(
        "markers in the wrong order: neither is believed",
        TWO,
        "560:main 760:load",
        f"main load {UNPLACED} root A sort B leaf",
        PARTIAL,
    ),
    case(
        "one inversion does not touch the others",
        "root@990 A@900 B@800 C@700 D@600 leaf@500",
        "860:a 660:b 760:c 560:d",
        f"root A* a b c {UNPLACED} B C D* d leaf",
        PARTIAL,
    ),
    case(
        "equal markers: neither is believed",
        TWO,
        "760:a 560:b 560:c",
        f"root A* a b c {UNPLACED} sort B leaf",
        PARTIAL,
    ),
    case(
        "a marker beyond the root",
        TWO,
        "960:x 760:main 560:key",
        f"x {UNPLACED} root A* main sort B* key leaf",
        PARTIAL,
    ),
    case(
        "an unplaced segment without frames needs no mark",
        TWO,
        "960: 760:main 560:key",
        "root A* main sort B* key leaf",
        PARTIAL,
    ),
    case(
        "an unplaced segment with incomplete frames only needs no mark",
        TWO,
        "960:~x 760:main 560:key",
        "root A* main sort B* key leaf",
        PARTIAL,
    ),
    case(
        "a mark counts for frames before an empty segment too",
        TWO,
        "970:x 960: 760:main 560:key",
        f"x {UNPLACED} root A* main sort B* key leaf",
        PARTIAL,
    ),
    # --- CFAs that contradict each other
    case(
        "a CFA below its inner neighbour's: that frame and both neighbours hold nothing",
        "root@990 A@900 B@800 C@590 D@600 E@500 leaf@400",
        "860:a 760:b 560:d 460:e",
        f"root A* a b d {UNPLACED} B C D E* e leaf",
        PARTIAL,
    ),
    case(
        "two equal CFAs",
        "root@990 A@900 B@700 C@700 leaf@400",
        "860:a 660:b",
        f"a b {UNPLACED} root A B C leaf",
        PARTIAL,
    ),
    case(
        "a leaf below the stack pointer",
        "root@990 A@900 B@800 leaf@400",
        "860:a",
        "root A* a B leaf",
        PARTIAL,
        sp=500,
    ),
    case(
        "no stack pointer: the leaf's range is unknown",
        "root@990 A@900 B@800 C@700",
        "860:a 660:c",
        f"root A* a c {UNPLACED} B C",
        PARTIAL,
        sp=None,
    ),
    case("a root without CFA", "root@0 A@800 leaf@500", "760:main", "root A* main leaf", EXACT),
    case(
        "a contradiction where no Python runs",
        "root@900 a@600 b@700 leaf@500",
        "",
        "root a b leaf",
        PARTIAL,
        chain_end=ChainEnd.NOT_PYTHON,
    ),
    # --- signals, frame pointers
    case(
        "a signal handler on the thread's own stack",
        "root@900 A@800 work@700^signal restore@600 handler@500",
        "760:main",
        "root A* main work restore handler",
        EXACT,
    ),
    case(
        "a signal handler on a stack of its own, higher up",
        "root@900 A@800 work@700^signal restore@600 handler@5000 leaf@4900",
        "760:main",
        "root A* main work restore handler leaf",
        EXACT,
        sp=4800,
    ),
    case(
        "a long signal handler on a stack of its own",
        "root@900 A@800 work@700^signal restore@600 h@5500 i@5400 j@5300 k@5200 l@5100 leaf@5000",
        "760:main",
        "root A* main work restore h i j k l leaf",
        EXACT,
        sp=4800,
    ),
    case(
        "a signal stack that ends where the interrupted frame begins",
        "root@900 A@800 B@700^signal restore@600 handler@600",
        "760:main 660:key",
        "root A* main B* key restore handler",
        EXACT,
        sp=500,
    ),
    case(
        "a marker on a signal stack is not believed",
        "root@900 A@800 work@700^signal restore@600 handler@5000 leaf@4900",
        "4950:x 760:main",
        f"x {UNPLACED} root A* main work restore handler leaf",
        PARTIAL,
        sp=4800,
    ),
    case(
        "a frame pointer step without a marker in between harms nothing",
        "root@900 A@800 lib@700^fp leaf@600",
        "760:main",
        "root A* main lib leaf",
        EXACT,
    ),
    case(
        "a marker in a frame whose end is a frame pointer's may be a skipped frame's",
        "root@900 lib@850^fp A@800 leaf@500",
        "760:main",
        f"main {UNPLACED} root lib A leaf",
        PARTIAL,
    ),
    case(
        "the same next to the outermost frame",
        "root@900^fp A@800 leaf@500",
        "760:main",
        f"main {UNPLACED} root A leaf",
        PARTIAL,
    ),
    case(
        "how the walk came to the leaf says nothing of the outermost frame",
        "A@800 leaf@500^fp",
        "760:main",
        "A* main leaf",
        EXACT,
    ),
    case(
        "a marker there is believed if that frame is known to be an evaluator",
        "root@900 lib@850^fp A@800 leaf@500",
        "760:main",
        "root lib A* main leaf",
        EXACT,
        evaluators="A",
    ),
]


def run(row: Case, join: Any = splice) -> tuple[str, Fit, bool, bool]:
    """The row's input through `join`, in the notation of the table."""
    known = [_among(row.evaluators), _among(row.switches)] if row.evaluators else []
    merged = join(raw_stack(**row.given), *known[: 2 if row.switches else 1])
    return words(merged.items), merged.fit, merged.native_truncated, merged.python_truncated


def _among(names: str) -> Callable[[NativeFrame], bool]:
    """Whether a frame has one of these names; one that was re-synced at a marker is known, too."""
    known = {None, *map(address_of, names.split())}
    return lambda frame: frame.pc in known


def expected(row: Case) -> tuple[str, Fit, bool, bool]:
    """What `run` must give for the row."""
    limits = (NativeEnd.TRUNCATED, NativeEnd.TAIL_CALLS)
    chain_limits = (ChainEnd.TRUNCATED, ChainEnd.TAIL_CALLS)
    return (
        row.joined,
        row.fit,
        row.given.get("native_end") in limits,
        row.given.get("chain_end") in chain_limits,
    )
