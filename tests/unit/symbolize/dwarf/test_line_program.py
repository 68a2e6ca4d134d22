"""Line number programs are cut into pieces, and what is asked of one is as if all were decoded."""

from __future__ import annotations

import struct
from random import Random
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixstack.symbolize.dwarf.intervals import Intervals
from mixstack.symbolize.dwarf.line_program import LineProgram
from mixstack.symbolize.dwarf.sections import BadDwarf, DebugSections

BASE = 0x3000001000  # as prelink placed libraries
CODE = Intervals([(BASE, BASE + 0x10000, 1)])
SET_FILE, SET_COLUMN, ADVANCE_LINE, ADVANCE_PC, COPY, NEGATE = 4, 5, 3, 2, b"\1", b"\6"
END = b"\0\1\1"


def padded(number: int, size: int) -> bytes:
    """A LEB128 number in so many bytes, of either kind if its highest bit is 0."""
    septets = [number >> 7 * i & 0x7F for i in range(size)]
    return bytes([s | 0x80 for s in septets[:-1]] + septets[-1:])


def op(code: int, number: int, size: int = 2) -> bytes:
    return bytes([code]) + padded(number, size)


def place(address: int) -> bytes:
    return b"\0\x09\2" + struct.pack("<Q", address)


def program(opcodes: bytes, opcode_base: int = 13) -> LineProgram:
    lengths = bytes([0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1][: opcode_base - 1])
    files = b"\0" + b"".join(b"f%d\0\0\0\0" % i for i in range(1, 5)) + b"\0"
    rest = bytes([1, 1, 1, 0xFB, 14, opcode_base]) + lengths + files
    body = struct.pack("<HI", 4, len(rest)) + rest + opcodes
    empty = {name: memoryview(b"") for name in DebugSections._fields}
    line = memoryview(struct.pack("<I", len(body)) + body)
    return LineProgram(DebugSections(**{**empty, "line": line}), 0, "/", CODE)


class Row(NamedTuple):
    """One line of the source. copies: rows at its address. again: its address is set once more."""

    file: int
    line: int
    size: int
    column: int
    copies: int
    again: bool
    bytes_of_line: int


ROWS = st.builds(
    Row,
    st.integers(1, 4),
    # With the bytes that make the end of a number look like the end of a sequence.
    st.integers(1, 60) | st.sampled_from([88, 0x51, 129, 200]),
    st.integers(1, 12) | st.sampled_from([0x7F, 0x80, 200]),
    st.sampled_from([0, 1, 0x57]),
    st.integers(1, 3),
    st.booleans(),
    st.sampled_from([2, 3]),
)
SEQUENCES = st.lists(
    st.tuples(st.booleans(), st.lists(ROWS, min_size=1, max_size=6)), min_size=1, max_size=8
)


@given(SEQUENCES, st.randoms(use_true_random=False))
def test_every_address_has_its_row(sequences: list[tuple[bool, list[Row]]], chance: Random) -> None:
    opcodes, expected, dropped = b"", dict[int, tuple[str, int]](), 0
    order = list(range(len(sequences)))
    chance.shuffle(order)
    for number in order:
        kept, rows = sequences[number]
        address = BASE + number * 0x1000 if kept else 0
        dropped += not kept
        line, file = 1, 1
        for index, row in enumerate(rows):
            if row.file != file or index == 0:
                opcodes += op(SET_FILE, row.file, 1)
                file = row.file
            opcodes += op(SET_COLUMN, row.column, 1 + (row.column > 1))
            if index == 0 or row.again:
                opcodes += NEGATE + place(address)
            delta = row.line - line
            size = row.bytes_of_line
            opcodes += op(ADVANCE_LINE, delta & (1 << 7 * size) - 1, size)
            line = row.line
            opcodes += COPY * row.copies
            if kept:
                expected |= dict.fromkeys(range(address, address + row.size), (f"/f{file}", line))
            address += row.size
            opcodes += op(ADVANCE_PC, row.size, 2 if row.size > 0x7F else 1 + (row.column == 1))
        opcodes += END
    lines = program(opcodes)
    for number in range(len(sequences)):
        for address in range(BASE + number * 0x1000 - 1, BASE + number * 0x1000 + 0x60):
            assert lines.find(address) == expected.get(address)
    assert lines.find(1) is None


def sequence(address: int, line: int, size: int = 16) -> bytes:
    return place(address) + op(ADVANCE_LINE, line - 1) + COPY + op(ADVANCE_PC, size, 1) + END


def test_only_what_is_asked_for_is_decoded() -> None:
    """What is damaged in one piece is not missed in another; asked for again it is just unknown."""
    damaged = place(BASE + 0x100) + op(SET_FILE, 1, 1) + COPY + b"\2" + b"\xff" * 12
    lines = program(sequence(BASE, 7) + sequence(BASE + 0x40, 8) + damaged)
    assert lines.find(BASE) == ("/f1", 7)
    assert lines.find(BASE + 0x40) == ("/f1", 8)
    with pytest.raises(BadDwarf):
        lines.find(BASE + 0x100)
    assert lines.find(BASE + 0x100) is None


def test_of_two_at_one_address_the_last_that_reaches_it() -> None:
    lines = program(sequence(BASE, 7, 32) + sequence(BASE, 8, 16))
    assert lines.find(BASE) == ("/f1", 8)
    assert lines.find(BASE + 20) == ("/f1", 7)
    assert lines.find(BASE + 32) is None


def test_files_that_the_program_defines_are_not_counted_wrongly() -> None:
    define = b"\0\x06\3g\0\0\0\0"
    lines = program(sequence(BASE, 7) + define + op(SET_FILE, 5, 1) + sequence(BASE + 0x40, 8))
    assert lines.find(BASE) in (("/f1", 7), None)
    with pytest.raises(BadDwarf):
        lines.find(BASE + 0x40)


@pytest.mark.parametrize("opcode_base", [10, 13])
def test_fewer_standard_opcodes(opcode_base: int) -> None:
    lines = program(sequence(BASE, 7) + sequence(BASE + 0x40, 8), opcode_base)
    assert lines.find(BASE) == ("/f1", 7)
    assert lines.find(BASE + 0x4F) == ("/f1", 8)


@pytest.mark.parametrize(
    "operand",
    [
        op(SET_COLUMN, 0, 1),
        op(SET_FILE, 2, 1) + op(ADVANCE_LINE, 0, 1),
        op(ADVANCE_LINE, 88, 2),
        op(SET_COLUMN, 130, 3),
        op(ADVANCE_PC, 0, 1),
        b"\x09\x10\0",  # DW_LNS_fixed_advance_pc
        b"\x0c\0",  # DW_LNS_set_isa
        b"\0\2\4\0",  # GNU's discriminator
    ],
)
def test_two_rows_behind_an_operand_are_no_end(operand: bytes) -> None:
    """A zero and two copies look like an end; behind them the address is set in one sequence."""
    first = sequence(BASE, 7)
    head = place(BASE + 0x100) + op(SET_FILE, 3, 1) + op(ADVANCE_LINE, 600) + COPY
    again = operand + COPY * 2 + place(BASE + 0x140)
    lines = program(first + head + again + op(ADVANCE_LINE, 5, 1) + COPY + op(ADVANCE_PC, 8) + END)
    found = lines.find(BASE + 0x140)
    assert found is not None
    assert found[1] is not None
    assert found[1] > 600
