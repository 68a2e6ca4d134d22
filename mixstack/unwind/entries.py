"""`.eh_frame` and `.debug_frame` taken apart: CIEs, and the FDEs that refer to them.

Source: LSB 5.0, 10.6; DWARF 5, 6.4.1. The two differ in how an FDE names its CIE and in how
addresses are written.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from .dwarf import RIP, BadDwarf, sleb, uleb

_EXTENDED_LENGTH = 0xFFFFFFFF
_DEBUG_CIE = 0xFFFFFFFF
_ADDRESS_8_NO_SEGMENT = bytes([8, 0])
_PCREL = 0x10
_OMIT = 0xFF
# DW_EH_PE formats of fixed size: struct code and bytes (LSB 5.0, 10.5).
_FORMATS = {
    0x0: ("<Q", 8),
    0x2: ("<H", 2),
    0x3: ("<I", 4),
    0x4: ("<Q", 8),
    0xA: ("<h", 2),
    0xB: ("<i", 4),
    0xC: ("<q", 8),
}


@dataclass(frozen=True, slots=True, eq=False)
class Cie:
    """What many FDEs share. `instructions`: those that every one of them begins with."""

    code_align: int
    data_align: int
    pointer: str  # struct code of a pointer in an FDE
    pointer_size: int  # bytes
    pc_relative: bool
    augmented: bool  # an FDE has augmentation data
    signal: bool  # the frames are those that a signal made
    instructions: bytes


class Fde(NamedTuple):
    """The instructions for the code at `[start, start + size)`, the file's own addresses."""

    start: int
    size: int
    cie: Cie
    instructions: bytes


def read_entries(data: bytes, vaddr: int, *, debug: bool = False) -> list[Fde]:
    """The FDEs of a section's bytes at its own address `vaddr`, sorted by start, then by size.

    `.eh_frame`, or with `debug` a `.debug_frame` of 32-bit DWARF, as all files have it.

    What cannot be understood is left out. Linear in the section's size: a CIE counts only where
    the walk from entry to entry passes it, so no byte is read as part of many entries.
    """
    cies: dict[int, Cie | None] = {}
    found: list[tuple[int, int, int]] = []
    size = len(data)
    at = 0
    heads = struct.Struct("<II")
    while at + 8 <= size:
        length, identity = heads.unpack_from(data, at)
        if length == 0:
            at += 4  # a terminator: a linker may have left one between two inputs
            continue
        if length == _EXTENDED_LENGTH:
            # No section is that large; the entry is passed over whole.
            if at + 12 > size:
                break
            at += 12 + int.from_bytes(data[at + 4 : at + 12], "little")
            continue
        end = at + 4 + length
        if end > size:
            break
        if length > 4:
            if identity == (_DEBUG_CIE if debug else 0):
                cies[at] = _read_cie(data[at + 8 : end], debug)
            else:
                found.append((identity if debug else at + 4 - identity, at + 8, end))
        at = end
    fdes = []
    for cie_at, body, end in found:
        cie = cies.get(cie_at)
        if cie is not None:
            fde = _read_fde(data, body, end, cie, vaddr)
            if fde is not None:
                fdes.append(fde)
    fdes.sort(key=lambda fde: (fde.start, fde.size))
    return fdes


def _read_cie(body: bytes, debug: bool) -> Cie | None:
    try:
        return _parse_cie(body, debug)
    except (BadDwarf, IndexError, ValueError):
        return None


def _parse_cie(body: bytes, debug: bool) -> Cie | None:
    """The CIE whose bytes behind the identity are these, or None if it is not for x86-64 code.

    Raises BadDwarf, IndexError or ValueError if it breaks off.
    """
    version = body[0]
    name_end = body.index(0, 1)
    augmentation = body[1:name_end]
    at = name_end + 1
    if version not in (1, 3, 4) or (augmentation and (debug or augmentation[:1] != b"z")):
        return None
    if version == 4:
        if body[at : at + 2] != _ADDRESS_8_NO_SEGMENT:
            return None
        at += 2
    code_align, at = uleb(body, at)
    data_align, at = sleb(body, at)
    if version == 1:
        return_register, at = body[at], at + 1
    else:
        return_register, at = uleb(body, at)
    encoding = 0
    signal = False
    if augmentation:
        size, at = uleb(body, at)
        encoding, signal = _parse_augmentation(augmentation[1:], body[at : at + size])
        at += size
    if at > len(body):
        return None
    fixed = _FORMATS.get(encoding & 0x0F)
    if return_register != RIP or fixed is None or encoding & 0xF0 not in (0, _PCREL):
        return None
    return Cie(
        code_align=code_align,
        data_align=data_align,
        pointer=fixed[0],
        pointer_size=fixed[1],
        pc_relative=bool(encoding & _PCREL),
        augmented=bool(augmentation),
        signal=signal,
        instructions=body[at:],
    )


def _parse_augmentation(letters: bytes, data: bytes) -> tuple[int, bool]:
    """(how an FDE's pointers are encoded, whether it is a signal's frame)."""
    encoding, signal, at = 0, False, 0
    for letter in letters:
        if letter == ord("R"):
            encoding, at = data[at], at + 1
        elif letter == ord("S"):
            signal = True
        elif letter == ord("L"):
            at += 1
        elif letter == ord("P"):
            fixed = _FORMATS.get(data[at] & 0x0F)
            if data[at] != _OMIT:
                if fixed is None:
                    raise BadDwarf("the personality's encoding is unknown")
                at += fixed[1]
            at += 1
        else:
            break  # the letters behind it cannot be placed
    return encoding, signal


def _read_fde(data: bytes, at: int, end: int, cie: Cie, vaddr: int) -> Fde | None:
    size = cie.pointer_size
    if at + 2 * size > end:
        return None
    (start,) = struct.unpack_from(cie.pointer, data, at)
    (length,) = struct.unpack_from(cie.pointer, data, at + size)
    if cie.pc_relative:
        start += vaddr + at
    at += 2 * size
    if cie.augmented:
        skip = data[at] if at < end else 0x80
        at += 1
        if skip >= 0x80:
            try:
                skip, at = uleb(data, at - 1)
            except BadDwarf:
                return None
        at += skip
    if length <= 0 or at > end:
        return None
    return Fde(start, length, cie, data[at:end])
