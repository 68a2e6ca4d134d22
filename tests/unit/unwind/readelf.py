"""readelf as an oracle: what binutils says of each row, in our terms."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from mixstack.unwind.rows import CFA_LIMIT, RBP_LIMIT, Row, RowKind

_CIE = re.compile(r"^([0-9a-f]+) \S+ \S+ CIE")
_FDE = re.compile(r"^[0-9a-f]+ \S+ \S+ FDE cie=([0-9a-f]+) pc=([0-9a-f]+)\.\.([0-9a-f]+)")
_ROW = re.compile(r"^([0-9a-f]{16}) (.+)$")
_CFA = re.compile(r"^(\w+)\+(\d+)$")
_SAVED = re.compile(r"^c([+-]\d+)$")
_LINEAR = {"rsp": RowKind.RSP, "rbp": RowKind.RBP}
# x86-64 psABI, figure 3.36: DWARF register numbers
_REGISTERS = ("rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp")
_REGISTERS += ("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15")
_REGISTER_OFFSET_MAX = 31 * 8
_EXPRESSIONS = frozenset(
    {RowKind.NONE, RowKind.PLT, RowKind.RSP_DEREF, RowKind.RBP_DEREF, RowKind.SIGNAL}
)


@dataclass
class Function:
    """One FDE: `[start, end)` and at each address what readelf prints, column by column."""

    start: int
    end: int
    rows: list[tuple[int, dict[str, str]]] = field(default_factory=list)


def functions(path: str) -> list[Function]:
    """All FDEs of a file's `.eh_frame`, sorted by start."""
    if shutil.which("readelf") is None:
        pytest.skip("readelf is not installed")
    listing = subprocess.run(
        ["readelf", "-W", "--debug-dump=frames-interp", path], capture_output=True, text=True
    ).stdout
    found = list(_parse(listing))
    found.sort(key=lambda f: (f.start, f.end))
    return found


def _parse(listing: str) -> Iterator[Function]:
    initial: dict[str, dict[str, str]] = {}  # the row of each CIE
    cie = ""
    function: Function | None = None
    columns: list[str] = []
    for line in listing.splitlines():
        if line.startswith("Contents of the .debug_frame"):
            break
        if match := _CIE.match(line):
            if function is not None:
                yield function
            cie, function = match[1], None
        elif match := _FDE.match(line):
            if function is not None:
                yield function
            function = Function(int(match[2], 16), int(match[3], 16))
            # An FDE without instructions has no rows of its own.
            function.rows.append((function.start, initial.get(match[1].lstrip("0"), {})))
        elif line.startswith("   LOC"):
            columns = line.split()[1:]
        elif match := _ROW.match(line):
            row = dict(zip(columns, _values(match[2]), strict=True))
            if function is None:
                initial[cie.lstrip("0")] = row
            else:
                address = int(match[1], 16)
                if function.rows[-1][0] == address:
                    function.rows.pop()
                function.rows.append((address, row))
    if function is not None:
        yield function


def _values(text: str) -> list[str]:
    # A register is printed as "r9 (r9)": one value, not two.
    return re.sub(r" \(\w+\)", "", text).split()


def agrees(row: Row, columns: dict[str, str]) -> bool:
    """Whether a compiled row says what readelf prints."""
    if columns.get("ra") == "u":
        return row.kind is RowKind.ROOT
    if columns.get("CFA") == "exp":
        return row.kind in _EXPRESSIONS
    return row._replace(pc=0, slot=0) == _expected(columns)


def _expected(columns: dict[str, str]) -> Row:
    nothing = Row(0, RowKind.NONE)
    cfa = _CFA.match(columns.get("CFA", ""))
    if cfa is None or columns.get("ra") != "c-8":
        return nothing
    offset = int(cfa[2])
    kind, register = _LINEAR.get(cfa[1], RowKind.REGISTER), 0
    if kind is RowKind.REGISTER:
        if offset > _REGISTER_OFFSET_MAX:
            return nothing
        register = _REGISTERS.index(cfa[1])
    if offset % 8 or offset // 8 >= CFA_LIMIT:
        return nothing
    rbp = columns.get("rbp", "u")
    if rbp in ("u", "s"):
        return Row(0, kind, offset, register=register)
    saved = _SAVED.match(rbp)
    if saved is None or int(saved[1]) % 8 or not 0 < abs(int(saved[1]) // 8) < RBP_LIMIT:
        return nothing
    return Row(0, kind, offset, int(saved[1]), register=register)
