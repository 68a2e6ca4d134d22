"""The location table against `co_lines()` of the interpreters themselves."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixstack.symbolize.lines import LineTable, line_of
from tests.interpreters import SUPPORTED, Build

# Small and varied; MIXSTACK_ALL_LINES=1 checks the whole standard library (ten seconds per build).
PACKAGES = ["asyncio", "json", "unittest", "importlib", "collections", "inspect.py"]

# Prints one JSON line per code object: [linetable in hex, first line, [[start, end, line], ...]].
DUMP = r"""
import json, os, sys, sysconfig, types
root = sysconfig.get_paths()["stdlib"]
def files():
    for name in sys.argv[1:] or sorted(os.listdir(root)):
        path = os.path.join(root, name)
        if path.endswith(".py"):
            yield path
        elif name not in ("site-packages", "test"):
            for folder, _, names in os.walk(path):
                yield from (os.path.join(folder, n) for n in sorted(names) if n.endswith(".py"))
def dump(code):
    print(json.dumps([code.co_linetable.hex(), code.co_firstlineno, list(code.co_lines())]))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            dump(constant)
import warnings
warnings.simplefilter("ignore")
for path in files():
    try:
        with open(path, "rb") as file:
            code = compile(file.read(), path, "exec")
    except (SyntaxError, ValueError):
        continue
    dump(code)
"""


@pytest.mark.parametrize("build", SUPPORTED)
def test_equals_co_lines(build: Build) -> None:
    everything = os.environ.get("MIXSTACK_ALL_LINES") == "1"
    command = [build.executable, "-I", "-c", DUMP, *([] if everything else PACKAGES)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    codes = offsets = 0
    for row in done.stdout.splitlines():
        raw, first_line, ranges = json.loads(row)
        table = LineTable(bytes.fromhex(raw), first_line)
        expected = [line for start, end, line in ranges for _ in range(start, end, 2)]
        assert [table.find(2 * i) for i in range(len(expected))] == expected
        assert table.find(2 * len(expected)) is None
        codes += 1
        offsets += len(expected)
    assert codes > 1000
    print(f"{build.id}: {codes} code objects, {offsets} instruction offsets")


def entry(code: int, units: int, *rest: int) -> bytes:
    return bytes([0x80 | code << 3 | units - 1, *rest])


NO_LOCATION = entry(15, 1)
LINE_PLUS_ONE = entry(13, 1, 2)
LINE_MINUS_ONE = entry(13, 1, 3)

ROWS = [
    ("before the code", LINE_PLUS_ONE, -2, 10),
    ("no table", b"", 0, None),
    ("no table, before the code", b"", -2, 10),
    ("short form keeps the line", entry(0, 1, 0), 0, 10),
    ("one-line form adds 0 to 2", entry(12, 1, 0, 0), 0, 12),
    ("negative delta", LINE_MINUS_ONE, 0, 9),
    ("long form", entry(14, 1, 6, 0, 1, 1), 0, 13),
    ("delta of two pieces", entry(13, 1, 0x40, 0x02), 0, 10 + 64),
    ("no location", NO_LOCATION, 0, None),
    ("line goes on behind no location", LINE_PLUS_ONE + NO_LOCATION + entry(0, 1, 0), 4, 11),
    ("middle of an instruction", LINE_PLUS_ONE, 1, 11),
    ("end of the code", LINE_PLUS_ONE, 2, None),
    ("longest entry", entry(13, 8, 2), 15, 11),
    ("behind the longest entry", entry(13, 8, 2), 16, None),
    ("cut in an entry", LINE_PLUS_ONE + entry(14, 1, 6), 2, None),
    ("before the cut", LINE_PLUS_ONE + entry(14, 1, 6), 0, 11),
    ("no start of an entry", LINE_PLUS_ONE + b"\x00" + LINE_PLUS_ONE, 2, None),
    ("number without end", entry(13, 1) + b"\x40" * 40 + b"\x02", 0, None),
    ("line beyond an int", entry(13, 1, 0x40, 0x40, 0x40, 0x40, 0x40, 0x08), 0, None),
]


@pytest.mark.parametrize(("table", "offset", "expected"), [r[1:] for r in ROWS],
                         ids=[r[0] for r in ROWS])  # fmt: skip
def test_row(table: bytes, offset: int, expected: int | None) -> None:
    assert line_of(table, 10, offset) == expected


@given(st.binary(max_size=200), st.integers(0, 2**31 - 1), st.lists(st.integers(-10, 5000)))
def test_random_tables_never_raise(table: bytes, first_line: int, offsets: list[int]) -> None:
    for offset in (*offsets, 0):
        line_of(table, first_line, offset)


@given(st.binary(max_size=80), st.binary(max_size=20))
def test_a_cut_table_says_the_same_or_nothing(table: bytes, tail: bytes) -> None:
    whole, cut = LineTable(table + tail, 5), LineTable(table, 5)
    for offset in range(0, 1300, 2):
        assert cut.find(offset) in (whole.find(offset), None)
