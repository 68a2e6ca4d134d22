"""Line tables against what the interpreters themselves say of their own code objects."""

from __future__ import annotations

import json
import os
import subprocess
from itertools import chain, repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixstack.symbolize.lines import LineTable, line_of
from tests.interpreters import SUPPORTED, Build

# Small and varied; MIXSTACK_ALL_LINES=1 checks the whole standard library (a minute per build).
PACKAGES = ["asyncio", "json", "collections", "typing.py"]

# Prints one JSON line per code object: [line table in hex, first line, lines, lines], where both
# are [[line or null, number of instructions], ...] from offset 0: once as PyCode_Addr2Line tells
# each instruction's, once as the interpreter's own reader in Python does (none: null).
DUMP = r"""
import ctypes, dis, itertools, json, os, sys, sysconfig, types, warnings
addr2line = ctypes.pythonapi.PyCode_Addr2Line
addr2line.argtypes = ctypes.py_object, ctypes.c_int
root = sysconfig.get_paths()["stdlib"]
def files():
    for name in sys.argv[1:] or sorted(os.listdir(root)):
        path = os.path.join(root, name)
        if path.endswith(".py"):
            yield path
        elif name not in ("site-packages", "dist-packages"):
            for folder, _, names in os.walk(path):
                yield from (os.path.join(folder, n) for n in sorted(names) if n.endswith(".py"))
def runs(lines):
    return [(line, len(list(same))) for line, same in itertools.groupby(lines)]
def spoken(code, size):
    assert addr2line(code, -1) == addr2line(code, -2) == code.co_firstlineno
    lines = (addr2line(code, at) for at in range(0, size, 2))
    return runs(line if line >= 0 else None for line in lines)
def read(code, size):
    if hasattr(code, "co_lines"):
        return [(line, (end - start) // 2) for start, end, line in code.co_lines()]
    starts, lines = zip(*dis.findlinestarts(code))
    return [(line, (end - at) // 2) for line, at, end in zip(lines, starts, (*starts[1:], size))]
def dump(code):
    table = code.co_lnotab if sys.version_info < (3, 10) else code.co_linetable
    size = len(code.co_code)
    print(json.dumps([table.hex(), code.co_firstlineno, spoken(code, size), read(code, size)]))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            dump(constant)
warnings.simplefilter("ignore")
for path in files():
    try:
        with open(path, "rb") as file:
            code = compile(file.read(), path, "exec")
    except (SyntaxError, ValueError):
        continue
    dump(code)
"""

Runs = list[tuple[int | None, int]]


def expanded(runs: Runs) -> list[int | None]:
    return list(chain.from_iterable(repeat(line, times) for line, times in runs))


@pytest.mark.parametrize("build", SUPPORTED)
def test_equals_what_the_interpreter_says(build: Build) -> None:
    everything = os.environ.get("MIXSTACK_ALL_LINES") == "1"
    command = build.command("-I", "-c", DUMP, *([] if everything else PACKAGES))
    codes = offsets = without = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for row in process.stdout:
            raw, first_line, spoken, read = json.loads(row)
            table = LineTable(bytes.fromhex(raw), first_line, build.version)
            expected = expanded(spoken)
            assert expanded(read) == expected, "the two oracles differ"
            assert [table.find(2 * i) for i in range(len(expected))] == expected
            assert table.find(-1) == table.find(-2) == first_line
            if build.minor >= (3, 10):  # before, the table does not say where the code ends
                assert table.find(2 * len(expected)) is None
            codes += 1
            offsets += len(expected)
            without += expected.count(None)
    assert process.returncode == 0
    assert codes > 1000
    print(f"{build.id}: {codes} code objects, {offsets} instruction offsets, {without} of no line")


def entry(code: int, units: int, *rest: int) -> bytes:
    return bytes([0x80 | code << 3 | units - 1, *rest])


NO_LOCATION = entry(15, 1)
LINE_PLUS_ONE = entry(13, 1, 2)
LINE_MINUS_ONE = entry(13, 1, 3)

