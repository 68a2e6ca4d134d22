"""Functions that begin a C stack are roots in a file's table: they, and nothing beside them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixstack.elf import open_elf
from mixstack.unwind.cfi import compile_table
from mixstack.unwind.roots import BEGINS, with_root_ranges, with_roots
from mixstack.unwind.rows import Row, RowKind, UnwindTable, find_row
from tests.unit.unwind.images import shared_object
from tests.unit.unwind.test_rows import SIZE, places, table_of

NAME = BEGINS[0].decode()
BASE = 0x4000
END = BASE + (SIZE + 255) // 256 * 256

# No gap lies between these functions, and their rules are the same on both sides of either edge.
CONTIGUOUS = f"""
    .text
    .globl before
    .type before, @function
before:
    .cfi_startproc
    ret
    .cfi_endproc
    .size before, .-before
    .globl {NAME}
    .type {NAME}, @function
{NAME}:
    .cfi_startproc
    nop
    push %rbx
    .cfi_def_cfa_offset 16
    call *%rdi
    pop %rbx
    .cfi_def_cfa_offset 8
    ret
    .cfi_endproc
    .size {NAME}, .-{NAME}
    .globl after
    .type after, @function
after:
    .cfi_startproc
    nop
    nop
    ret
    .cfi_endproc
    .size after, .-after
"""
C = f"""
long before(long x) {{ return x * 3; }}
long begins(long (*run)(char *)) __asm__("{NAME}");
long begins(long (*run)(char *)) {{ char room[200]; return run(room) + room[7]; }}
long after(long (*run)(char *)) {{ char room[300]; return run(room) + room[9]; }}
"""


def _compiled(folder: Path) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    (folder / "x.c").write_text(C)
    path = folder / "x.so"
    command = ["gcc", "-O2", "-shared", "-fPIC", "-o", str(path), str(folder / "x.c")]
    subprocess.run(command, check=True, timeout=30)
    return path


def _range_by_nm(path: Path) -> tuple[int, int]:
    if shutil.which("nm") is None:
        pytest.skip("nm is not installed")
    listing = subprocess.run(["nm", "-S", str(path)], capture_output=True, text=True, check=True)
    (line,) = (line for line in listing.stdout.splitlines() if line.endswith(f" {NAME}"))
    start, size = (int(word, 16) for word in line.split()[:2])
    return start, start + size


def _rules(table: UnwindTable) -> dict[int, Row | None]:
    """The rule at each address of the table, wherever its row begins."""
    size = len(table.pages) // 8 * 256
    found = ((at, find_row(table, at)) for at in range(table.base, table.base + size))
    return {at: None if row is None else row._replace(pc=0) for at, row in found}


@pytest.mark.parametrize("kind", ["C", "no gap between functions"])
def test_inside_and_only_inside_there_is_a_root(tmp_path: Path, kind: str) -> None:
    path = _compiled(tmp_path) if kind == "C" else shared_object(tmp_path, CONTIGUOUS)
    start, end = _range_by_nm(path)
    with open_elf(str(path)) as elf:
        plain = compile_table(elf)
        table = with_roots(plain, elf)
    before, after = _rules(plain), _rules(table)
    assert {at for at in after if after[at] == Row(0, RowKind.ROOT)} == set(range(start, end))
    assert {at for at in after if after[at] != before[at]} == set(range(start, end))


def test_a_file_without_such_a_function_keeps_its_table(tmp_path: Path) -> None:
    path = shared_object(tmp_path, CONTIGUOUS.replace(NAME, NAME + "b"))
    with open_elf(str(path)) as elf:
        plain = compile_table(elf)
        assert with_roots(plain, elf) is plain


def test_the_function_of_another_file_is_none_of_this_one(tmp_path: Path) -> None:
    text = f".text\n.globl f\nf:\n.cfi_startproc\ncall {NAME}@PLT\nret\n.cfi_endproc\n"
    path = shared_object(tmp_path, text)
    with open_elf(str(path)) as elf:
        plain = compile_table(elf)
        assert with_roots(plain, elf) is plain


edges = st.integers(0, END - BASE)
ranges = st.lists(st.tuples(edges, edges).map(sorted).map(tuple), max_size=3)


@given(pcs=places, ranges=ranges)
def test_all_other_rules_stay(pcs: set[int], ranges: list[tuple[int, int]]) -> None:
    plain = table_of(sorted(pcs | {0}), BASE)
    table = with_root_ranges(plain, ranges)
    edges = {edge for pair in ranges for edge in pair} | pcs | {0, 255, 256, END - BASE - 1}
    for pc in {edge + d for edge in edges for d in (-1, 0, 1)}:
        row, before = find_row(table, BASE + pc), find_row(plain, BASE + pc)
        if any(start <= pc < end for start, end in ranges):
            assert row is not None
            assert row.kind is RowKind.ROOT
        else:
            assert (row is None) == (before is None)
            assert row is None or before is None or row[1:] == before[1:]


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param((100, 100), id="of no size"),
        pytest.param((-8, 100), id="begins before the table"),
        pytest.param((100, END - BASE + 1), id="ends behind it"),
        pytest.param((200, 100), id="ends before it begins"),
        pytest.param((1 << 63, (1 << 63) + 8), id="far away"),
    ],
)
def test_a_function_that_cannot_be_one_is_left_out(odd: tuple[int, int]) -> None:
    plain = table_of([0, 50, 150], BASE)
    assert with_root_ranges(plain, [odd]) == plain
    both = with_root_ranges(plain, [odd, (60, 70)])
    assert both == with_root_ranges(plain, [(60, 70)]) != plain
