"""What the instructions of an FDE say, as rows (DWARF 5, 6.4.2).

Only the CFA, the return address and one register more are followed: rows hold no other. That is
rbp; or, to learn where a function saves another register, that one stands in its place.
"""

from __future__ import annotations

from array import array
from typing import NamedTuple

from mixstack.bpf.wire import RowKind

from . import dwarf
from .dwarf import R15, RBP, RIP, RSP, BadDwarf, sleb, uleb
from .entries import Cie
from .rows import KIND_SHIFT, PC_MASK, RBP_AT_RBP, Row, pack_row

# Where a register of the caller is: (how, number).
Saved = tuple[int, int]
_SAME = -1  # unchanged, or undefined, which for rbp comes to the same: nobody may rely on it
_UNDEFINED = -2
_ELSEWHERE = -3  # in a way that no row can say
_AT_CFA = -4  # at CFA + number
# how >= 0: at register `how` + number

_UNCHANGED: Saved = (_SAME, 0)
_LOST: Saved = (_ELSEWHERE, 0)
_RETURN_ADDRESS: Saved = (_AT_CFA, -8)
_UCONTEXT_RIP = 168  # bytes from a ucontext to the saved rip (sys/ucontext.h: uc_mcontext, REG_RIP)

_STATES_MAX = 64  # remembered at a time; compilers use one or two
_REMEMBERED_MAX = 256  # bytes of instructions: longer ones hardly ever come twice

_NO_REGISTER = -1  # the CFA is an expression, or nothing has been said of it yet
_LINEAR = {RSP: RowKind.RSP, RBP: RowKind.RBP}  # register + offset
_DEREF = {RSP: RowKind.RSP_DEREF, RBP: RowKind.RBP_DEREF}  # *(register + offset) + addend


class State(NamedTuple):
    """The rules at one place: CFA = register + offset, or `expression`; where the others are."""

    register: int = _NO_REGISTER
    offset: int = 0
    expression: bytes | None = None
    rbp: Saved = _UNCHANGED
    return_address: Saved = _UNCHANGED


_Values = tuple[int, int, bytes | None, Saved, Saved]  # a State without the price of making one