LOCATIONS = [
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

PAIRS_OF_3_10 = [
    ("before the code", bytes([4, 1]), -2, 10),
    ("no table", b"", 0, None),
    ("no table, before the code", b"", -2, 10),
    ("the line of its own range", bytes([4, 1]), 0, 11),
    ("last unit of a range", bytes([4, 1, 4, 1]), 2, 11),
    ("next range", bytes([4, 1, 4, 1]), 4, 12),
    ("end of the code", bytes([4, 1, 4, 1]), 8, None),
    ("negative delta", bytes([4, 0xFF]), 0, 9),
    ("smallest delta", bytes([4, 0x81]), 0, 10 - 127),
    ("no line", bytes([4, 0x80]), 0, None),
    ("line goes on behind no line", bytes([4, 1, 2, 0x80, 2, 1]), 6, 12),
    ("empty ranges add up", bytes([0, 127, 0, 127, 2, 1]), 0, 10 + 255),
    ("empty range of no line", bytes([0, 0x80, 2, 1]), 0, 11),
    ("longest range", bytes([254, 1, 2, 1]), 252, 11),
    ("behind the longest range", bytes([254, 1, 2, 1]), 254, 12),
    ("half a pair", bytes([2, 1, 2]), 2, None),
]

PAIRS_OF_3_8 = [
    ("before the code", bytes([0, 1]), -1, 10),
    ("no table: one line", b"", 0, 10),
    ("no table: one line, to the end", b"", 4000, 10),
    ("no table, before the code", b"", -1, 10),
    ("line after the bytes", bytes([4, 1]), 2, 10),
    ("line from there on", bytes([4, 1]), 4, 11),
    ("at once", bytes([0, 1]), 0, 11),
    ("steps at one place add up", bytes([4, 127, 0, 127, 0, 1]), 4, 10 + 255),
    ("negative delta", bytes([4, 0xFF]), 4, 9),
    ("smallest delta is a line", bytes([4, 0x80]), 4, 10 - 128),
    ("long way in steps", bytes([255, 0, 45, 1]), 298, 10),
    ("behind a long way", bytes([255, 0, 45, 1]), 300, 11),
    ("last line to the end", bytes([4, 1]), 4000, 11),
    ("half a pair", bytes([4, 1, 4]), 8, 11),
]

ROWS = [
    (version, *row)
    for versions, rows in [
        (((3, 8, 18), (3, 9, 18), (3, 8)), PAIRS_OF_3_8),
        (((3, 10, 13), (3, 10)), PAIRS_OF_3_10),
        (((3, 11, 0), (3, 15, 2), (3, 99, 0)), LOCATIONS),
        (((3, 7, 16),), [("before 3.8 nothing is known", bytes([0, 1]), 0, None)]),
    ]
    for version in versions
    for row in rows
]


@pytest.mark.parametrize(
    ("version", "table", "offset", "expected"),
    [(version, *rest) for version, _, *rest in ROWS],
    ids=[f"{'.'.join(map(str, version))}: {name}" for version, name, *_ in ROWS],
)
def test_row(version: tuple[int, ...], table: bytes, offset: int, expected: int | None) -> None:
    assert line_of(table, 10, offset, version) == expected


VERSIONS = st.sampled_from([(3, minor, 1) for minor in range(7, 17)])


@given(
    st.binary(max_size=200), st.integers(0, 2**31 - 1), VERSIONS, st.lists(st.integers(-10, 5000))
)
def test_random_tables_never_raise(
    table: bytes, first_line: int, version: tuple[int, ...], offsets: list[int]
) -> None:
    for offset in (*offsets, 0):
        line = line_of(table, first_line, offset, version)
        assert line is None or -(2**31) < line < 2**31


@given(st.binary(max_size=80), st.binary(max_size=20), st.sampled_from([(3, 10), (3, 11)]))
def test_a_cut_table_says_the_same_or_nothing(
    table: bytes, tail: bytes, version: tuple[int, int]
) -> None:
    if version == (3, 10) and len(table) % 2:
        table, tail = table[:-1], table[-1:] + tail
    whole, cut = LineTable(table + tail, 5, version), LineTable(table, 5, version)
    for offset in range(0, 1300, 2):
        assert cut.find(offset) in (whole.find(offset), None)


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255)), max_size=30))
def test_3_8_goes_on_where_the_next_pair_begins(pairs: list[tuple[int, int]]) -> None:
    """The definition, pair by pair: at each address the line is first_line plus all so far."""
    table = LineTable(bytes(chain.from_iterable(pairs)), 1000, (3, 8))
    address, line = 0, 1000
    expected = {}
    for step, delta in pairs:
        for offset in range(address, address + step):
            expected[offset] = line
        address += step
        line += delta - 256 if delta > 127 else delta
    expected[address] = line
    assert {offset: table.find(offset) for offset in expected} == expected
