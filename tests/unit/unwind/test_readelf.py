"""Every row of real files against readelf: the CFA's rule and rbp's, at each address it prints.

MIXSTACK_READELF_FILES (paths, separated by ":") names other files than the usual ones.
"""

from __future__ import annotations

import itertools
import os
import struct
from bisect import bisect_right
from pathlib import Path

import pytest

from mixstack.elf import open_elf
from mixstack.unwind.cfi import compile_table, compile_vdso
from mixstack.unwind.rows import PC_MASK, Row, RowKind, UnwindTable, find_row, unpack_row

from .readelf import Function, agrees, functions

_LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")
_USUAL = [
    "/usr/bin/python3.11",
    str(_LIBRARIES / "libc.so.6"),
    str(_LIBRARIES / "libm.so.6"),
    str(_LIBRARIES / "libstdc++.so.6"),
    str(_LIBRARIES / "libcrypto.so.3"),
    str(_LIBRARIES / "ld-linux-x86-64.so.2"),
    str(Path.home() / ".pyenv/versions/3.13.0/lib/libpython3.13.so.1.0"),
]
_FILES = os.environ.get("MIXSTACK_READELF_FILES", ":".join(_USUAL)).split(":")


def differences(table: UnwindTable, found: list[Function]) -> list[str]:
    """Where table and oracle disagree; empty if nowhere."""
    wrong = []
    for index, function in enumerate(found):
        # Where two FDEs overlap, the one that starts later has the word from its start on.
        stop = found[index + 1].start if index + 1 < len(found) else function.end
        for address, columns in function.rows:
            row = find_row(table, address)
            if address < max(stop, function.start + 1) and (
                row is None or not agrees(row, columns)
            ):
                wrong.append(f"{address:#x}: {row}, readelf: {columns}")
        if function.end < stop:
            row = find_row(table, function.end)
            if row is not None and row.kind is not RowKind.NONE:
                wrong.append(f"{function.end:#x}: {row}, but no FDE is there")
    return wrong


def invented(table: UnwindTable, found: list[Function]) -> list[str]:
    """Places where the table changes its rule and the oracle knows of nothing."""
    known = {address for function in found for address, _ in function.rows}
    known |= {function.end for function in found} | {table.base}
    # A slot is our own addition: the FDE of the called function says it.
    rules = [unpack_row(word)._replace(slot=0) for (word,) in struct.iter_unpack("<Q", table.rows)]
    changes = [
        now
        for before, now in itertools.pairwise([Row(-1, RowKind.NONE, -1), *rules])
        if now._replace(pc=0) != before._replace(pc=0)
    ]
    return [hex(table.base + row.pc) for row in changes if table.base + row.pc not in known]


@pytest.mark.parametrize("path", _FILES, ids=lambda path: Path(path).name)
def test_every_row_is_what_readelf_says(path: str) -> None:
    if not Path(path).exists():
        pytest.skip(f"{path} is not installed")
    with open_elf(path) as elf:
        table = compile_table(elf)
    found = functions(path)
    assert len(found) > 40
    assert differences(table, found) == []
    assert invented(table, found) == []


def test_the_comparison_sees_a_single_wrong_row() -> None:
    path = str(_LIBRARIES / "libm.so.6")
    if not Path(path).exists():
        pytest.skip("libm is not installed")
    with open_elf(path) as elf:
        table = compile_table(elf)
    found = functions(path)
    pcs = [w & PC_MASK for (w,) in struct.iter_unpack("<Q", table.rows)]
    address = found[len(found) // 2].rows[-1][0]
    index = bisect_right(pcs, address - table.base) - 1
    rows = bytearray(table.rows)
    rows[8 * index + 4] ^= 1  # the CFA, 8 bytes off
    assert differences(table._replace(rows=bytes(rows)), found)


def test_the_vdso_of_this_process(tmp_path: Path) -> None:
    line = next(
        (m for m in Path("/proc/self/maps").read_text().splitlines() if "[vdso]" in m), None
    )
    if line is None:
        pytest.skip("this kernel maps no vDSO")
    start, end = (int(part, 16) for part in line.split()[0].split("-"))
    with open("/proc/self/mem", "rb", buffering=0) as memory:
        memory.seek(start)
        image = memory.read(end - start)
    (tmp_path / "vdso.so").write_bytes(image)
    found = functions(str(tmp_path / "vdso.so"))
    assert found
    assert differences(compile_vdso(image), found) == []
