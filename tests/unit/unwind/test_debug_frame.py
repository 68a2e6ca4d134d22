"""`.debug_frame`, where `.eh_frame` lacks: the same rules, from the compiler's other section."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from mixstack.elf import BadElf, open_elf
from mixstack.unwind.cfi import compile_table
from mixstack.unwind.rows import RowKind, UnwindTable, find_row

SOURCE = """
int g(int *);
int leaf(int a) { return a * 3; }
int f(int a) { int x[40]; x[1] = a; return g(x) + leaf(a); }
int h(int n) { int *x = __builtin_alloca(n); return g(x) + f(n); }
"""
NO_EH = ("-fno-asynchronous-unwind-tables", "-fno-unwind-tables")


def build(folder: Path, name: str, *options: str) -> UnwindTable:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    (folder / "case.c").write_text(SOURCE)
    target = folder / name
    command = ["gcc", "-O2", "-shared", "-fPIC", "-nostdlib", *options, "-o", target]
    subprocess.run([*command, folder / "case.c"], check=True, capture_output=True)
    with open_elf(str(target)) as elf:
        return compile_table(elf)


def functions(path: Path) -> dict[str, int]:
    listing = subprocess.run(["nm", str(path)], check=True, capture_output=True, text=True).stdout
    fields = [line.split() for line in listing.splitlines()]
    return {f[2]: int(f[0], 16) for f in fields if len(f) == 3 and f[1] == "T"}


@pytest.mark.parametrize("version", [2, 3, 4, 5])
def test_both_sections_give_the_same_rules(version: int, tmp_path: Path) -> None:
    ours = build(tmp_path, "debug.so", "-g", f"-gdwarf-{version}", *NO_EH)
    theirs = build(tmp_path, "eh.so")
    places = functions(tmp_path / "debug.so"), functions(tmp_path / "eh.so")
    assert set(places[0]) == set(places[1]) >= {"f", "h", "leaf"}
    kinds = set()
    for name in ("f", "h", "leaf"):
        for offset in range(12):
            row = find_row(ours, places[0][name] + offset)
            other = find_row(theirs, places[1][name] + offset)
            assert row is not None
            assert other is not None
            assert row._replace(pc=0) == other._replace(pc=0)
            kinds.add(row.kind)
    assert kinds >= {RowKind.RSP, RowKind.RBP}


def test_a_compressed_section_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(BadElf):
        build(tmp_path, "small.so", "-g", "-gz=zlib", *NO_EH)


def test_a_file_with_both_is_read_by_both(tmp_path: Path) -> None:
    source = tmp_path / "both.s"
    source.write_text(
        ".cfi_sections .debug_frame\n.text; .globl a, b\n"
        "a: .cfi_startproc; .cfi_def_cfa_offset 64; nop; nop; .cfi_endproc\n"
        "b: .cfi_startproc; .cfi_def_cfa_offset 32; nop; nop; .cfi_endproc\n"
    )
    other = tmp_path / "eh.s"
    other.write_text(".text; .globl c\nc: .cfi_startproc; nop; .cfi_endproc\n")
    target = tmp_path / "both.so"
    subprocess.run(["gcc", "-shared", "-nostdlib", "-o", target, source, other], check=True)
    with open_elf(str(target)) as elf:
        table = compile_table(elf)
    found = {name: find_row(table, at) for name, at in functions(target).items()}
    assert {name: row and row.cfa_offset for name, row in found.items()} == {
        "a": 64, "b": 32, "c": 8,
    }  # fmt: skip
