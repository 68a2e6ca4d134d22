"""A second opinion on the probe's native walk: the same rows, followed in plain Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mixstack.bpf.wire import RowKind
from mixstack.model import NativeEnd, NativeFrame, Step
from mixstack.unwind.rows import RBP_AT_RBP, Row, UnwindTable, find_row

# From a ucontext (what rsp points at in a signal frame) to the interrupted registers:
# uc_mcontext is at 40, and REG_RBP, REG_RSP, REG_RIP are its words 10, 15, 16 (sys/ucontext.h).
SIGNAL_RBP, SIGNAL_RSP, SIGNAL_RIP = 40 + 8 * 10, 40 + 8 * 15, 40 + 8 * 16

Find = Callable[[int], "tuple[UnwindTable, int] | None"]
ReadMemory = Callable[[int, int], "bytes | None"]


@dataclass(frozen=True)
class Registers:
    pc: int
    sp: int
    bp: int
    others: Mapping[int, int] = field(default_factory=dict)  # by DWARF number; only in the leaf


class _Unreadable(Exception):
    pass


def unwind(
    registers: Registers, find: Find, read_memory: ReadMemory, limit: int = 256
) -> tuple[list[NativeFrame], NativeEnd]:
    """The frames, innermost first, and why the walk ended.

    find: pc -> (table, load bias) of the mapping there. read_memory: (address, size) -> bytes.
    The last frame of a walk that did not reach the root has the stack pointer for its CFA.
    """
    frames: list[NativeFrame] = []
    step = Step.LEAF

    def word(address: int) -> int:
        data = read_memory(address, 8)
        if data is None or len(data) != 8:
            raise _Unreadable
        return int.from_bytes(data, "little")

    while len(frames) < limit:
        now = registers
        pc = now.pc - 1 if step is Step.CALLER else now.pc
        found = find(pc)
        if found is None:
            return [*frames, NativeFrame(now.pc, now.sp, step)], NativeEnd.NO_MAPPING
        table, bias = found
        row = find_row(table, pc - bias) or Row(0, RowKind.NONE)
        if row.kind is RowKind.ROOT:
            return [*frames, NativeFrame(now.pc, now.sp + 8, step)], NativeEnd.ROOT
        try:
            if row.kind is RowKind.SIGNAL:
                sp = word(now.sp + SIGNAL_RSP)
                registers = Registers(word(now.sp + SIGNAL_RIP), sp, word(now.sp + SIGNAL_RBP))
                frames.append(NativeFrame(now.pc, sp, step))
                step = Step.SIGNAL
                continue
            cfa = _cfa(row, now, word)
            if cfa is None:
                return [*frames, NativeFrame(now.pc, now.sp, step)], NativeEnd.NO_RULE
            if cfa <= now.sp:
                return [*frames, NativeFrame(now.pc, now.sp, step)], NativeEnd.NO_PROGRESS
            bp = now.bp
            if row.rbp is not None:
                bp = word(now.bp if row.rbp == RBP_AT_RBP else cfa + row.rbp)
            registers = Registers(word(cfa - 8), cfa, bp)
        except _Unreadable:
            return [*frames, NativeFrame(now.pc, now.sp, step)], NativeEnd.READ_FAULT
        frames.append(NativeFrame(now.pc, cfa, step))
        step = Step.CALLER
    return frames, NativeEnd.TRUNCATED


def _cfa(row: Row, now: Registers, word: Callable[[int], int]) -> int | None:
    if row.kind is RowKind.RSP:
        return now.sp + row.cfa_offset
    if row.kind is RowKind.RBP:
        return now.bp + row.cfa_offset
    if row.kind is RowKind.REGISTER:
        base = now.others.get(row.register)
        return None if base is None else base + row.cfa_offset
    if row.kind is RowKind.RSP_DEREF:
        return word(now.sp + row.cfa_offset) + row.addend
    if row.kind is RowKind.RBP_DEREF:
        return word(now.bp + row.cfa_offset) + row.addend
    if row.kind is RowKind.PLT:
        return now.sp + (16 if now.pc & 15 >= row.cfa_offset else 8)
    return None
