"""Rules from instructions, against call frame information that compilers and people wrote."""

from __future__ import annotations

import itertools
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixstack.elf import open_elf
from mixstack.unwind.bare_code import bare_table
from mixstack.unwind.cfi import compile_table, read_frames
from mixstack.unwind.decode import decode
from mixstack.unwind.rows import Row, RowKind, UnwindTable, find_row, unpack_row

from .images import shared_object

_LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")
_LARGEST = 3000  # bytes of a function: enough of all kinds, and quick


@pytest.mark.parametrize("name", ["libc.so.6", "libm.so.6", "libcrypto.so.3", "libz.so.1"])
def test_where_a_rule_is_proven_it_is_what_the_file_says(name: str) -> None:
    path = _LIBRARIES / name
    if not path.exists():
        pytest.skip(f"{name} is not installed")
    wrong, proven = [], 0
    with open_elf(str(path)) as elf:
        table = compile_table(elf)
        entries = list(read_frames(elf))
        for fde in entries[:: max(1, len(entries) // 700)]:
            if fde.size <= _LARGEST:
                ours = bare_table(elf.read(fde.start, fde.size), fde.start)
                proven += ours is not None
                wrong += [] if ours is None else list(_contradictions(ours, table))
    assert proven > 50
    assert not wrong, wrong[:10]


def _contradictions(ours: UnwindTable, theirs: UnwindTable) -> list[str]:
    """Where both count from rsp, and differ; counted from something else, ours may say more."""
    found = []
    for (word,) in struct.iter_unpack("<Q", ours.rows):
        row = unpack_row(word)
        other = find_row(theirs, ours.base + row.pc)
        if row.kind is RowKind.NONE or other is None or other.kind is not RowKind.RSP:
            continue
        # Compilers do not say that a saved register is back before the function returns.
        rbp_differs = row.rbp is not None and other.rbp not in (row.rbp, None)
        if row.cfa_offset != other.cfa_offset or rbp_differs:
            found.append(f"{ours.base + row.pc:#x}: {row}, the file: {other}")
    return found


# What is on the way to the label `at`; CFA - rsp and rbp's place there, None: nothing is proven.
CODE = {
    "a leaf that pushes nothing": ("at: vaddpd %zmm1, %zmm2, %zmm3; ret", (8, None)),
    "pushes": ("push %r12; push %rbx; at: nop; pop %rbx; pop %r12; ret", (24, None)),
    "rbp is pushed": ("push %rbx; push %rbp; at: nop; pop %rbp; pop %rbx; ret", (24, -24)),
    "rbp is stored": (
        "sub $128, %rsp; mov %rbp, 8(%rsp); xor %ebp, %ebp; at: nop;"
        "mov 8(%rsp), %rbp; add $128, %rsp; ret",
        (136, -128),
    ),
    "behind a loop": (
        "sub $72, %rsp; 1: dec %ecx; jnz 1b; at: nop; add $72, %rsp; ret",
        (80, None),
    ),
    "behind a return": ("push %rbx; jz 1f; pop %rbx; ret; 1: at: nop; pop %rbx; ret", (16, None)),
    "lea": ("lea -64(%rsp), %rsp; at: nop; lea 64(%rsp), %rsp; ret", (72, None)),
    "a call inside": ("sub $8, %rsp; call f; at: nop; add $8, %rsp; ret", (16, None)),
    "a byte of another register": (
        "push %rbx; and $4, %ah; mov $1, %ch; at: nop; pop %rbx; ret",
        (16, None),
    ),
    "two ways in with different stacks": ("jz 1f; push %rbx; 1: at: nop; ret", None),
    "realigned": ("mov %rsp, %rax; and $-64, %rsp; at: nop; mov %rax, %rsp; ret", None),
    "it returns with something left": ("push %rbx; at: nop; ret", None),
    "rbp is used and not saved": ("xor %ebp, %ebp; at: nop; ret", None),
    "rbp is not restored": ("push %rbp; xor %ebp, %ebp; at: nop; add $8, %rsp; ret", None),
    "rbp is restored from elsewhere": (
        "push %rbp; push %rbx; at: nop; pop %rbp; pop %rbx; ret",
        None,
    ),
    "a jump through a register": ("at: nop; jmp *%rax", None),
    "a jump out with something left": ("push %rbx; at: jmp out", None),
    "a jump out": ("jz 1f; at: jmp out; 1: ret", (8, None)),
    "nothing but a jump out: a part of a function, perhaps": ("at: nop; jmp out", None),
    "it never returns": ("at: ud2", None),
    "it runs off its end": ("at: nop", None),
    "an unknown instruction": ("at: xchg %rax, %rbx; ret", None),
}


def test_a_stack_that_is_aligned_counts_from_where_it_was_kept(tmp_path: Path) -> None:
    body = (
        "push %rbp; push %rbx; mov %rsp, %rbx; sub $4096, %rsp; and $-4096, %rsp; xor %ebp, %ebp;"
        "at: nop; mov %rbx, %rsp; pop %rbx; pop %rbp; ret"
    )
    row = _row_at(tmp_path, body)
    assert row is not None
    assert row._replace(pc=0) == Row(0, RowKind.REGISTER, 24, -16, register=3)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("inc %rbx; at: nop; mov %rbx, %rsp", id="changed meanwhile"),
        pytest.param("at: nop; mov %rcx, %rsp", id="back from another register"),
        pytest.param("at: cpuid; mov %rbx, %rsp", id="changed without being named"),
    ],
)
def test_what_was_kept_is_not_trusted(tmp_path: Path, body: str) -> None:
    assert _row_at(tmp_path, f"mov %rsp, %rbx; and $-64, %rsp; {body}; ret") is None


