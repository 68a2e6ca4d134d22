"""The distance of marker and CFA, from an evaluator's instructions; live stacks are the oracle."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixstack.elf import open_elf
from mixstack.target.interpreter import FoundInterpreter, find_interpreter
from mixstack.target.process import TargetProcess
from mixstack.target.thread_states import walk_thread_states
from mixstack.unwind.cfi import compile_table
from mixstack.unwind.marker_span import PROLOGUE_SIZE, MarkerSpan, find_marker_span
from mixstack.unwind.rows import Row, RowKind, UnwindTable, find_row
from tests.interpreters import Build, supported

RBP = Row(0, RowKind.RBP, 16, -16)
RSP = Row(0, RowKind.RSP, 416, -48)
PREVIOUS = 8
with_shim = pytest.mark.parametrize("build", supported(lambda build: build.minor >= (3, 12)))


@pytest.mark.parametrize(
    ("code", "row", "span"),
    [
        pytest.param(
            # lea -0x90(%rbp),%rax; mov %rax,0x8(%rsi)
            "488d8570ffffff 48894608",
            RBP,
            MarkerSpan(160, -16),
            id="rbp, 32 bits",
        ),
        pytest.param(
            # lea -0x40(%rbp),%r9; mov %r9,0x8(%rsi)
            "4c8d4dc0 4c894e08",
            RBP,
            MarkerSpan(80, -16),
            id="rbp, 8 bits, a new register",
        ),
        pytest.param(
            # lea 0x110(%rsp),%rax; mov %rax,0x8(%rsi)
            "488d842410010000 48894608",
            RSP,
            MarkerSpan(144, -48),
            id="rsp",
        ),
        pytest.param(
            # lea 0x40(%rsp),%rdx; mov %rdx,0x8(%r12)
            "488d542440 4989542408",
            RSP,
            MarkerSpan(352, -48),
            id="into a frame in r12",
        ),
        pytest.param(
            # lea 0x110(%rsp),%rax; mov 0x34(%rdi),%ecx; mov %rax,0x8(%rsi)
            "488d842410010000 8b4f34 48894608",
            RSP,
            MarkerSpan(144, -48),
            id="another instruction between",
        ),
        pytest.param("488d8570ffffff 48894610", RBP, None, id="into another field"),
        pytest.param("488d8570ffffff 48894e08", RBP, None, id="another register"),
        pytest.param("488d8570ffffff 4c894608", RBP, None, id="a new register of the same number"),
        pytest.param("488b8570ffffff 48894608", RBP, None, id="a load, and no address"),
        pytest.param("488d8570ffffff 48894608", RSP, None, id="the CFA from another register"),
        pytest.param("488d8570ffffff 48894608", None, None, id="no row"),
        pytest.param("488d4540 48894608", RBP, None, id="beyond the frame"),
        pytest.param(
            "488d8570ffffff 48894608 488d8560ffffff 48894608", RBP, None, id="two that differ"
        ),
        pytest.param("488d8570ffffff" + "90" * 17 + "48894608", RBP, None, id="too far behind"),
        pytest.param("488d8570ffffff 488946", RBP, None, id="cut off"),
        pytest.param("", RBP, None, id="nothing"),
    ],
)
def test_prologues(code: str, row: Row | None, span: MarkerSpan | None) -> None:
    assert find_marker_span(bytes.fromhex(code) + b"\xcc", PREVIOUS, lambda _: row) == span


@given(code=st.binary(max_size=64), previous=st.integers(0, 127))
def test_bytes_never_raise(code: bytes, previous: int) -> None:
    for row in (RBP, RSP, None):
        span = find_marker_span(code, previous, dict.fromkeys(range(len(code)), row).get)
        assert span is None or span.cfa_from_marker > 0


@with_shim
def test_the_outermost_evaluator_of_a_real_interpreter(build: Build) -> None:
    """Where its marker says that its frame ends, there is an address behind a call."""
    with build.running("print('ready', flush=True); input()") as child:
        process = TargetProcess.open(child.pid)
        found = find_interpreter(process, process.maps())
        assert isinstance(found, FoundInterpreter)
        span = _span(process, found)
        assert span is not None
        assert span.cfa_from_marker % 16 == 0
        assert -64 <= span.rbp_from_cfa <= -16
        slot = _outermost_marker(process, found) + span.cfa_from_marker - 8
        address = _word(process, slot)
        start, end = found.text
        assert start < address < end
        before = process.read(address - 5, 5)
        assert before is not None
        # call rel32; call *%reg; call *disp8(%reg)
        assert before[0] == 0xE8 or before[3] == 0xFF or before[2] == 0xFF, before.hex()


def _span(process: TargetProcess, found: FoundInterpreter) -> MarkerSpan | None:
    assert found.evaluator is not None
    start, end = found.evaluator
    with open_elf(process.open_path(found.module_map)) as elf:
        table: UnwindTable | None = compile_table(elf)
        code = elf.read(start, min(PROLOGUE_SIZE, end - start))
    assert table is not None
    previous = found.layout.frame_previous
    return find_marker_span(code, previous, lambda at: find_row(table, start + at))


def _outermost_marker(process: TargetProcess, found: FoundInterpreter) -> int:
    """The last shim of the only thread's chain: it waits, so the chain holds still."""
    layout = found.layout
    assert layout.frame_owner is not None
    assert layout.frame_previous is not None
    (state,) = walk_thread_states(process.read, found.interp_head, layout).states
    frame = _word(process, state.address + layout.tstate_frame)
    if layout.cframe_current_frame is not None:
        frame = _word(process, frame + layout.cframe_current_frame)
    base = layout.tstate_base_frame
    sentinel = _word(process, state.address + base) if base is not None else 0
    marker = 0
    while frame not in (0, sentinel):
        owner = process.read(frame + layout.frame_owner, 1)
        assert owner is not None
        if owner[0] >= layout.shim_owner:
            marker = frame
        frame = _word(process, frame + layout.frame_previous)
    return marker


def _word(process: TargetProcess, address: int) -> int:
    data = process.read(address, 8)
    assert data is not None, hex(address)
    return int.from_bytes(data, "little")
