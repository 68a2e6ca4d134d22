"""Each kind of row, from assembly with .cfi directives; the labels are the places to look at."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mixstack.elf import open_elf
from mixstack.unwind.cfi import compile_table
from mixstack.unwind.rows import RBP_AT_RBP, Row, RowKind, UnwindTable, find_row

from .images import shared_object

# One function per case; the rule that is looked at holds at its label `at`.
CASES: dict[str, tuple[str, Row]] = {
    "on entry: CFA = rsp + 8": (".cfi_startproc; AT: nop; .cfi_endproc", Row(0, RowKind.RSP, 8)),
    "after push rbp": (
        ".cfi_startproc; push %rbp; .cfi_def_cfa_offset 16; .cfi_offset 6, -16; AT: nop;"
        ".cfi_endproc",
        Row(0, RowKind.RSP, 16, -16),
    ),
    "with a frame pointer": (
        ".cfi_startproc; .cfi_def_cfa_offset 16; .cfi_offset 6, -16; nop; .cfi_def_cfa_register 6;"
        "AT: nop; .cfi_endproc",
        Row(0, RowKind.RBP, 16, -16),
    ),
    "rbp is back after restore": (
        ".cfi_startproc; nop; .cfi_def_cfa_offset 16; .cfi_offset 6, -16; nop;"
        ".cfi_def_cfa 7, 8; .cfi_restore 6; AT: nop; .cfi_endproc",
        Row(0, RowKind.RSP, 8),
    ),
    "restore_state brings back all rules": (
        ".cfi_startproc; .cfi_def_cfa_offset 48; .cfi_offset 6, -24; nop; .cfi_remember_state;"
        ".cfi_def_cfa 6, 8; .cfi_restore 6; nop; .cfi_restore_state; AT: nop; .cfi_endproc",
        Row(0, RowKind.RSP, 48, -24),
    ),
    "states nest": (
        ".cfi_startproc; nop; .cfi_def_cfa_offset 16; .cfi_remember_state; nop;"
        ".cfi_def_cfa_offset 24; .cfi_remember_state; nop; .cfi_def_cfa_offset 32; nop;"
        ".cfi_restore_state; nop; .cfi_restore_state; AT: nop; .cfi_endproc",
        Row(0, RowKind.RSP, 16),
    ),
    "a long offset": (
        ".cfi_startproc; .cfi_def_cfa_offset 65552; AT: nop; .cfi_endproc",
        Row(0, RowKind.RSP, 65552),
    ),
    "an offset of three bytes": (
        ".cfi_startproc; .cfi_def_cfa_offset 262136; AT: nop; .cfi_endproc",
        Row(0, RowKind.RSP, 262136),
    ),
    "other registers do not matter": (
        ".cfi_startproc; .cfi_offset 3, -16; .cfi_register 12, 0; .cfi_undefined 13;"
        ".cfi_same_value 14; .cfi_val_offset 15, 8; AT: nop; .cfi_endproc",
        Row(0, RowKind.RSP, 8),
    ),
    "rbp undefined: left as it is": (
        ".cfi_startproc; .cfi_undefined 6; AT: nop; .cfi_endproc",
        Row(0, RowKind.RSP, 8),
    ),
    "rbp same value": (
        ".cfi_startproc; .cfi_offset 6, -16; nop; .cfi_same_value 6; AT: nop; .cfi_endproc",
        Row(0, RowKind.RSP, 8),
    ),
    "args_size says nothing of the CFA": (
        ".cfi_startproc; .cfi_escape 0x2e, 0x20; AT: nop; .cfi_endproc",
        Row(0, RowKind.RSP, 8),
    ),
    "def_cfa_sf": (
        ".cfi_startproc; .cfi_escape 0x12, 0x06, 0x7e; AT: nop; .cfi_endproc",
        Row(0, RowKind.RBP, 16),
    ),
    "def_cfa_offset_sf": (
        ".cfi_startproc; .cfi_escape 0x13, 0x7d; AT: nop; .cfi_endproc",
        Row(0, RowKind.RSP, 24),
    ),
    "offset_extended": (
        ".cfi_startproc; .cfi_escape 0x05, 0x06, 0x03; AT: nop; .cfi_endproc",
        Row(0, RowKind.RSP, 8, -24),
    ),
    "offset_extended_sf": (
        ".cfi_startproc; .cfi_escape 0x11, 0x06, 0x7d; AT: nop; .cfi_endproc",
        Row(0, RowKind.RSP, 8, 24),
    ),
    "negative_offset_extended": (
        ".cfi_startproc; .cfi_escape 0x2f, 0x06, 0x03; AT: nop; .cfi_endproc",
        Row(0, RowKind.RSP, 8, 24),
    ),
    "restore_extended": (
        ".cfi_startproc; .cfi_offset 6, -16; nop; .cfi_escape 0x06, 0x06; AT: nop; .cfi_endproc",
        Row(0, RowKind.RSP, 8),
    ),
    "*(rsp + 160)": (
        ".cfi_startproc; .cfi_escape 0x0f, 0x04, 0x77, 0xa0, 0x01, 0x06; AT: nop; .cfi_endproc",
        Row(0, RowKind.RSP_DEREF, 160),
    ),
    "realigned: *(rbp - 8), rbp saved at rbp": (
        ".cfi_startproc; .cfi_escape 0x10, 0x06, 0x02, 0x76, 0x00;"
        ".cfi_escape 0x0f, 0x03, 0x76, 0x78, 0x06; AT: nop; .cfi_endproc",
        Row(0, RowKind.RBP_DEREF, -8, RBP_AT_RBP),
    ),
    "realigning: r10": (
        ".cfi_startproc; nop; .cfi_def_cfa 10, 0; AT: nop; .cfi_endproc",
        Row(0, RowKind.REGISTER, 0, register=10),
    ),
    "CFA by rax": (
        ".cfi_startproc; .cfi_def_cfa_register 0; AT: nop; .cfi_endproc",
        Row(0, RowKind.REGISTER, 8),
    ),
    "CFA by r15, as far as there is room": (
        ".cfi_startproc; .cfi_offset 6, -16; .cfi_def_cfa 15, 248; AT: nop; .cfi_endproc",
        Row(0, RowKind.REGISTER, 248, -16, register=15),
    ),
    "an expression that is just rdi": (
        ".cfi_startproc; .cfi_escape 0x0f, 0x02, 0x75, 0x18; AT: nop; .cfi_endproc",
        Row(0, RowKind.REGISTER, 24, register=5),
    ),
    "no rule: CFA by a register, and an offset that is too large": (
        ".cfi_startproc; .cfi_def_cfa 0, 256; AT: nop; .cfi_endproc",
        Row(0, RowKind.NONE),
    ),
    "no rule: CFA by what is no general register": (
        ".cfi_startproc; .cfi_def_cfa 17, 8; AT: nop; .cfi_endproc",
        Row(0, RowKind.NONE),
    ),
    "an expression that is just a register": (
        ".cfi_startproc; .cfi_escape 0x0f, 0x02, 0x77, 0x18; AT: nop; .cfi_endproc",
        Row(0, RowKind.RSP, 24),
    ),
    "rbp saved at rsp + 16, CFA = rsp + 40": (
        ".cfi_startproc; .cfi_def_cfa_offset 40; .cfi_escape 0x10, 0x06, 0x02, 0x77, 0x10;"
        "AT: nop; .cfi_endproc",
        Row(0, RowKind.RSP, 40, -24),
    ),
    "PLT": (
        ".cfi_startproc; .cfi_escape 0x0f, 0x0b, 0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33,"
        "0x24, 0x22; AT: nop; .cfi_endproc",
        Row(0, RowKind.PLT, 11),
    ),
    "PLT with branch protection": (
        ".cfi_startproc; .cfi_escape 0x0f, 0x0b, 0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3a, 0x2a, 0x33,"
        "0x24, 0x22; AT: nop; .cfi_endproc",
        Row(0, RowKind.PLT, 10),
    ),
    "the root": (
        ".cfi_startproc; .cfi_undefined 16; AT: nop; .cfi_endproc",
        Row(0, RowKind.ROOT),
    ),
    "a signal's frame": (
        ".cfi_startproc; .cfi_signal_frame; .cfi_escape 0x0f, 0x04, 0x77, 0xa0, 0x01, 0x06;"
        ".cfi_escape 0x10, 0x10, 0x03, 0x77, 0xa8, 0x01; AT: nop; .cfi_endproc",
        Row(0, RowKind.SIGNAL),
    ),
    "a signal's frame, told by offsets": (
        ".cfi_startproc; .cfi_signal_frame; .cfi_def_cfa 7, 0; .cfi_escape 0x11, 0x10, 0x6b;"
        "AT: nop; .cfi_endproc",
        Row(0, RowKind.SIGNAL),
    ),
    "no rule: a signal's frame without a ucontext": (
        ".cfi_startproc; .cfi_signal_frame; AT: nop; .cfi_endproc",
        Row(0, RowKind.NONE),
    ),
    "*(rsp + 48) + 56": (
        ".cfi_startproc; .cfi_escape 0x0f, 0x05, 0x77, 0x30, 0x06, 0x23, 0x38; AT: nop;"
        ".cfi_endproc",
        Row(0, RowKind.RSP_DEREF, 48, addend=56),
    ),
    "no rule: *(rsp + 32) + 256": (
        ".cfi_startproc; .cfi_escape 0x0f, 0x06, 0x77, 0x20, 0x06, 0x23, 0x80, 0x02; AT: nop;"
        ".cfi_endproc",
        Row(0, RowKind.NONE),
    ),
    "no rule: *(rsp + 8192)": (
        ".cfi_startproc; .cfi_escape 0x0f, 0x05, 0x77, 0x80, 0xc0, 0x00, 0x06; AT: nop;"
        ".cfi_endproc",
        Row(0, RowKind.NONE),
    ),
    "no rule: an offset that is no multiple of 8": (
        ".cfi_startproc; .cfi_def_cfa_offset 12; AT: nop; .cfi_endproc",
        Row(0, RowKind.NONE),
    ),
    "no rule: an offset that is too large": (
        ".cfi_startproc; .cfi_def_cfa_offset 262144; AT: nop; .cfi_endproc",
        Row(0, RowKind.NONE),
    ),
    "no rule: rbp too far from the CFA": (
        ".cfi_startproc; .cfi_offset 6, -16384; AT: nop; .cfi_endproc",
        Row(0, RowKind.NONE),
    ),
    "no rule: rbp in another register": (
        ".cfi_startproc; .cfi_register 6, 9; AT: nop; .cfi_endproc",
        Row(0, RowKind.NONE),
    ),
    "no rule: rbp is a value, not a place": (
        ".cfi_startproc; .cfi_val_offset 6, -16; AT: nop; .cfi_endproc",
        Row(0, RowKind.NONE),
    ),
    "no rule: rbp is the value of an expression": (
        ".cfi_startproc; .cfi_escape 0x16, 0x06, 0x02, 0x77, 0x10; AT: nop; .cfi_endproc",
        Row(0, RowKind.NONE),
    ),
    "no rule: rbp saved at a place that moves against the CFA": (
        ".cfi_startproc; .cfi_escape 0x10, 0x06, 0x02, 0x76, 0x18; AT: nop; .cfi_endproc",
        Row(0, RowKind.NONE),
    ),
    "no rule: the return address is elsewhere": (
        ".cfi_startproc; .cfi_offset 16, -16; AT: nop; .cfi_endproc",
        Row(0, RowKind.NONE),
    ),
    "no rule: the return address is in a register": (
        ".cfi_startproc; .cfi_register 16, 1; AT: nop; .cfi_endproc",
        Row(0, RowKind.NONE),
    ),
    "no rule: an unknown expression": (
        ".cfi_startproc; .cfi_escape 0x0f, 0x03, 0x77, 0x08, 0x96; AT: nop; .cfi_endproc",
        Row(0, RowKind.NONE),
    ),
    "no rule: more behind an expression that is known": (
        ".cfi_startproc; .cfi_escape 0x0f, 0x06, 0x77, 0x20, 0x06, 0x23, 0x00, 0x96; AT: nop;"
        ".cfi_endproc",
        Row(0, RowKind.NONE),
    ),
    "*(rsp + 32) + 0": (
        ".cfi_startproc; .cfi_escape 0x0f, 0x05, 0x77, 0x20, 0x06, 0x23, 0x00; AT: nop;"
        ".cfi_endproc",
        Row(0, RowKind.RSP_DEREF, 32),
    ),
    "the return address is back after restore": (
        ".cfi_startproc; .cfi_undefined 16; nop; .cfi_restore 16; AT: nop; .cfi_endproc",
        Row(0, RowKind.RSP, 8),
    ),
    "no rule: the threshold of no PLT": (
        ".cfi_startproc; .cfi_escape 0x0f, 0x0b, 0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x50, 0x2a, 0x33,"
        "0x24, 0x22; AT: nop; .cfi_endproc",
        Row(0, RowKind.NONE),
    ),
    "no rule: a code without CFI": ("AT: nop", Row(0, RowKind.NONE)),
    "no rule: an unknown instruction": (
        ".cfi_startproc; .cfi_escape 0x3f; AT: nop; .cfi_endproc",
        Row(0, RowKind.NONE),
    ),
    "no rule: more states restored than remembered": (
        ".cfi_startproc; .cfi_escape 0x0b; AT: nop; .cfi_endproc",
        Row(0, RowKind.NONE),
    ),
    "back from a CFA by rax": (
        ".cfi_startproc; nop; .cfi_def_cfa_register 0; nop; .cfi_def_cfa 7, 8; AT: nop;"
        ".cfi_endproc",
        Row(0, RowKind.RSP, 8),
    ),
    "back from an expression by register: the offset was kept": (
        ".cfi_startproc; .cfi_def_cfa_offset 16; nop; .cfi_escape 0x0f, 0x03, 0x76, 0x78, 0x06;"
        "nop; .cfi_escape 0x0d, 0x06; AT: nop; .cfi_endproc",
        Row(0, RowKind.RBP, 16),
    ),
    "far into a function: advance_loc1": (
        ".cfi_startproc; .skip 200, 0x90; .cfi_def_cfa_offset 16; AT: nop; .cfi_endproc",
        Row(0, RowKind.RSP, 16),
    ),
    "far into a function: advance_loc2": (
        ".cfi_startproc; .skip 40000, 0x90; .cfi_def_cfa_offset 16; AT: nop; .cfi_endproc",
        Row(0, RowKind.RSP, 16),
    ),
    "far into a function: advance_loc4": (
        ".cfi_startproc; .skip 70000, 0x90; .cfi_def_cfa_offset 16; AT: nop; .cfi_endproc",
        Row(0, RowKind.RSP, 16),
    ),
}


class Compiled:
    """All cases in one shared object."""

    def __init__(self, folder: Path) -> None:
        parts = [
            f".globl at{i}, after{i}; .p2align 4; {text.replace('AT', f'at{i}')}; after{i}: hlt\n"
            for i, (text, _) in enumerate(CASES.values())
        ]
        path = shared_object(folder, ".text\n" + "".join(parts))
        with open_elf(str(path)) as elf:
            self.table: UnwindTable = compile_table(elf)
        listing = subprocess.run(["nm", str(path)], check=True, capture_output=True, text=True)
        self.symbols = {
            name: int(value, 16)
            for value, _, name in (line.split() for line in listing.stdout.splitlines())
        }


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return Compiled(tmp_path_factory.mktemp("cases"))


@pytest.mark.parametrize("name", CASES)
def test_the_rule_at_a_place(compiled: Compiled, name: str) -> None:
    place = compiled.symbols[f"at{list(CASES).index(name)}"]
    found = find_row(compiled.table, place)
    assert found is not None
    assert found._replace(pc=0) == CASES[name][1]


@pytest.mark.parametrize("name", CASES)
def test_behind_each_function_there_is_no_rule(compiled: Compiled, name: str) -> None:
    behind = find_row(compiled.table, compiled.symbols[f"after{list(CASES).index(name)}"])
    assert behind is not None
    assert behind.kind is RowKind.NONE
