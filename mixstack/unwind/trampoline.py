"""Rows for CPython's perf trampolines: anonymous memory full of copies of one stub, without CFI.

The stub (Python/asm_trampoline.S) calls the evaluator from a small frame of its own. Its rows come
from its instructions: few, and none that we cannot follow is guessed at. The copies lie in arenas
of one size (Python/perf_trampoline.c, new_code_arena), of which the kernel makes one mapping where
they are neighbours.
"""

from __future__ import annotations

import functools
from array import array
from collections.abc import Iterator
from typing import Final, NamedTuple

from mixstack.compiled.frames import index_pages
from mixstack.unwind.rows import Row, RowKind, UnwindTable, pack_row

ARENA_SIZE: Final = 16 * 4096
_PAGE: Final = 4096


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


class Piece(NamedTuple):
    """A part `[start, end)` of executable memory: an arena, or (stride None) something else.

    stride: bytes from one copy of the stub to the next. Each version has its own: 3.12 packs them,
    later ones align them, and `-X perf_jit` leaves room behind each for what it tells perf of it.
    """

    start: int
    end: int
    stride: int | None


def split_arenas(stub: bytes, memory: bytes) -> list[Piece]:
    """Cut the contents of one mapping into arenas and the rest; the pieces cover it, in order.

    An arena holds copies of the stub from its first byte to its last and nothing else. Neighbours
    do not share a stride when perf_jit was switched on behind the first one; and a stride that does
    not divide the size of an arena does not go on in the next.
    """
    pieces: list[Piece] = []
    rest = 0
    for start, stride in _arenas(stub, memory):
        if rest < start:
            pieces.append(Piece(rest, start, None))
        rest = start + ARENA_SIZE
        pieces.append(Piece(start, rest, stride))
    if rest < len(memory):
        pieces.append(Piece(rest, len(memory), None))
    return pieces


def _arenas(stub: bytes, memory: bytes) -> Iterator[tuple[int, int]]:
    """(start, stride) of each arena."""
    start = 0
    while start <= len(memory) - ARENA_SIZE:
        stride = _stride(stub, memory, start)
        if stride is not None and memory.startswith(_arena(stub, stride), start):
            yield start, stride
            start += ARENA_SIZE
        else:
            start += _PAGE


def _stride(stub: bytes, memory: bytes, start: int) -> int | None:
    """The distance between the two copies of the stub that an arena at `start` begins with."""
    if not stub or not memory.startswith(stub, start):
        return None
    second = memory.find(stub, start + len(stub), start + _PAGE)
    return second - start if second >= 0 else None


@functools.lru_cache(maxsize=8)
def _arena(stub: bytes, stride: int) -> bytes:
    return (stub.ljust(stride, b"\0") * (ARENA_SIZE // stride)).ljust(ARENA_SIZE, b"\0")


def arena_table(stub: bytes, stride: int) -> UnwindTable | None:
    """The table of an arena; None if the stub cannot be followed."""
    rows = stub_rows(stub)
    if rows is None:
        return None
    words = array("Q")
    for start in range(0, ARENA_SIZE - stride + 1, stride):
        words.extend(pack_row(row._replace(pc=start + row.pc)) for row in rows)
    return UnwindTable(0, words.tobytes(), index_pages(words, ARENA_SIZE))
