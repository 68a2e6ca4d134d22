"""The way out of code of which one place is known, against call frame information."""

from __future__ import annotations

import random
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixstack.elf import open_elf
from mixstack.unwind.cfi import compile_table, read_frames
from mixstack.unwind.decode import Flow, decode
from mixstack.unwind.rows import Row, RowKind, UnwindTable, find_row, unpack_row
from mixstack.unwind.way_out import way_out

from .images import shared_object

_LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")


@pytest.mark.parametrize("name", ["libc.so.6", "libcrypto.so.3", "libsqlite3.so.0", "libm.so.6"])
def test_from_any_place_it_is_what_the_file_says(name: str) -> None:
    path = _LIBRARIES / name
    if not path.exists():
        pytest.skip(f"{name} is not installed")
    chance = random.Random(name)
    wrong, rows, places = [], 0, 0
    with open_elf(str(path)) as elf:
        table = compile_table(elf)
        entries = list(read_frames(elf))
        for fde in chance.sample(entries, min(500, len(entries))):
            code = elf.read(fde.start, fde.size)
            executed = sorted(_executed(code))
            for place in chance.sample(executed, min(3, len(executed))):
                found = way_out(code, [place], fde.start)
                if found is None:
                    continue
                places += 1
                compared = list(_compared(found.table, table, {fde.start + at for at in executed}))
                rows += len(compared)
                wrong += [text for text in compared if text is not None]
    assert places > 500
    assert rows > 2 * places
    assert not wrong, wrong[:10]


def _executed(code: bytes) -> set[int]:
    """The instructions that a function's first one leads to: not the padding between others."""
    found: set[int] = set()
    todo = [0]
    while todo:
        at = todo.pop()
        while 0 <= at < len(code) and at not in found:
            instruction = decode(code, at)
            if instruction is None:
                break
            found.add(at)
            if instruction.flow in (Flow.JUMP, Flow.BRANCH):
                todo.append(at + instruction.target)
            if instruction.flow not in (Flow.ON, Flow.BRANCH) or code[at] == 0xE8:
                break  # a call may be one that does not return
            at += instruction.size
    return found


def _compared(ours: UnwindTable, theirs: UnwindTable, executed: set[int]) -> Iterator[str | None]:
    """For each row that both have from the same register: how they differ, or None.

    Not for the byte before what may be a return address: where it is none, nobody is ever there.
    """
    for (word,) in struct.iter_unpack("<Q", ours.rows):
        row = unpack_row(word)
        other = find_row(theirs, ours.base + row.pc)
        if row.kind is RowKind.NONE or other is None or other.kind is not row.kind:
            continue
        if ours.base + row.pc not in executed:
            continue
        # Compilers do not say that a saved register is back before the function returns.
        rbp_differs = row.rbp is not None and row.rbp != other.rbp
        differs = row.cfa_offset != other.cfa_offset or rbp_differs
        yield f"{ours.base + row.pc:#x}: {row}, the file: {other}" if differs else None


