"""Rows for CPython's perf trampolines: anonymous memory full of copies of one stub, without CFI.

The stub (Python/asm_trampoline.S) calls the evaluator from a small frame of its own. Its rows come
from its instructions: few, and none that we cannot follow is guessed at.
"""

from __future__ import annotations

from array import array
from typing import Final, NamedTuple

from mixstack.unwind.rows import Row, RowKind, UnwindTable, index_pages, pack_row

_ALIGNMENTS: Final = (16, 1)  # Python/perf_trampoline.c: 3.13 aligns the copies, 3.12 does not


class _Effect(NamedTuple):
    """What an instruction does to the stack pointer, and whether it saves rbp."""

    push: int = 0
    saves_rbp: bool = False
    restores_rbp: bool = False
    returns: bool = False


_INSTRUCTIONS: Final = {  # Intel SDM, volume 2
    b"\xf3\x0f\x1e\xfa": _Effect(),  # endbr64
    b"\x48\x83\xec\x08": _Effect(push=8),  # sub $8, %rsp
    b"\x48\x83\xc4\x08": _Effect(push=-8),  # add $8, %rsp
    b"\x55": _Effect(push=8, saves_rbp=True),  # push %rbp
    b"\x48\x89\xe5": _Effect(),  # mov %rsp, %rbp: rsp stays the base all the same
    b"\x5d": _Effect(push=-8, restores_rbp=True),  # pop %rbp
    b"\xff\xd1": _Effect(),  # call *%rcx
    b"\xc3": _Effect(returns=True),  # ret
}


def stub_rows(stub: bytes) -> list[Row] | None:
    """The rows of one stub, pcs from its first byte; None if an instruction is not known."""
    rows: list[Row] = []
    at, depth, rbp = 0, 8, None
    while at < len(stub):
        row = Row(at, RowKind.RSP, depth, rbp)
        if not rows or rows[-1][1:] != row[1:]:
            rows.append(row)
        code = next((c for c in _INSTRUCTIONS if stub.startswith(c, at)), None)
        if code is None:
            return None
        effect = _INSTRUCTIONS[code]
        at += len(code)
        depth += effect.push
        if effect.saves_rbp:
            rbp = -depth
        if effect.restores_rbp:
            rbp = None
        if effect.returns:
            return rows
    return None


def trampoline_table(stub: bytes, memory: bytes, size: int) -> UnwindTable | None:
    """The table of an arena of `size` bytes whose first bytes are `memory`.

    None unless the arena begins with two copies of the stub, and the stub can be followed.
    """
    rows = stub_rows(stub)
    stride = _stride(stub, memory)
    if rows is None or stride is None:
        return None
    words = array("Q")
    for start in range(0, size - stride + 1, stride):
        words.extend(pack_row(row._replace(pc=start + row.pc)) for row in rows)
    return UnwindTable(0, words.tobytes(), index_pages(words, size))


def _stride(stub: bytes, memory: bytes) -> int | None:
    """The distance from one copy of the stub to the next; None if there are no two."""
    for alignment in _ALIGNMENTS:
        stride = -(-len(stub) // alignment) * alignment
        if memory.startswith(stub) and memory[stride : stride + len(stub)] == stub:
            return stride
    return None
