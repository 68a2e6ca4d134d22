"""Rules for code of which one place is known: from there on to where it returns.

JIT compilers (oneDNN, numba) and some assembler say nothing of their code, not even where a
function begins. But a place where a thread was is an instruction, and from there the code can be
followed to its `ret`: there the return address lies at rsp. Backwards from that, each instruction
that moves rsp or restores rbp says what the rule before it was. All ways that are known must agree;
those that lead into what is not known (an indirect jump, an instruction that is not decoded) say
nothing.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Sequence
from typing import Final, NamedTuple

from mixstack.bpf.wire import PAGE_SIZE, RowKind
from mixstack.compiled.frames import index_pages

from .decode import Flow, Instruction, decode
from .rows import KIND_SHIFT, Row, UnwindTable, pack_row

INSTRUCTIONS_MAX: Final = 1 << 13
_CFA_MAX: Final = 1 << 16  # bytes from rsp or rbp
_RBP: Final = 5  # as instructions number it


class _Rule(NamedTuple):
    """CFA = rsp + offset, or rbp + offset. rbp: where the caller's is saved, bytes from the CFA;
    None: it is in rbp."""

    from_rbp: bool
    offset: int
    rbp: int | None


class _Span(NamedTuple):
    """`[begin, end)`, by offset, has one rule."""

    begin: int
    end: int
    rule: _Rule


class WayOut(NamedTuple):
    """`[start, end)`: the code that has rules now, by offset in what was read; its table."""

    start: int
    end: int
    table: UnwindTable


_AT_RETURN: Final = _Rule(False, 8, None)


def way_out(code: bytes, places: Sequence[int], address: int) -> WayOut | None:
    """The rules of what lies between these places and the ends of their functions.

    places: offsets of instructions. address: of the code's first byte, as the table is to count it.
    None if nothing is proven of one of them.
    """
    instructions = _reachable(code, places)
    rules = _backwards(instructions)
    if rules is None or not rules.keys() >= set(places):
        return None
    spans: list[_Span] = []
    for at in sorted(rules):
        before = spans[-1].end if spans else 0
        if at > before and _ends_call(code, at):
            # What is looked up for a return address is the byte before it.
            spans.append(_Span(at - 1, at, rules[at]))
        spans.append(_Span(at, at + instructions[at].size, rules[at]))
    start, end = spans[0].begin, spans[-1].end
    base = address + start & -PAGE_SIZE
    words = _words(spans, address - base)
    if words is None:
        return None
    table = UnwindTable(base, words.tobytes(), index_pages(words, address - base + end))
    return WayOut(start, end, table)


def _reachable(code: bytes, places: Sequence[int]) -> dict[int, Instruction]:
    """The instructions that control may reach from there, by offset, as far as they are known."""
    found: dict[int, Instruction] = {}
    todo = list(places)
    while todo:
        at = todo.pop()
        while 0 <= at < len(code) and at not in found and len(found) < INSTRUCTIONS_MAX:
            instruction = decode(code, at)
            if instruction is None or at + instruction.size > len(code):
                break
            found[at] = instruction
            if instruction.flow in (Flow.JUMP, Flow.BRANCH):
                todo.append(at + instruction.target)
            if instruction.flow not in (Flow.ON, Flow.BRANCH):
                break
            at += instruction.size
    return found


def _ends_call(code: bytes, at: int) -> bool:
    """Whether a call seems to end at this offset (Intel SDM: E8 rel32, and FF /2)."""
    if at >= 5 and code[at - 5] == 0xE8:
        return True
    for begin in range(max(0, at - 7), at - 1):
        if code[begin] == 0xFF and code[begin + 1] >> 3 & 7 == 2:
            instruction = decode(code, begin)
            if instruction is not None and begin + instruction.size == at:
                return True
    return False


def _backwards(instructions: dict[int, Instruction]) -> dict[int, _Rule] | None:
    """By offset: the rule before an instruction from which a `ret` was reached.

    None if two ways disagree, if a rule is absurd, or if instructions share bytes: then something
    is not what it seems; a call, say, does not return, and what follows it belongs elsewhere.
    """
    before: dict[int, list[int]] = defaultdict(list)
    rules: dict[int, _Rule] = {}
    todo: list[int] = []
    end = 0
    for at in sorted(instructions):
        instruction = instructions[at]
        if at < end:
            return None
        end = at + instruction.size
        if instruction.flow in (Flow.JUMP, Flow.BRANCH):
            before[at + instruction.target].append(at)
        if instruction.flow in (Flow.ON, Flow.BRANCH):
            before[end].append(at)
        if instruction.flow is Flow.RETURN:
            rules[at] = _AT_RETURN
            todo.append(at)
    while todo:
        at = todo.pop()
        for earlier in before[at]:
            rule = _rule_before(instructions[earlier], rules[at])
            if rule is None:
                continue
            if not _possible(rule):
                return None
            if earlier not in rules:
                rules[earlier] = rule
                todo.append(earlier)
            elif rules[earlier] != rule:
                return None
    return rules


def _rule_before(instruction: Instruction, after: _Rule) -> _Rule | None:
    """The rule before an instruction, from that behind it; None if it cannot be told."""
    if after.from_rbp:
        return _before_with_rbp(instruction, after)
    offset, rbp = after.offset, after.rbp
    if instruction.leaves:
        offset += 8
        return _Rule(True, offset, -offset if rbp is None else rbp)
    if instruction.rsp_from == _RBP or instruction.rsp_from_rbp is not None:
        return _Rule(True, offset + (instruction.rsp_from_rbp or 0), rbp)
    if instruction.push is None:
        return None
    offset -= instruction.push
    if instruction.restores_rbp:
        rbp = -offset if rbp is None else rbp
    elif instruction.loads_rbp is not None:
        rbp = instruction.loads_rbp - offset if rbp is None else rbp
    elif instruction.writes >> _RBP & 1 and rbp is None:
        return None
    elif (instruction.saves_rbp and rbp == -offset - 8) or (
        instruction.stores_rbp is not None and rbp == instruction.stores_rbp - offset
    ):
        rbp = None
    return _Rule(False, offset, rbp)


def _before_with_rbp(instruction: Instruction, after: _Rule) -> _Rule | None:
    """The same, where the CFA counts from rbp."""
    if instruction.keeps_rsp == _RBP:
        return _Rule(False, after.offset, after.rbp) if after.rbp is not None else None
    changes = instruction.writes >> _RBP & 1 or instruction.restores_rbp or instruction.leaves
    return None if changes or instruction.loads_rbp is not None else after


def _possible(rule: _Rule) -> bool:
    """Whether the CFA lies above what was pushed last, the return address at least."""
    if not 8 <= rule.offset < _CFA_MAX or rule.offset % 8:
        return False
    return rule.rbp is None or (rule.rbp % 8 == 0 and rule.rbp <= -16)


def _words(spans: Sequence[_Span], shift: int) -> array[int] | None:
    """The rows, packed; `shift` is the row pc of offset 0. None if a number does not fit."""
    none = RowKind.NONE << KIND_SHIFT
    words = array("Q")
    if shift + spans[0].begin > 0:
        words.append(none)
    covered, last = spans[0].begin, None
    for begin, end, rule in spans:
        if begin > covered:
            words.append(none | shift + covered)
        if begin > covered or rule != last:
            kind = RowKind.RBP if rule.from_rbp else RowKind.RSP
            try:
                words.append(pack_row(Row(shift + begin, kind, rule.offset, rule.rbp)))
            except ValueError:
                return None
        covered, last = end, rule
    return words
