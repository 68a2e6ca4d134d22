"""Files that are cut short while they are mapped: their reader lives on."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

LIBRARY = Path("/usr/lib/x86_64-linux-gnu/libm.so.6")
# What it reads behind the cut, and what it is to say of it.
READERS = {
    "compile_table(elf)": "BadElf",
    "SymbolTable(elf).find(elf.segments[1].vaddr)": "None",
    "table.find(address)": "None",
    "elf.read(address, 8)": "bytes(8)",
}
PROGRAM = """
import os, sys
from mixstack.elf import BadElf, open_elf
from mixstack.symbolize.elf_symbols import SymbolTable
from mixstack.unwind.cfi import compile_table
from mixstack.unwind.rows import find_row
with open_elf(sys.argv[1]) as elf:
    table = SymbolTable(elf)
    code = next(s for s in elf.segments if s.executable)
    address = next(a for a in range(code.vaddr, code.vaddr + code.file_size, 16) if table.find(a))
    os.truncate(sys.argv[1], 64)
    try:
        found = eval(sys.argv[2])
    except BadElf:
        found = BadElf
    assert found == eval(sys.argv[3]), found
"""


@pytest.mark.parametrize("reader", READERS)
def test_a_file_that_is_cut_short(reader: str, tmp_path: Path) -> None:
    if not LIBRARY.exists():
        pytest.skip("no glibc")
    path = shutil.copy(LIBRARY, tmp_path / "libm.so")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, path, reader, READERS[reader]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
