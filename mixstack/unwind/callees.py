"""Registers that a CFA counts from across a call: where the called function saves them.

The dynamic loader resolves a symbol with rbx as the base of its frame (`_dl_runtime_resolve_*`), so
while it does, the way on leads through rbx as it was before the call. It is in the called
function's frame; which function that is, a direct call says, and where it is there, its own rules.
"""

from __future__ import annotations

import re
from array import array
from typing import Final

from mixstack.bpf.wire import RowKind
from mixstack.elf import Elf

from .library import Frames
from .rows import PC_MASK, pack_row, unpack_row

_KEPT: Final = (3, 12, 13, 14, 15)  # rbx, r12 to r15: a function must restore them (psABI, 3.2.1)
_CALL: Final = 0xE8  # Intel SDM, volume 2: CALL rel32
_CALL_SIZE: Final = 5
_REGION_MAX: Final = 4096  # bytes under one rule; more is no function that only calls another

# The highest byte of a row of kind REGISTER.
_OF_REGISTER: Final = re.compile(rb"[\x%x0-\x%xf]" % (RowKind.REGISTER, RowKind.REGISTER))


def with_slots(rows: array[int], base: int, elf: Elf, frames: Frames) -> array[int]:
    """The packed rows; those of kind REGISTER have the slots of the functions called under them.

    base: the file's own address of row pc 0. frames: the file's FDEs.
    """
    found, copied = array("Q"), 0
    for match in _OF_REGISTER.finditer(rows.tobytes()[7::8]):
        index = match.start()
        row = unpack_row(rows[index])
        if row.register not in _KEPT or index + 1 == len(rows):
            continue
        found += rows[copied : index + 1]
        copied = index + 1
        size = min((rows[index + 1] & PC_MASK) - row.pc, _REGION_MAX)
        code = elf.read(base + row.pc, size)
        for at, target in _calls(code, base + row.pc):
            slot = _saved_slot(frames, target, row.register)
            if slot is not None:
                try:
                    call = pack_row(row._replace(pc=row.pc + at, slot=slot))
                except ValueError:  # too far from the CFA
                    continue
                if at == 0:
                    found.pop()
                found.append(call)
                if at + _CALL_SIZE < size:
                    found.append(pack_row(row._replace(pc=row.pc + at + _CALL_SIZE)))
    return found + rows[copied:] if copied else rows


def _calls(code: bytes, address: int) -> list[tuple[int, int]]:
    """(offset, target) of what may be a direct call, none inside of another."""
    calls = []
    at = code.find(_CALL)
    while 0 <= at <= len(code) - _CALL_SIZE:
        relative = int.from_bytes(code[at + 1 : at + _CALL_SIZE], "little", signed=True)
        calls.append((at, address + at + _CALL_SIZE + relative))
        at = code.find(_CALL, at + _CALL_SIZE)
    return calls


def _saved_slot(frames: Frames, function: int, register: int) -> int | None:
    """CFA - where a function saves a register; None if its rules do not say so beyond doubt.

    Beyond doubt: it is one place, and wherever the register is not saved yet, that place lies below
    the stack pointer. So the stack pointer alone tells whether it is saved.
    """
    rows = frames.rows_of(function, register)
    if rows is None:
        return None
    rules = [unpack_row(word) for word in rows]
    places = {rule.rbp for rule in rules if rule.rbp is not None}
    if len(places) != 1 or any(r.kind not in (RowKind.RSP, RowKind.RBP) for r in rules):
        return None
    slot = -places.pop()
    if slot <= 0 or any(
        rule.rbp is None and (rule.kind is not RowKind.RSP or rule.cfa_offset >= slot)
        for rule in rules
    ):
        return None
    return slot