# Code with the label `at`; the rule there: kind, offset, rbp's place. None: nothing is proven.
RSP, RBP = RowKind.RSP, RowKind.RBP
CODE = {
    "at the return": ("push %rbx; pop %rbx; at: ret", (RSP, 8, None)),
    "what is popped": ("at: nop; pop %rbx; pop %r12; ret", (RSP, 24, None)),
    "what is added": ("at: vaddpd %zmm1, %zmm2, %zmm3; add $72, %rsp; ret", (RSP, 80, None)),
    "from the first instruction on": (
        "at: push %rbp; push %rbx; nop; pop %rbx; pop %rbp; ret",
        (RSP, 8, None),
    ),
    "rbp is popped": ("at: xor %ebp, %ebp; pop %rbx; pop %rbp; ret", (RSP, 24, -16)),
    "rbp is loaded": (
        "at: xor %ebp, %ebp; mov 16(%rsp), %rbp; add $40, %rsp; ret",
        (RSP, 48, -32),
    ),
    "a frame pointer": ("at: mov %rax, (%rsp); leave; ret", (RBP, 16, -16)),
    "a frame pointer from the beginning": (
        "at: push %rbp; mov %rsp, %rbp; and $-64, %rsp; leave; ret",
        (RSP, 8, None),
    ),
    "registers below the frame pointer": (
        "at: and $-64, %rsp; lea -16(%rbp), %rsp; pop %r12; pop %rbx; pop %rbp; ret",
        (RBP, 16, -16),
    ),
    "rsp is copied back from rbp": ("at: nop; mov %rbp, %rsp; pop %rbp; ret", (RBP, 16, -16)),
    "a loop": ("at: dec %ecx; jnz at; pop %rbx; ret", (RSP, 16, None)),
    "a call inside": ("at: call f; pop %rbx; ret", (RSP, 16, None)),
    "long nops": (
        ".byte 0x66,0x66,0x66,0x66,0x66,0x2e,0x0f,0x1f,0x84,0,0,0,0,0; at: nop; pop %rbx;"
        ".byte 0x66,0x66,0x66,0x66,0x66,0x2e,0x0f,0x1f,0x84,0,0,0,0,0; ret",
        (RSP, 16, None),
    ),
    "one way is not known": ("at: jz 1f; pop %rbx; ret; 1: jmp *%rax", (RSP, 16, None)),
    "one way does not return": ("at: jz 1f; pop %rbx; ret; 1: ud2", (RSP, 16, None)),
    "no way is known": ("at: nop; jmp *%rax", None),
    "an unknown instruction in between": ("at: xchg %rax, %rbx; ret", None),
    "two ways that disagree": ("at: jz 1f; pop %rbx; 1: ret", None),
    "more than was pushed": ("at: sub $64, %rsp; ret", None),
    "rsp from elsewhere": ("at: mov %rbx, %rsp; ret", None),
    "rbp is lost": ("at: xor %ebp, %ebp; ret", None),
    "a frame pointer that was changed": ("at: inc %rbp; leave; ret", None),
    "in the middle of an instruction": (
        "jmp 1f; .byte 0x48; at: .byte 0xb8; 1: pop %rbx; pop %rbx; pop %rbx; ret; pop %rbx; ret",
        (RSP, 16, None),  # what it is, followed from there; nobody was ever there
    ),
}


@pytest.mark.parametrize("name", CODE)
def test_a_place(name: str, tmp_path: Path) -> None:
    body, expected = CODE[name]
    code, at, start = _assembled(tmp_path, body)
    found = way_out(code, [at], start)
    if expected is None:
        assert found is None
        return
    assert found is not None
    row = find_row(found.table, start + at)
    assert row is not None
    assert (row.kind, row.cfa_offset, row.rbp) == expected
    assert found.start <= at < found.end <= len(code)


@pytest.mark.parametrize(
    "call", ["call f", "call *%rax", "call *%r12", "call *8(%rax)", "call *0x12345(%rip)"]
)
def test_a_return_address_is_looked_up_by_the_byte_before_it(call: str, tmp_path: Path) -> None:
    code, at, start = _assembled(tmp_path, f"{call}; at: pop %rbx; ret")
    found = way_out(code, [at], start)
    assert found is not None
    row = find_row(found.table, start + at - 1)
    assert row is not None
    assert (row.kind, row.cfa_offset) == (RSP, 16)


def test_several_places_in_one_table(tmp_path: Path) -> None:
    code, at, start = _assembled(tmp_path, "pop %rbx; ret; int3; int3; at: pop %r12; ret")
    found = way_out(code, [0, at], start)
    assert found is not None
    assert (found.start, found.end) == (0, len(code))
    rows = [find_row(found.table, start + offset) for offset in (0, 2, at)]
    assert [row.kind for row in rows if row is not None] == [RSP, RowKind.NONE, RSP]


def test_a_place_without_a_way_spoils_the_others(tmp_path: Path) -> None:
    code, at, start = _assembled(tmp_path, "pop %rbx; ret; at: jmp *%rax")
    assert way_out(code, [0, at], start) is None


def _assembled(tmp_path: Path, body: str) -> tuple[bytes, int, int]:
    """The code of a body, the offset of its label `at`, and its address."""
    path = shared_object(
        tmp_path, f".text; .globl f, behind, at; f: {body}\nbehind: ret\n", "-Wl,-Bsymbolic"
    )
    listing = subprocess.run(["nm", str(path)], check=True, capture_output=True, text=True).stdout
    symbols = {name: int(value, 16) for value, _, name in map(str.split, listing.splitlines())}
    with open_elf(str(path)) as elf:
        start = symbols["f"]
        return elf.read(start, symbols["behind"] - start), symbols["at"] - start, start


@given(st.binary(max_size=96), st.lists(st.integers(0, 95), min_size=1, max_size=3), st.integers(0))
def test_any_bytes_are_followed_to_an_end(code: bytes, places: list[int], address: int) -> None:
    address &= (1 << 47) - 1
    found = way_out(code, places, address)
    if found is not None:
        rows: list[Row | None] = [find_row(found.table, address + place) for place in places]
        assert all(row is not None and row.kind in (RSP, RBP) for row in rows)
