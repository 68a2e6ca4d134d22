"""The rows of perf trampolines; binutils is the oracle: the same stubs with hand-written CFI."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given
from hypothesis import strategies as st

from mixstack.unwind.rows import Row, RowKind, UnwindTable, find_row
from mixstack.unwind.trampoline import stub_rows, trampoline_table
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
    "3.15": Stub(
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
    assert trampoline_table(code, code * 4, 4 * len(code)) is None


def arena(stub: bytes, stride: int, size: int) -> bytes:
    copies = stub.ljust(stride, b"\0") * (size // stride)
    return copies.ljust(size, b"\0")


def rules(table: UnwindTable, stride: int, copies: range, size: int) -> list[list[Row]]:
    """For each copy the rule at each of its bytes, pcs counted from its start."""
    found = []
    for copy in copies:
        rows = [find_row(table, copy * stride + at) for at in range(size)]
        assert None not in rows
        found.append([row._replace(pc=row.pc - copy * stride) for row in rows if row is not None])
    return found


@pytest.mark.parametrize("stride", [11, 16])
@pytest.mark.parametrize("size", [4096, 65536])
def test_every_copy_of_an_arena_has_the_rows(stride: int, size: int) -> None:
    code = PLAIN.code
    table = trampoline_table(code, arena(code, stride, size)[:256], size)
    assert table is not None
    assert table.base == 0
    assert len(table.pages) == size // 256 * 8
    expected = [[row for row in PLAIN.rows if row.pc <= at][-1] for at in range(len(code))]
    for found in rules(table, stride, range(size // stride), len(code)):
        assert found == expected


@pytest.mark.parametrize(
    "memory",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(bytes(256), id="zeros"),
        pytest.param(b"\x90" + arena(PLAIN.code, 16, 255), id="not at the start"),
        pytest.param(PLAIN.code.ljust(256, b"\0"), id="one copy only"),
        pytest.param(PLAIN.code.ljust(24, b"\0") + PLAIN.code, id="another stride"),
        pytest.param(PLAIN.code.ljust(16, b"\0") + PLAIN.code[:-1], id="the second is cut"),
    ],
)
def test_other_memory_is_no_arena(memory: bytes) -> None:
    assert trampoline_table(PLAIN.code, memory, 4096) is None


@given(stub=st.binary(max_size=24), memory=st.binary(max_size=64), size=st.integers(0, 4096))
def test_bytes_never_raise(stub: bytes, memory: bytes, size: int) -> None:
    trampoline_table(stub, stub + memory, size)
    trampoline_table(stub, stub * 4 + memory, size)
    rows = stub_rows(stub)
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


def _stub_of(build: Build) -> bytes:
    folder = Path(build.executable).parent.parent / "lib"
    for path in [*folder.glob("libpython3.*.so.1.0"), Path(build.executable)]:
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
