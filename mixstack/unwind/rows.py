"""The table that the probe searches: 8-byte rows, and a page index over them.

The bit layout is that of `enum ms_row_kind` and `struct ms_page` in bpf/mixstack.h.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from mixstack.bpf import wire
from mixstack.bpf.wire import PAGE_SHIFT, RowKind

__all__ = [
    "CFA_LIMIT",
    "CODE_MAX",
    "KIND_SHIFT",
    "PC_MASK",
    "RBP_AT_RBP",
    "RBP_LIMIT",
    "SECTION_MAX",
    "Row",
    "RowKind",
    "UnwindTable",
    "find_row",
    "pack_row",
    "unpack_row",
]

CODE_MAX = 1 << 30  # bytes from the first to the last instruction of a file: none comes near
SECTION_MAX = 1 << 28  # bytes of .eh_frame: the largest known are below 32 MB

PC_MASK = 0xFFFFFFFF
CFA_SHIFT = 32
RBP_SHIFT = 48
KIND_SHIFT = 60
CFA_LIMIT = 1 << 15  # |cfa_offset| / 8 is below this
RBP_LIMIT = 1 << 11  # |rbp| / 8 is below this; its most negative value is RBP_AT_RBP
_DEREF_BITS = 11  # of the offset to a CFA that is kept in memory; the rest is the addend's
_DEREF_LIMIT = 1 << (_DEREF_BITS - 1)
_OFFSET_BITS, _SLOT_BITS = 5, 7  # of a CFA in any register; the rest is the register's number

RBP_AT_RBP = wire.RBP_AT_RBP * 8
"""`Row.rbp`: the caller's rbp is saved where rbp points."""

_UNSCALED = frozenset({RowKind.PLT})  # kinds whose offset is stored as it is, not divided by 8
_DEREF = frozenset({RowKind.RSP_DEREF, RowKind.RBP_DEREF})


class Row(NamedTuple):
    """How to leave a function from `pc` on, up to the next row's pc.

    pc: bytes from the table's base. cfa_offset: bytes (for PLT: the threshold). rbp: where the
    caller's rbp is saved, bytes from the CFA; None: rbp is unchanged; or `RBP_AT_RBP`.
    addend: bytes, of a CFA that is kept in memory. register: of kind REGISTER, as DWARF numbers it.
    slot: the function called from here saves that register at its own CFA - slot; 0: it does not.
    """

    pc: int
    kind: RowKind
    cfa_offset: int = 0
    rbp: int | None = None
    addend: int = 0
    register: int = 0
    slot: int = 0


class UnwindTable(NamedTuple):
    """The unwind rules of one file.

    base: the file's own address that row pc 0 stands for. rows: u64 little-endian, sorted by pc,
    the first at pc 0. pages: per 256 bytes from base on, u32 index of the last row at or before the
    page's first byte, and u32 count of rows that begin behind that byte: a search of
    rows[index] ... rows[index + count], both included, finds every pc of the page.
    """

    base: int
    rows: bytes | memoryview
    pages: bytes | bytearray


def pack_row(row: Row) -> int:
    """The row as a u64. Raises ValueError if a number does not fit."""
    rbp, rbp_rest = divmod(row.rbp or 0, 8)
    if rbp_rest or row.rbp == 0:
        raise ValueError(f"{row}: rbp's place is no multiple of 8, or it is the CFA itself")
    if not (0 <= row.pc <= PC_MASK and (-RBP_LIMIT < rbp < RBP_LIMIT or row.rbp == RBP_AT_RBP)):
        raise ValueError(f"{row}: out of range")
    return row.kind << KIND_SHIFT | (rbp & 0xFFF) << RBP_SHIFT | _cfa(row) << CFA_SHIFT | row.pc


