"""Rules for a function without call frame information, from its instructions.

Hand-written assembler (OpenBLAS, MKL) often has none. Such a function is followed along all its
paths; it has rules only if on each of them it is known, at every instruction, how far the stack
pointer is from where it was on entry, and where rbp was saved, and if it returns, and only where
both are back. So a rule is proven, or there is none. (A part that a compiler has split off begins
with something on the stack already: it does not return from there, or not so.)
"""

from __future__ import annotations

from array import array
from typing import Final, NamedTuple

from mixstack.bpf.wire import PAGE_SIZE, RowKind
from mixstack.compiled.frames import index_pages

from .decode import Flow, Instruction, decode
from .rows import KIND_SHIFT, Row, UnwindTable, pack_row

FUNCTION_MAX: Final = 1 << 17  # bytes; the largest kernels of MKL and OpenBLAS are below
_DEPTH_MAX: Final = 1 << 16  # bytes
_RBP: Final = 5  # as instructions number it


class _State(NamedTuple):
    """depth: CFA - rsp, None while rsp is aligned. rbp: where the caller's is saved, bytes from the
    CFA; None: it is in rbp. kept: (register, offset) with CFA = register + offset, if there is one.
    """

    depth: int | None
    rbp: int | None
    kept: tuple[int, int] | None = None


_ENTRY: Final = _State(8, None)
# rbx and r12 to r15: no instruction that we know writes to them without naming them, cpuid apart.
_KEEPS: Final = (3, 12, 13, 14, 15)


def bare_table(code: bytes, start: int) -> UnwindTable | None:
    """The table of one function, `start` its own address in the file; None if nothing is proven."""
    states = _follow(code)
    if states is None:
        return None
    base = start & -PAGE_SIZE
    none = RowKind.NONE << KIND_SHIFT
    words = array("Q") if start == base else array("Q", [none])
    covered, before = 0, _State(None, None)
    for at in sorted(states):
        state, size = states[at]
        if at > covered:  # bytes that nothing leads to
            words.append(none | start - base + covered)
        if at > covered or state != before:
            row = _row(start - base + at, state)
            try:
                words.append(pack_row(row))
            except ValueError:  # a number does not fit
                return None
        covered, before = at + size, state
    if covered < len(code):
        words.append(none | start - base + covered)
    return UnwindTable(base, words.tobytes(), index_pages(words, start - base + len(code)))


def _row(pc: int, state: _State) -> Row:
    if state.depth is not None:
        return Row(pc, RowKind.RSP, state.depth, state.rbp)
    assert state.kept is not None  # `_after` sees to it
    register, offset = state.kept
    return Row(pc, RowKind.REGISTER, offset, state.rbp, register=register)


def _follow(code: bytes) -> dict[int, tuple[_State, int]] | None:
    """By offset of each instruction: the state before it, and its size; None if not all known."""
    known: dict[int, tuple[_State, int]] = {}
    returns = False
    todo = [(0, _ENTRY)]
    while todo:
        at, state = todo.pop()
        while True:
            if at in known:
                if known[at][0] != state:
                    return None
                break
            instruction = decode(code, at)
            after = _after(state, instruction) if instruction is not None else None
            if instruction is None or after is None or at + instruction.size > len(code):
                return None
            known[at] = state, instruction.size
            if instruction.flow in (Flow.JUMP, Flow.BRANCH):
                target = at + instruction.target
                if 0 <= target < len(code):
                    todo.append((target, after))
                elif after[:2] != _ENTRY[:2]:  # into another function: only as if it were called
                    return None
            if instruction.flow is Flow.RETURN:
                if after[:2] != _ENTRY[:2]:
                    return None
                returns = True
            if instruction.flow not in (Flow.ON, Flow.BRANCH):
                break
            at, state = at + instruction.size, after
    return known if returns and not _overlap(known) else None


def _after(state: _State, instruction: Instruction) -> _State | None:
    """The state behind an instruction; None if it is not known."""
    depth, rbp, kept = state
    if kept is not None and instruction.writes >> kept[0] & 1:
        kept = None
    if instruction.keeps_rsp in _KEEPS and depth is not None:
        assert instruction.keeps_rsp is not None
        kept = instruction.keeps_rsp, depth
    if instruction.writes >> _RBP & 1 and rbp is None and instruction.loads_rbp is None:
        return None
    if depth is not None:
        saved = _saved_at(depth, instruction)
        if saved is not None and rbp is None:
            rbp = saved
        restored = _restored_from(depth, instruction)
        if restored is not None:
            if rbp is None:
                return None
            rbp = None if restored == rbp else rbp
    elif rbp is None and (instruction.restores_rbp or instruction.loads_rbp is not None):
        return None
    if instruction.push is None and not instruction.aligns and instruction.rsp_from is None:
        return None
    depth = _depth_after(depth, kept, instruction)
    if depth is None and (kept is None or instruction.rsp_from is not None):
        return None
    if depth is not None and (not 8 <= depth < _DEPTH_MAX or depth % 8):
        return None
    return _State(depth, rbp, kept)


def _saved_at(depth: int, instruction: Instruction) -> int | None:
    if instruction.saves_rbp:
        return -(depth + 8)
    if instruction.stores_rbp is not None and instruction.stores_rbp - depth < -8:
        return instruction.stores_rbp - depth
    return None


def _restored_from(depth: int, instruction: Instruction) -> int | None:
    if instruction.restores_rbp:
        return -depth
    return None if instruction.loads_rbp is None else instruction.loads_rbp - depth


def _depth_after(
    depth: int | None, kept: tuple[int, int] | None, instruction: Instruction
) -> int | None:
    if instruction.rsp_from is not None:
        return kept[1] if kept is not None and kept[0] == instruction.rsp_from else None
    if instruction.push is None:
        return None
    return None if depth is None else depth + instruction.push


def _overlap(known: dict[int, tuple[_State, int]]) -> bool:
    """Whether instructions share bytes: then something was not what it was taken for."""
    end = 0
    for at in sorted(known):
        if at < end:
            return True
        end = at + known[at][1]
    return False