@pytest.mark.parametrize("name", CODE)
def test_a_function(name: str, tmp_path: Path) -> None:
    body, expected = CODE[name]
    row = _row_at(tmp_path, body)
    if expected is None:
        assert row is None
        return
    assert row is not None
    assert (row.kind, row.cfa_offset, row.rbp) == (RowKind.RSP, *expected)


def _row_at(tmp_path: Path, body: str) -> Row | None:
    """The row at the label `at` of a function; None if nothing is proven of it."""
    path = shared_object(
        tmp_path,
        f".text; .globl at, f, behind, out; .hidden out; f: {body}\nbehind: nop; out: ret\n",
        "-Wl,-Bsymbolic",
    )
    listing = subprocess.run(["nm", str(path)], check=True, capture_output=True, text=True).stdout
    symbols = {name: int(value, 16) for value, _, name in map(str.split, listing.splitlines())}
    with open_elf(str(path)) as elf:
        start = symbols["f"]
        table = bare_table(elf.read(start, symbols["behind"] - start), start)
    return find_row(table, symbols["at"]) if table is not None else None


def test_instructions_are_as_long_as_the_disassembler_says() -> None:
    path = _LIBRARIES / "libcrypto.so.3"
    if not path.exists():
        pytest.skip("libcrypto is not installed")
    with open_elf(str(path)) as elf:
        segment = next(s for s in elf.segments if s.executable)
        start = segment.vaddr + segment.file_size // 2
        code = elf.read(start, 1 << 18)
    listing = subprocess.run(
        ["objdump", "-dz", "--no-show-raw-insn", f"--start-address={start:#x}",
         f"--stop-address={start + len(code):#x}", str(path)],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    lines = [line.split(":\t", 1) for line in listing.splitlines() if ":\t" in line]
    places = [(int(at, 16) - start, text) for at, text in lines]
    wrong, unknown = [], 0
    for (at, text), (following, _) in itertools.pairwise(places):
        found = decode(code, at)
        unknown += found is None
        if found is not None and found.size != following - at and "(bad)" not in text:
            wrong.append(f"{at + start:#x}: {text}: {found.size}")
    assert len(places) > 20_000
    assert not wrong, wrong[:10]
    assert unknown < 0.01 * len(places)


@given(st.binary(max_size=64), st.integers(0, 1 << 30))
def test_any_bytes_are_followed_to_an_end(code: bytes, start: int) -> None:
    table = bare_table(code, start)
    if table is not None:
        assert find_row(table, start) is not None