class Interpreter:
    """Turns instructions into rows, and remembers what it has seen: most FDEs repeat each other."""

    def __init__(self, followed: int = RBP) -> None:
        self._followed = followed
        self._initial: dict[Cie, State | None] = {}
        self._rows: dict[tuple[Cie, bytes], array[int] | None] = {}
        self._rules: dict[object, dict[int, int]] = {}

    def rows(self, cie: Cie, instructions: bytes) -> array[int] | None:
        """Packed rows, pc counted from the FDE's start and the first at 0; None if it is broken.

        Two neighbours never have the same rule.
        """
        if len(instructions) > _REMEMBERED_MAX:
            return self._interpret(cie, instructions)
        key = (cie, instructions)
        if key not in self._rows:
            self._rows[key] = self._interpret(cie, instructions)
        return self._rows[key]

    def _interpret(self, cie: Cie, instructions: bytes) -> array[int] | None:
        if cie not in self._initial:
            self._initial[cie] = self._run(cie, cie.instructions, State(), array("Q"))
        initial = self._initial[cie]
        if initial is None:
            return None
        rows = array("Q")
        return None if self._run(cie, instructions, initial, rows) is None else rows

    def _run(self, cie: Cie, code: bytes, initial: State, rows: array[int]) -> State | None:
        """Append the rows that `code` says, from `initial` on; the state at its end, or None."""
        try:
            return self._follow(cie, code, initial, rows)
        except (BadDwarf, IndexError):
            return None

    def _follow(self, cie: Cie, code: bytes, initial: State, rows: array[int]) -> State:
        # The hot loop of the compiler: half a million instructions per large library. So the state
        # lies in local variables, and numbers of one byte (nearly all) are read in place.
        register, offset, expression, rbp, return_address = initial
        code_align, data_align = cie.code_align, cie.data_align
        followed = self._followed
        stack: list[_Values] = []
        # Rule by CFA offset, for the rest of the state; None: the rest has changed.
        rules: dict[int, int] | None = None
        last = -1
        now: _Values
        pc = at = 0
        end = len(code)
        while at < end:
            op = code[at]
            at += 1
            if op < 0x40:
                if op == 0x0E:  # def_cfa_offset
                    offset = code[at]
                    at += 1
                    if offset >= 0x80:
                        more = code[at]
                        if more < 0x80:
                            offset += (more - 1) << 7
                            at += 1
                        else:
                            offset, at = uleb(code, at - 1)
                    continue
                if op == 0x00:  # nop
                    continue
                if 0x02 <= op <= 0x04:  # advance_loc1, 2, 4
                    width = 1 << (op - 2)
                    delta = int.from_bytes(code[at : at + width], "little")
                    at += width
                else:
                    if op == 0x0A:  # remember_state
                        if len(stack) == _STATES_MAX:
                            raise BadDwarf("too many states are remembered")
                        stack.append((register, offset, expression, rbp, return_address))
                        continue
                    if op == 0x0B:  # restore_state
                        now = stack.pop()
                    else:
                        now = (register, offset, expression, rbp, return_address)
                        now, at = self._apply(op, code, at, State(*now), initial, data_align)
                    register, offset, expression, rbp, return_address = now
                    rules = None
                    continue
            elif op < 0x80:  # advance_loc
                delta = op & 0x3F
            else:
                which = op & 0x3F
                if op < 0xC0:  # offset
                    number = code[at]
                    at += 1
                    if number >= 0x80:
                        number, at = uleb(code, at - 1)
                    if which == followed:
                        rbp = (_AT_CFA, number * data_align)
                        rules = None
                    elif which == RIP:
                        return_address = (_AT_CFA, number * data_align)
                        rules = None
                elif which == followed:  # restore
                    rbp = initial.rbp
                    rules = None
                elif which == RIP:
                    return_address = initial.return_address
                    rules = None
                continue
            if delta == 0:
                continue
            if rules is None:
                key = (register, expression, rbp, return_address, cie.signal)
                rules = self._rules.setdefault(key, {})
            rule = rules.get(offset)
            if rule is None:
                now = (register, offset, expression, rbp, return_address)
                rule = rules[offset] = rule_of(State(*now), cie.signal)
            if rule != last:
                rows.append(rule + pc)
                last = rule
            pc += delta * code_align
        if at > end or pc > PC_MASK:
            raise BadDwarf("the instructions break off, or leave the file")
        final = State(register, offset, expression, rbp, return_address)
        rule = rule_of(final, cie.signal)
        if rule != last:
            rows.append(rule + pc)
        return final

    def _apply(
        self, op: int, code: bytes, at: int, state: State, initial: State, data_align: int
    ) -> tuple[State, int]:
        """The state behind one of the rarer instructions, and the offset behind its operands."""
        if op == 0x0C:  # def_cfa
            register, at = uleb(code, at)
            offset, at = uleb(code, at)
            return state._replace(register=register, offset=offset, expression=None), at
        if op == 0x12:  # def_cfa_sf
            register, at = uleb(code, at)
            offset, at = sleb(code, at)
            offset *= data_align
            return state._replace(register=register, offset=offset, expression=None), at
        if op == 0x0D:  # def_cfa_register: keeps the offset
            register, at = uleb(code, at)
            return state._replace(register=register, expression=None), at
        if op == 0x13:  # def_cfa_offset_sf
            offset, at = sleb(code, at)
            return state._replace(offset=offset * data_align), at
        if op == 0x0F:  # def_cfa_expression
            expression, at = dwarf.block(code, at)
            return state._replace(register=_NO_REGISTER, expression=expression), at
        if op == 0x2E:  # GNU_args_size: for those who unwind into the frame
            _, at = uleb(code, at)
            return state, at
        which, at = uleb(code, at)
        saved, at = _rule_of_register(op, code, at, data_align)
        if op == 0x06:  # restore_extended
            saved = initial.rbp if which == self._followed else initial.return_address
        if which == self._followed:
            return state._replace(rbp=saved), at
        if which == RIP:
            return state._replace(return_address=saved), at
        return state, at


