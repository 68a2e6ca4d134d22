"""Where an evaluator keeps its marker, read from its own instructions.

The probe learns it from clean stacks as well; but code without unwind tables (3.14's JIT) may run
for ever, and then no clean stack ever comes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from mixstack.unwind.rows import Row, RowKind

PROLOGUE_SIZE: Final = 512  # bytes; the marker is linked within the first 40 instructions or so
_NEAR: Final = 16  # bytes that may lie between the two instructions


class MarkerSpan(NamedTuple):
    """cfa_from_marker: CFA - marker. rbp_from_cfa: the caller's rbp is saved at CFA + this."""

    cfa_from_marker: int
    rbp_from_cfa: int


class _Lea(NamedTuple):
    """`lea offset(%rsp or %rbp), register`; `end`: behind it."""

    base: RowKind
    offset: int
    register: int
    end: int


# Intel SDM, volume 2: REX.W 8D /r with mod 01 (disp8) or 10 (disp32); r/m 101 is rbp, 100 with the
# SIB byte 24 is rsp.
_LEA: Final = re.compile(
    rb"([\x48\x4c])\x8d(?:"
    rb"(?P<rbp8>[\x45\x4d\x55\x5d\x65\x6d\x75\x7d])(?P<b8>.)|"
    rb"(?P<rbp32>[\x85\x8d\x95\x9d\xa5\xad\xb5\xbd])(?P<b32>.{4})|"
    rb"(?P<rsp8>[\x44\x4c\x54\x5c\x64\x6c\x74\x7c])\x24(?P<s8>.)|"
    rb"(?P<rsp32>[\x84\x8c\x94\x9c\xa4\xac\xb4\xbc])\x24(?P<s32>.{4}))",
    re.DOTALL,
)


def find_marker_span(
    code: bytes, frame_previous: int, row_at: Callable[[int], Row | None]
) -> MarkerSpan | None:
    """The span of an evaluator whose first instructions are `code`; None if they do not say.

    The marker is the local of which the evaluator stores the address into its frame's `previous`
    (offset `frame_previous`): `lea MARKER, %r; mov %r, PREVIOUS(%frame)`. row_at: the unwind row at
    a byte of `code`, which says where the CFA is then.
    """
    found = set()
    for at in range(len(code)):
        lea = _lea(code, at)
        if lea is not None and _is_stored(code, lea, frame_previous):
            row = row_at(at)
            if row is None or row.kind is not lea.base:
                return None
            found.add(MarkerSpan(row.cfa_offset - lea.offset, row.rbp or 0))
    span = found.pop() if len(found) == 1 else None
    return span if span is not None and span.cfa_from_marker > 0 else None


def _lea(code: bytes, at: int) -> _Lea | None:
    match = _LEA.match(code, at)
    if match is None:
        return None
    form = match.groupdict()
    modrm = form["rbp8"] or form["rbp32"] or form["rsp8"] or form["rsp32"]
    offset = form["b8"] or form["b32"] or form["s8"] or form["s32"]
    return _Lea(
        RowKind.RBP if form["rbp8"] or form["rbp32"] else RowKind.RSP,
        int.from_bytes(offset, "little", signed=True),
        modrm[0] >> 3 & 7 | (match[1][0] & 4) << 1,
        match.end(),
    )


def _is_stored(code: bytes, lea: _Lea, offset: int) -> bool:
    """Whether `mov %register, offset(...)` follows: REX.W 89 /r with mod 01."""
    return any(
        rex & 0xFA == 0x48
        and opcode == 0x89
        and modrm >> 6 == 1
        and (modrm >> 3 & 7 | (rex & 4) << 1) == lea.register
        and (sib if modrm & 7 != 4 else disp) == offset
        for rex, opcode, modrm, sib, disp in _fives(code, lea.end)
    )


def _fives(code: bytes, start: int) -> Iterator[bytes]:
    for at in range(start, min(start + _NEAR + 1, len(code) - 4)):
        yield code[at : at + 5]
