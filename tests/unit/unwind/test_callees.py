"""Where a called function saves a register that its caller's CFA counts from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mixstack.elf import open_elf
from mixstack.unwind.cfi import compile_table
from mixstack.unwind.rows import Row, RowKind, find_row

from .images import shared_object

# The called function, in whose midst the caller's rbx is where the slot says; 0: it does not say.
CALLEES = {
    "pushed": (
        "push %rbx; .cfi_def_cfa_offset 16; .cfi_offset 3, -16; nop; pop %rbx;"
        ".cfi_def_cfa_offset 8; ret",
        16,
    ),
    "pushed second, with a frame pointer": (
        "push %rbp; .cfi_def_cfa_offset 16; .cfi_offset 6, -16; mov %rsp, %rbp;"
        ".cfi_def_cfa_register 6; push %rbx; .cfi_offset 3, -24; nop",
        0,
    ),
    "pushed before the frame pointer is the base": (
        "push %rbx; .cfi_def_cfa_offset 16; .cfi_offset 3, -16; push %rbp;"
        ".cfi_def_cfa_offset 24; .cfi_offset 6, -24; mov %rsp, %rbp; .cfi_def_cfa_register 6; nop",
        16,
    ),
    "moved to where there was room before": (
        "sub $24, %rsp; .cfi_def_cfa_offset 32; nop; mov %rbx, 8(%rsp); .cfi_offset 3, -24; nop",
        0,
    ),
    "in two places": (
        "push %rbx; .cfi_def_cfa_offset 16; .cfi_offset 3, -16; push %rbx;"
        ".cfi_def_cfa_offset 24; .cfi_offset 3, -24; nop",
        0,
    ),
    "not saved": ("nop; ret", 0),
    "moved into another register": ("mov %rbx, %rcx; .cfi_register 3, 2; nop", 0),
}


@pytest.mark.parametrize("name", CALLEES)
def test_slot_at_a_direct_call(name: str, tmp_path: Path) -> None:
    body, slot = CALLEES[name]
    path = shared_object(
        tmp_path,
        ".text\n.globl call, after\n"
        f"callee: .cfi_startproc; {body}; .cfi_endproc\n"
        "caller: .cfi_startproc; .cfi_def_cfa 3, 24; nop; call: call callee; after: nop\n"
        ".cfi_endproc\n",
    )
    with open_elf(str(path)) as elf:
        table = compile_table(elf)
    symbols = _symbols(path)
    plain = Row(0, RowKind.REGISTER, 24, register=3)
    rows = {
        place: find_row(table, symbols[name] + offset)
        for place, name, offset in (
            ("before", "call", -1),
            ("in", "after", -1),
            ("behind", "after", 0),
        )
    }
    assert {place: row and row._replace(pc=0) for place, row in rows.items()} == {
        "before": plain,
        "in": plain._replace(slot=slot),
        "behind": plain,
    }


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("call *%rcx", id="an indirect call"),
        pytest.param("call callee + 1", id="into the midst of a function"),
    ],
)
def test_no_slot(code: str, tmp_path: Path) -> None:
    path = shared_object(
        tmp_path,
        ".text\n.globl after\n"
        f"callee: .cfi_startproc; {CALLEES['pushed'][0]}; .cfi_endproc\n"
        f"caller: .cfi_startproc; .cfi_def_cfa 3, 24; nop; {code}; after: nop; .cfi_endproc\n",
    )
    with open_elf(str(path)) as elf:
        row = find_row(compile_table(elf), _symbols(path)["after"] - 1)
    assert row is not None
    assert (row.kind, row.slot) == (RowKind.REGISTER, 0)


def test_the_dynamic_loader_resolves_symbols_with_rbx() -> None:
    path = "/lib64/ld-linux-x86-64.so.2"
    if not Path(path).exists():
        pytest.skip("no glibc")
    with open_elf(path) as elf:
        table = compile_table(elf)
    slots = {
        row.slot
        for vaddr in range(table.base, table.base + len(table.pages) // 8 * 256)
        if (row := find_row(table, vaddr)) is not None and row.slot
    }
    assert slots


def _symbols(path: Path) -> dict[str, int]:
    listing = subprocess.run(["nm", str(path)], check=True, capture_output=True, text=True)
    return {
        name: int(value, 16)
        for value, _, name in (line.split() for line in listing.stdout.splitlines())
    }
