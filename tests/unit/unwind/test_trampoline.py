"""The rows of perf trampolines; binutils is the oracle: the same stubs with hand-written CFI."""

from __future__ import annotations

import subprocess
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given
from hypothesis import strategies as st

from mixstack.unwind.rows import Row, RowKind, UnwindTable, find_row
from mixstack.unwind.trampoline import (
    ARENA_SIZE,
    Piece,
    arena_table,
    split_arenas,
    stub_rows,
)
from tests.interpreters import Build, supported
from tests.unit.unwind.images import shared_object
from tests.unit.unwind.readelf import agrees, functions

RSP = RowKind.RSP


class Stub(NamedTuple):
    """A stub as an assembler takes it, with CFI; its bytes; its rows."""

    assembly: str
    code: bytes
    rows: list[Row]


PLAIN = Stub(
    """
    sub $8, %rsp
    .cfi_adjust_cfa_offset 8
    call *%rcx
    add $8, %rsp
    .cfi_adjust_cfa_offset -8
    ret
    """,
    bytes.fromhex("4883ec08 ffd1 4883c408 c3"),
    [Row(0, RSP, 8), Row(4, RSP, 16), Row(10, RSP, 8)],
)
STUBS = {
    "3.12 and 3.13": PLAIN,
    "3.12 and 3.13 with branch tracking": Stub(
        "endbr64\n" + PLAIN.assembly,
        bytes.fromhex("f30f1efa") + PLAIN.code,
        [Row(0, RSP, 8), Row(8, RSP, 16), Row(14, RSP, 8)],
    ),
    "3.14 and 3.15": Stub(
        """
        endbr64
        push %rbp
        .cfi_adjust_cfa_offset 8
        .cfi_offset %rbp, -16
        mov %rsp, %rbp
        call *%rcx
        pop %rbp
        .cfi_adjust_cfa_offset -8
        .cfi_restore %rbp
        ret
        """,
        bytes.fromhex("f30f1efa 55 4889e5 ffd1 5d c3"),
        [Row(0, RSP, 8), Row(5, RSP, 16, -16), Row(11, RSP, 8)],
    ),
}
named_stubs = pytest.mark.parametrize("stub", STUBS.values(), ids=STUBS)


@named_stubs
def test_rows(stub: Stub) -> None:
    assert stub_rows(stub.code) == stub.rows


@named_stubs
def test_readelf_says_the_same(stub: Stub, tmp_path: Path) -> None:
    start = ".text\n.globl stub\n.type stub, @function\nstub:\n.cfi_startproc\n"
    end = ".cfi_endproc\n.size stub, . - stub\n"
    path = str(shared_object(tmp_path, start + stub.assembly + end))
    with open(path, "rb") as file:
        text = ELFFile(file).get_section_by_name(".text")
        assert text.data()[: len(stub.code)] == stub.code
        base = text["sh_addr"]
    (function,) = functions(path)
    assert (function.start, function.end) == (base, base + len(stub.code))
    for row, (address, columns) in zip(stub.rows, function.rows, strict=True):
        assert row.pc == address - base
        assert agrees(row, columns), (row, columns)


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(PLAIN.code[:-1], id="no return"),
        pytest.param(b"\x90" + PLAIN.code, id="an unknown instruction first"),
        pytest.param(PLAIN.code.replace(b"\xff\xd1", b"\xff\xd0"), id="a call of another register"),
        pytest.param(PLAIN.code[:3], id="cut inside an instruction"),
        pytest.param(b"\x48\x83\xec\x10" + PLAIN.code[4:], id="another frame size"),
    ],
)
def test_what_is_not_known_is_not_guessed(code: bytes) -> None:
    assert stub_rows(code) is None
    assert arena_table(code, 16) is None


