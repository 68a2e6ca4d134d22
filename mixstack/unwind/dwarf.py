"""The few pieces of DWARF that call frame information is written in (DWARF 5, 7.6, 7.7, 2.5)."""

from __future__ import annotations

RBP = 6  # x86-64 psABI, table 3.36: DWARF register numbers
RSP = 7
R15 = 15
RIP = 16

_DW_OP_DEREF = 0x06
_DW_OP_PLUS_UCONST = 0x23
_DW_OP_BREG0 = 0x70
_DW_OP_BREG31 = 0x8F
_LEB_MAX = 10  # bytes of a 64-bit number

# What linkers write for .plt: rsp + 8 + ((rip & 15) >= N) * 8, before and after the literal N.
_PLT_HEAD = bytes([0x77, 8, 0x80, 0, 0x3F, 0x1A])
_PLT_TAIL = bytes([0x2A, 0x33, 0x24, 0x22])
_DW_OP_LIT0 = 0x30


class BadDwarf(Exception):
    """The bytes break off, or are not DWARF that can be understood."""


def uleb(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number and the offset behind it. Raises BadDwarf."""
    value = 0
    for index, byte in enumerate(data[at : at + _LEB_MAX]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, at + index + 1
    raise BadDwarf(f"no LEB128 number at {at}")


def sleb(data: bytes, at: int) -> tuple[int, int]:
    """A signed LEB128 number and the offset behind it. Raises BadDwarf."""
    value, end = uleb(data, at)
    bits = 7 * (end - at)
    return (value - (1 << bits) if value >> (bits - 1) else value), end


def block(data: bytes, at: int) -> tuple[bytes, int]:
    """A block with its length before it, and the offset behind it. Raises BadDwarf."""
    size, at = uleb(data, at)
    if at + size > len(data):
        raise BadDwarf(f"a block of {size} bytes at {at} breaks off")
    return data[at : at + size], at + size


def register_plus(expression: bytes) -> tuple[int, int] | None:
    """(register, offset) of an expression that is just `DW_OP_bregN offset`, else None."""
    split = _split_register(expression)
    if split is None or split[2]:
        return None
    return split[0], split[1]


def dereference(expression: bytes) -> tuple[int, int, int] | None:
    """(register, offset, addend) of `*(register + offset) + addend`, else None."""
    split = _split_register(expression)
    if split is None:
        return None
    register, offset, rest = split
    if rest == bytes([_DW_OP_DEREF]):
        return register, offset, 0
    if rest[:2] == bytes([_DW_OP_DEREF, _DW_OP_PLUS_UCONST]):
        try:
            addend, end = uleb(rest, 2)
        except BadDwarf:
            return None
        if end == len(rest):
            return register, offset, addend
    return None


def plt_threshold(expression: bytes) -> int | None:
    """N of the expression that linkers write for `.plt`, else None."""
    head, tail = len(_PLT_HEAD), len(_PLT_TAIL)
    if (
        len(expression) != head + 1 + tail
        or expression[:head] != _PLT_HEAD
        or expression[-tail:] != _PLT_TAIL
    ):
        return None
    threshold = expression[head] - _DW_OP_LIT0
    return threshold if 0 <= threshold <= 15 else None


def _split_register(expression: bytes) -> tuple[int, int, bytes] | None:
    if not expression or not _DW_OP_BREG0 <= expression[0] <= _DW_OP_BREG31:
        return None
    try:
        offset, end = sleb(expression, 1)
    except BadDwarf:
        return None
    return expression[0] - _DW_OP_BREG0, offset, expression[end:]