def _rule_of_register(op: int, code: bytes, at: int, data_align: int) -> tuple[Saved, int]:
    """What an instruction says of its register, and the offset behind. Raises BadDwarf."""
    if op == 0x05:  # offset_extended
        number, at = uleb(code, at)
        return (_AT_CFA, number * data_align), at
    if op == 0x11:  # offset_extended_sf
        number, at = sleb(code, at)
        return (_AT_CFA, number * data_align), at
    if op == 0x2F:  # GNU_negative_offset_extended
        number, at = uleb(code, at)
        return (_AT_CFA, -number * data_align), at
    if op == 0x10:  # expression: saved at the address that it computes
        expression, at = dwarf.block(code, at)
        return dwarf.register_plus(expression) or _LOST, at
    if op == 0x07:  # undefined
        return (_UNDEFINED, 0), at
    if op in (0x06, 0x08):  # restore_extended, same_value
        return _UNCHANGED, at
    if op in (0x09, 0x14, 0x15):  # register, val_offset, val_offset_sf
        _, at = uleb(code, at)
        return _LOST, at
    if op == 0x16:  # val_expression
        _, at = dwarf.block(code, at)
        return _LOST, at
    raise BadDwarf(f"instruction {op:#x}")


def rule_of(state: State, signal: bool) -> int:
    """The row for a state, packed, with pc 0: kind NONE for whatever a row cannot say."""
    if state.return_address[0] == _UNDEFINED:
        return RowKind.ROOT << KIND_SHIFT
    if signal:
        is_ucontext = _from_rsp(state.return_address, state) == _UCONTEXT_RIP
        return (RowKind.SIGNAL if is_ucontext else RowKind.NONE) << KIND_SHIFT
    cfa = _cfa_of(state)
    if cfa is None or state.return_address != _RETURN_ADDRESS:
        return RowKind.NONE << KIND_SHIFT
    try:
        return pack_row(cfa._replace(rbp=_rbp_of(state)))
    except ValueError:
        return RowKind.NONE << KIND_SHIFT


def _cfa_of(state: State) -> Row | None:
    """The row for the CFA alone; None if there is no kind for it."""
    if state.expression is None:
        return _linear(state.register, state.offset)
    threshold = dwarf.plt_threshold(state.expression)
    if threshold is not None:
        return Row(0, RowKind.PLT, threshold)
    found = dwarf.dereference(state.expression)
    if found is not None:
        register, offset, addend = found
        kind = _DEREF.get(register)
        return None if kind is None else Row(0, kind, offset, addend=addend)
    linear = dwarf.register_plus(state.expression)
    return None if linear is None else _linear(*linear)


def _linear(register: int, offset: int) -> Row | None:
    kind = _LINEAR.get(register)
    if kind is not None:
        return Row(0, kind, offset)
    if 0 <= register <= R15:
        return Row(0, RowKind.REGISTER, offset, register=register)
    return None


def _rbp_of(state: State) -> int | None:
    """Where rbp is saved, as a row counts. Raises ValueError if a row cannot say it."""
    how, number = state.rbp
    if how in (_SAME, _UNDEFINED):
        return None
    if how == _AT_CFA:
        if number == RBP_AT_RBP:
            raise ValueError("the number is taken")
        return number
    if (how, number) == (RBP, 0):
        return RBP_AT_RBP
    if how == state.register >= 0:
        return number - state.offset
    raise ValueError("rbp is not saved relative to the CFA")


def _from_rsp(saved: Saved, state: State) -> int | None:
    """Bytes from rsp to where a register is saved, or None if it is not counted from rsp."""
    how, number = saved
    if how == RSP:
        return number
    if how == _AT_CFA and state.register == RSP:
        return state.offset + number
    return None