def arena(stride: int, stub: bytes = PLAIN.code) -> bytes:
    """An arena as the interpreter writes it."""
    return (stub.ljust(stride, b"\0") * (ARENA_SIZE // stride)).ljust(ARENA_SIZE, b"\0")


def rules(table: UnwindTable, stride: int, copies: range, size: int) -> list[list[Row]]:
    """For each copy the rule at each of its bytes, pcs counted from its start."""
    found = []
    for copy in copies:
        rows = [find_row(table, copy * stride + at) for at in range(size)]
        assert None not in rows
        found.append([row._replace(pc=row.pc - copy * stride) for row in rows if row is not None])
    return found


@named_stubs
@pytest.mark.parametrize("stride", [15, 16, 32, 96, 272])
def test_every_copy_of_an_arena_has_the_rows(stub: Stub, stride: int) -> None:
    table = arena_table(stub.code, stride)
    assert table is not None
    assert table.base == 0
    assert len(table.pages) == ARENA_SIZE // 256 * 8
    expected = [[row for row in stub.rows if row.pc <= at][-1] for at in range(len(stub.code))]
    copies = ARENA_SIZE // stride
    for found in rules(table, stride, range((copies - 1) % 3, copies, 3), len(stub.code)):
        assert found == expected


PAGE = bytes(4096)
BROKEN = bytearray(arena(16))
BROKEN[60000] ^= 1


@pytest.mark.parametrize(
    ("memory", "pieces"),
    [
        pytest.param("", "", id="nothing"),
        pytest.param("packed", "11", id="3.12"),
        pytest.param("aligned aligned", "16 16", id="two that the kernel made one mapping"),
        pytest.param("packed packed packed", "11 11 11", id="the stride does not go on"),
        pytest.param("aligned padded padded", "16 272 272", id="perf_jit switched on later"),
        pytest.param("page page aligned page", "8192 16 4096", id="between other code"),
        pytest.param("page aligned packed", "4096 16 11", id="behind other code"),
        pytest.param("page page", "8192", id="other code alone"),
        pytest.param("broken", "65536", id="a byte within is another"),
        pytest.param("broken packed", "65536 11", id="one that is none, and one that is"),
        pytest.param("cut", "61440", id="cut off"),
        pytest.param("shifted", "65537", id="not at the start of a page"),
        pytest.param("one", "65536", id="one copy only"),
        pytest.param("uneven", "65536", id="copies at uneven distances"),
    ],
)
def test_arenas_are_told_from_other_memory(memory: str, pieces: str) -> None:
    parts = {
        "packed": arena(11),
        "aligned": arena(16),
        "padded": arena(272),
        "page": PAGE,
        "broken": bytes(BROKEN),
        "cut": arena(16)[:-4096],
        "shifted": b"\x90" + arena(16),
        "one": PLAIN.code.ljust(ARENA_SIZE, b"\0"),
        "uneven": (PLAIN.code.ljust(24, b"\0") + arena(16)).ljust(2 * ARENA_SIZE)[:ARENA_SIZE],
    }
    found = split_arenas(PLAIN.code, b"".join(parts[name] for name in memory.split()))
    assert [str(p.stride or p.end - p.start) for p in found] == pieces.split()
    assert all(p.end - p.start == ARENA_SIZE for p in found if p.stride)
    assert all(a.end == b.start for a, b in pairwise(found))


@given(
    stub=st.binary(max_size=24),
    parts=st.lists(
        st.one_of(
            st.binary(max_size=64),
            st.integers(11, 512).map(arena),
            st.integers(1, 3).map(PAGE.__mul__),
        ),
        max_size=4,
    ),
    of_it=st.booleans(),
)
def test_pieces_cover_the_memory(stub: bytes, parts: list[bytes], of_it: bool) -> None:
    memory = b"".join(parts)
    pieces = split_arenas(PLAIN.code if of_it else stub, memory)
    ends = [0, *(piece.end for piece in pieces)]
    assert [piece.start for piece in pieces] == ends[:-1]
    assert ends[-1] == len(memory)
    assert ends == sorted(set(ends))


@given(stub=st.binary(max_size=24), stride=st.integers(24, 4096))
def test_bytes_never_raise(stub: bytes, stride: int) -> None:
    rows = stub_rows(stub)
    assert (arena_table(stub, stride) is None) == (rows is None)
    if rows is not None:
        assert [row.pc for row in rows] == sorted({row.pc for row in rows})


@pytest.mark.parametrize("build", supported(lambda b: b.trampoline))
def test_the_stub_of_a_real_interpreter(build: Build) -> None:
    stub = _stub_of(build)
    rows = stub_rows(stub)
    assert rows is not None
    # The evaluator is called with the stack aligned: its caller's frame is 16 bytes.
    assert max(row.cfa_offset for row in rows) == 16
    assert rows[0].cfa_offset == rows[-1].cfa_offset == 8


# Prints its anonymous executable memory: the address and the contents in hex, a line each.
SHOW_ARENAS = """
import os, sys
made = {}
exec("".join(f"def f{i}(): pass\\n" for i in range(int(sys.argv[1]))), made)
for name, function in made.items():
    name.startswith("f") and function()
with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb") as memory:
    for words in map(str.split, maps):
        if "x" in words[1] and len(words) == 5:
            start, end = (int(bound, 16) for bound in words[0].split("-"))
            memory.seek(start)
            print(f"{start:x}", memory.read(end - start).hex())
for path in (f"/tmp/perf-{os.getpid()}.map", f"/tmp/jit-{os.getpid()}.dump"):
    if os.path.exists(path):
        os.unlink(path)
"""


# The second fills more than one arena: they are neighbours, mostly.
@pytest.mark.parametrize(("option", "functions"), [("perf", 9000), ("perf_jit", 1000)])
@pytest.mark.parametrize("build", supported(lambda b: b.trampoline))
def test_the_arenas_of_a_real_interpreter(build: Build, option: str, functions: int) -> None:
    if option == "perf_jit" and build.minor < (3, 13):
        pytest.skip("it has no -X perf_jit")
    printed = subprocess.run(
        build.command("-X", option, "-c", SHOW_ARENAS, str(functions)),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    stub = _stub_of(build)
    pieces: list[Piece] = []
    for line in printed.splitlines():
        pieces += split_arenas(stub, bytes.fromhex(line.split()[1]))
    assert pieces
    copies = sum(ARENA_SIZE // piece.stride for piece in pieces if piece.stride)
    assert copies >= functions
    assert all(piece.stride for piece in pieces)


def _stub_of(build: Build) -> bytes:
    executable = Path(build.host_executable)
    for path in [*executable.parent.parent.glob("lib/libpython3.*.so.1.0"), executable]:
        with open(path, "rb") as file:
            elf = ELFFile(file)
            table = elf.get_section_by_name(".dynsym")
            found = {
                name: symbols[0]["st_value"]
                for name in ("_Py_trampoline_func_start", "_Py_trampoline_func_end")
                if (symbols := table.get_symbol_by_name(name))
            }
            if len(found) == 2:
                start, end = found.values()
                (offset,) = elf.address_offsets(start)
                file.seek(offset)
                return file.read(end - start)
    pytest.skip(f"the stub of {build.executable} has no symbol")
