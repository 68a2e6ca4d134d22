"""As much of x86-64 machine code as it takes to follow a stack pointer.

How long each instruction is, where it jumps, and what it does to rsp and rbp (Intel SDM, volume 2,
chapter 2 and appendix A). What is not known to leave them alone counts as writing them.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple


class Flow(enum.Enum):
    """Where control goes."""

    ON = "to the next instruction"
    BRANCH = "there, or to the next"
    JUMP = "there"
    RETURN = "to the caller"
    STOP = "nowhere"


class Instruction(NamedTuple):
    """size: bytes. target: bytes from the instruction's start, of a jump or branch.

    push: bytes by which rsp goes down, None if that is not known. saves_rbp: `push %rbp`; restores
    it: `pop %rbp`. stores_rbp, loads_rbp: to and from rsp + that. writes: registers, as bits by
    their number, into which it writes, or may write; of those that it names, rsp apart. keeps_rsp:
    the register into which it copies rsp; rsp_from: the one from which; rsp_from_rbp: rsp becomes
    rbp + that; leaves: `leave`, which makes rsp what rbp is, and pops rbp; aligns: it rounds rsp
    down.
    """

    size: int
    flow: Flow = Flow.ON
    target: int = 0
    push: int | None = 0
    saves_rbp: bool = False
    restores_rbp: bool = False
    stores_rbp: int | None = None
    loads_rbp: int | None = None
    writes: int = 0
    keeps_rsp: int | None = None
    rsp_from: int | None = None
    rsp_from_rbp: int | None = None
    leaves: bool = False
    aligns: bool = False


class _ModRm(NamedTuple):
    """reg, rm: register numbers with the REX bits. disp: from rsp, if that is the only base;
    from_rbp: from rbp, if it is that."""

    mod: int
    reg: int
    rm: int
    size: int
    disp: int | None
    from_rbp: int | None = None


_RSP, _RBP = 4, 5
_PREFIXES_MAX: Final = 9  # compilers pad with long nops; no instruction has more than 15 bytes
_LEGACY: Final = frozenset(b"\x66\xf2\xf3\x2e\x36\x3e\x26\x64\x65\x67\xf0")
# One-byte opcodes: those with a ModRM byte, and the bytes of what follows.
_MODRM: Final = frozenset(
    [op for op in range(0x40) if op & 7 < 4]
    + [0x63, 0x69, 0x6B, *range(0x80, 0x90), 0xC0, 0xC1, 0xC6, 0xC7]
    + [*range(0xD0, 0xD4), *range(0xD8, 0xE0), 0xF6, 0xF7, 0xFE, 0xFF]
)
_PLAIN: Final = frozenset([0x90, *range(0x98, 0x9A), 0x9B, *range(0xA4, 0xA8), *range(0xAA, 0xB0)])
_PLAIN_FLAGS: Final = frozenset([0x9E, 0x9F, 0xF5, *range(0xF8, 0xFA), 0xFC, 0xFD])
_IMM8: Final = frozenset([0x6B, 0x80, 0x83, 0xC0, 0xC1, 0xC6])
_IMM32: Final = frozenset([0x69, 0x81, 0xC7])
_READS_ONLY: Final = frozenset([*range(0x38, 0x3C), 0x84, 0x85, *range(0xD8, 0xE0)])
_TO_RM: Final = frozenset([op for op in range(0x38) if op & 7 < 2] + [0x88, 0x89])
_TO_REG: Final = frozenset(
    [op for op in range(0x38) if op & 7 in (2, 3)] + [0x63, 0x69, 0x6B, 0x8A, 0x8B, 0x8D]
)
_GROUPS: Final = frozenset([0x80, 0x81, 0x83, 0xC0, 0xC1, 0xC6, 0xC7, *range(0xD0, 0xD4)])
_BYTES: Final = frozenset(
    [op for op in range(0x40) if op & 7 in (0, 2)]
    + [0x80, 0x88, 0x8A, 0xC0, 0xC6, 0xD0, 0xD2, 0xF6, 0xFE]
)
# 0F xx: without ModRM; with an immediate byte; those that may write a general register.
_MAP1_BARE: Final = frozenset([0x05, 0x0B, 0x31, 0x77, 0xA2])
_MAP1_UNKNOWN: Final = frozenset(
    [*range(0x0D), 0x0E, 0x0F, *range(0x30, 0x40), 0xA0, 0xA1, 0xA8, 0xA9, 0xAA]
)
_MAP1_IMM8: Final = frozenset([*range(0x70, 0x74), 0xA4, 0xAC, 0xBA, 0xC2, 0xC4, 0xC5, 0xC6])
_MAP1_GENERAL: Final = frozenset(
    [*range(0x04), *range(0x20, 0x24), 0x2C, 0x2D, *range(0x40, 0x51), 0x78, 0x79, 0x7E]
).union(range(0x90, 0xC2), (0xC5, 0xC7, 0xD7))
_MAP2_GENERAL: Final = frozenset(range(0xF0, 0x100))
_MAP3_GENERAL: Final = frozenset([*range(0x14, 0x18), 0xF0])
_GENERAL: Final = {1: _MAP1_GENERAL, 2: _MAP2_GENERAL, 3: _MAP3_GENERAL}


def decode(code: bytes, at: int) -> Instruction | None:
    """The instruction at an offset; None if it is not known, or breaks off."""
    try:
        return _decode(code, at)
    except IndexError:
        return None


def _decode(code: bytes, start: int) -> Instruction | None:
    at = start
    wide16 = False
    while code[at] in _LEGACY:
        wide16 |= code[at] == 0x66
        at += 1
        if at - start > _PREFIXES_MAX:
            return None
    op = code[at]
    if op in (0xC5, 0xC4, 0x62):
        return _vector(code, start, at)
    rex = op if op & 0xF0 == 0x40 else 0
    if rex:
        at += 1
        op = code[at]
    at += 1
    if op == 0x0F:
        return _two_bytes(code, start, at, rex)
    if op in _MODRM:
        return _with_modrm(code, start, at, op, rex, wide16)
    return _without_modrm(code, start, at, op, rex, wide16)


def _without_modrm(
    code: bytes, start: int, at: int, op: int, rex: int, wide16: bool
) -> Instruction | None:
    size = at - start
    register = op & 7 | (rex & 1) << 3
    if 0x50 <= op < 0x58:
        return None if wide16 else Instruction(size, push=8, saves_rbp=register == _RBP)
    if 0x58 <= op < 0x60:
        if wide16 or register == _RSP:
            return None
        restores = register == _RBP
        return Instruction(
            size, push=-8, restores_rbp=restores, writes=0 if restores else 1 << register
        )
    if 0x70 <= op < 0x80 or 0xE0 <= op < 0xE4 or op == 0xEB:
        target = size + 1 + int.from_bytes(code[at : at + 1], "little", signed=True)
        return Instruction(size + 1, Flow.JUMP if op == 0xEB else Flow.BRANCH, target)
    if op in (0xE8, 0xE9):
        target = size + 4 + int.from_bytes(code[at : at + 4], "little", signed=True)
        return Instruction(size + 4, Flow.JUMP if op == 0xE9 else Flow.ON, target)
    if op == 0xC9:
        return Instruction(size, push=None, leaves=True, writes=1 << _RBP) if not wide16 else None
    if op in (0xC3, 0xF4, 0xCC):
        return Instruction(size, Flow.RETURN if op == 0xC3 else Flow.STOP)
    if op < 0x40 and op & 7 in (4, 5):  # to al, eax
        return Instruction(size + (1 if op & 7 == 4 else 2 if wide16 else 4))
    if 0xB0 <= op < 0xB8:
        return _writing(size + 1, register if rex else register & 3)
    if 0xB8 <= op < 0xC0:
        return _writing(size + (8 if rex & 8 else 2 if wide16 else 4), register)
    if op in (0xA8, 0xA9):
        return Instruction(size + (1 if op == 0xA8 else 2 if wide16 else 4))
    if op in (0x68, 0x6A):
        return None if wide16 else Instruction(size + (4 if op == 0x68 else 1), push=8)
    return Instruction(size) if op in _PLAIN or op in _PLAIN_FLAGS else None


def _with_modrm(
    code: bytes, start: int, at: int, op: int, rex: int, wide16: bool
) -> Instruction | None:
    m = _modrm(code, at, rex)
    group = m.reg & 7
    immediate = 1 if op in _IMM8 else 0
    if op in _IMM32 or (op == 0xF7 and group < 2):
        immediate = 2 if wide16 else 4
    elif op == 0xF6 and group < 2:
        immediate = 1
    end = at + m.size
    size = end + immediate - start
    if op == 0xFF and group >= 2:
        return Instruction(size) if group == 2 else None  # an indirect call; jumps, pushes
    if op in (0x81, 0x83) and m.mod == 3 and m.rm == _RSP and group in (0, 5) and rex & 8:
        number = int.from_bytes(code[end : end + immediate], "little", signed=True)
        return Instruction(size, push=number if group == 5 else -number)
    if op in (0x81, 0x83) and m.mod == 3 and m.rm == _RSP and group == 4 and rex & 8:
        return Instruction(size, push=None, aligns=True)
    if op == 0x89 and m.mod == 3 and rex & 8 and m.reg == _RSP and m.rm != _RSP:
        return Instruction(size, writes=1 << m.rm, keeps_rsp=m.rm)
    if op == 0x89 and m.mod == 3 and rex & 8 and m.rm == _RSP:
        return Instruction(size, push=None, rsp_from=m.reg)
    if op == 0x8B and m.mod == 3 and rex & 8 and m.rm == _RSP and m.reg != _RSP:
        return Instruction(size, writes=1 << m.reg, keeps_rsp=m.reg)
    if op == 0x8B and m.mod == 3 and rex & 8 and m.reg == _RSP:
        return Instruction(size, push=None, rsp_from=m.rm)
    if op == 0x8D and m.reg == _RSP:
        if m.disp is not None and rex & 8:
            return Instruction(size, push=-m.disp)
        if m.from_rbp is not None and rex & 8:
            return Instruction(size, push=None, rsp_from_rbp=m.from_rbp)
        return None
    if op == 0x89 and m.reg == _RBP and m.disp is not None and rex & 8:
        return Instruction(size, stores_rbp=m.disp)
    if op == 0x8B and m.reg == _RBP and m.disp is not None and rex & 8:
        return Instruction(size, loads_rbp=m.disp)
    if op in _READS_ONLY or (op in (0x80, 0x81, 0x83) and group == 7):
        return Instruction(size)
    # Without REX the numbers 4 to 7 of a byte are ah, ch, dh and bh.
    high = 3 if op in _BYTES and not rex else 15
    if op in _TO_REG:
        return _writing(size, m.reg & high)
    if op in _TO_RM or op in _GROUPS or op in (0xF6, 0xF7, 0xFE, 0xFF):
        return _writing(size, m.rm & high) if m.mod == 3 else Instruction(size)
    return None  # xchg, pop, segment registers


def _two_bytes(code: bytes, start: int, at: int, rex: int) -> Instruction | None:
    op = code[at]
    at += 1
    if op in (0x38, 0x3A):
        third = code[at]
        m = _modrm(code, at + 1, rex)
        size = at + 1 + m.size + (op == 0x3A) - start
        return _general(size, m, third in _GENERAL[2 if op == 0x38 else 3])
    if 0x80 <= op < 0x90:
        target = at - start + 4 + int.from_bytes(code[at : at + 4], "little", signed=True)
        return Instruction(at + 4 - start, Flow.BRANCH, target)
    if op in _MAP1_BARE:  # cpuid and the like write rax, rcx, rdx and rbx, syscall rcx and r11
        return Instruction(at - start, Flow.STOP if op == 0x0B else Flow.ON, writes=0x80F)
    if (
        (op < 0x10 and op not in (0x0D,))
        or 0x30 <= op < 0x40
        or op in (0xA0, 0xA1, 0xA8, 0xA9, 0xAA)
    ):
        return None
    if 0xC8 <= op < 0xD0:  # bswap
        return _writing(at - start, op & 7 | (rex & 1) << 3)
    m = _modrm(code, at, rex)
    size = at + m.size + (op in _MAP1_IMM8) - start
    return _general(size, m, op in _MAP1_GENERAL)


def _vector(code: bytes, start: int, at: int) -> Instruction | None:
    """VEX and EVEX: nearly all of them know vector registers only."""
    first = code[at]
    if first == 0xC5:
        which, rex, at = 1, (~code[at + 1] & 0x80) >> 5, at + 2
    else:
        payload = code[at + 1]
        which, rex = payload & (0x1F if first == 0xC4 else 7), (~payload & 0xE0) >> 5
        at += 3 if first == 0xC4 else 4
    op = code[at]
    at += 1
    if which not in _GENERAL:
        return None
    if which == 1 and op == 0x77 and first != 0x62:  # vzeroupper
        return Instruction(at - start)
    m = _modrm(code, at, rex)
    immediate = which == 3 or (which == 1 and op in _MAP1_IMM8)
    size = at + m.size + immediate - start
    if which == 2 and op in _MAP2_GENERAL:
        return None  # BMI: writes by a third field too
    return _general(size, m, op in _GENERAL[which])


def _modrm(code: bytes, at: int, rex: int) -> _ModRm:
    """rex: bits 2 (reg), 1 (index), 0 (rm), as REX has them."""
    byte = code[at]
    mod, reg, rm = byte >> 6, byte >> 3 & 7 | (rex & 4) << 1, byte & 7
    if mod == 3:
        return _ModRm(mod, reg, rm | (rex & 1) << 3, 1, None)
    size = 1
    by_rsp = False
    if rm == 4:
        sib = code[at + 1]
        size = 2
        by_rsp = sib & 0x3F == 0x24 and not rex & 3
        if mod == 0 and sib & 7 == 5:
            return _ModRm(mod, reg, rm, 6, None)
    elif mod == 0 and rm == 5:
        return _ModRm(mod, reg, rm, 5, None)
    width = (0, 1, 4)[mod]
    code[at + size + width - 1]  # it does not break off
    disp = int.from_bytes(code[at + size : at + size + width], "little", signed=True)
    by_rbp = rm == _RBP and not rex & 1
    return _ModRm(
        mod,
        reg,
        rm | (rex & 1) << 3,
        size + width,
        disp if by_rsp else None,
        disp if by_rbp else None,
    )


def _general(size: int, m: _ModRm, general: bool) -> Instruction:
    """Of an instruction that writes to `reg`, or to `rm`, if it writes to a general register."""
    if not general:
        return Instruction(size)
    writes = 1 << m.reg | (1 << m.rm if m.mod == 3 else 0)
    return Instruction(size, push=None if writes >> _RSP & 1 else 0, writes=writes)


def _writing(size: int, register: int) -> Instruction:
    return Instruction(size, push=None if register == _RSP else 0, writes=1 << register)