def _cfa(row: Row) -> int:
    """Bits 32..47 of a row. Raises ValueError if a number does not fit."""
    unscaled = row.kind in _UNSCALED
    fields = [(row.cfa_offset if unscaled else _eighth(row.cfa_offset), -CFA_LIMIT, 16)]
    if row.kind in _DEREF:
        fields = [(_eighth(row.cfa_offset), -_DEREF_LIMIT, _DEREF_BITS)]
        fields.append((_eighth(row.addend), 0, 16 - _DEREF_BITS))
    elif row.kind is RowKind.REGISTER:
        fields = [(_eighth(row.cfa_offset), 0, _OFFSET_BITS)]
        fields.append((_eighth(row.slot), 0, _SLOT_BITS))
        fields.append((row.register, 0, 16 - _OFFSET_BITS - _SLOT_BITS))
    word = at = 0
    for value, least, bits in fields:
        if not least <= value < least + (1 << bits):
            raise ValueError(f"{row}: {value} does not fit")
        word |= (value & (1 << bits) - 1) << at
        at += bits
    return word


def _eighth(offset: int) -> int:
    words, rest = divmod(offset, 8)
    if rest:
        raise ValueError(f"{offset} is no multiple of 8")
    return words


def unpack_row(word: int) -> Row:
    """The row that a u64 stands for. Raises ValueError for a kind that there is not."""
    kind = RowKind(word >> KIND_SHIFT)
    cfa = word >> CFA_SHIFT & 0xFFFF
    rbp = _signed(word >> RBP_SHIFT & 0xFFF, 12)
    row = Row(word & PC_MASK, kind, rbp=rbp * 8 if rbp else None)
    if kind is RowKind.REGISTER:
        return row._replace(
            cfa_offset=(cfa & (1 << _OFFSET_BITS) - 1) * 8,
            slot=(cfa >> _OFFSET_BITS & (1 << _SLOT_BITS) - 1) * 8,
            register=cfa >> _OFFSET_BITS + _SLOT_BITS,
        )
    if kind in _DEREF:
        offset = _signed(cfa & (1 << _DEREF_BITS) - 1, _DEREF_BITS)
        return row._replace(cfa_offset=offset * 8, addend=(cfa >> _DEREF_BITS) * 8)
    return row._replace(cfa_offset=_signed(cfa, 16) * (1 if kind in _UNSCALED else 8))


def find_gap(table: UnwindTable, vaddr: int) -> tuple[int, int] | None:
    """The file's addresses without a rule around one of them; None if it has one.

    Beyond either end of the table there is none: from there on to where code can be at all.
    """
    pc = vaddr - table.base
    count = len(table.rows) // 8
    if pc < 0 or not count:
        return 0, table.base if pc < 0 else PC_MASK
    low, high = 0, count  # the first row behind the address
    while low < high:
        middle = (low + high) // 2
        (row_pc,) = struct.unpack_from("<I", table.rows, middle * 8)
        low, high = (middle + 1, high) if row_pc <= pc else (low, middle)
    if not low:
        return None
    row = unpack_row(*struct.unpack_from("<Q", table.rows, (low - 1) * 8))
    if row.kind is not RowKind.NONE:
        return None
    (end,) = struct.unpack_from("<I", table.rows, low * 8) if low < count else (PC_MASK,)
    return table.base + row.pc, table.base + end


def find_row(table: UnwindTable, vaddr: int) -> Row | None:
    """The row for a file's own address, searched as the probe does; None outside of the table."""
    pc = vaddr - table.base
    if not 0 <= pc < len(table.pages) // 8 << PAGE_SHIFT:
        return None
    low, count = struct.unpack_from("<II", table.pages, (pc >> PAGE_SHIFT) * 8)
    high = low + count
    while low < high:
        middle = (low + high + 1) // 2
        (row_pc,) = struct.unpack_from("<I", table.rows, middle * 8)
        if row_pc <= pc:
            low = middle
        else:
            high = middle - 1
    return unpack_row(*struct.unpack_from("<Q", table.rows, low * 8))


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value
