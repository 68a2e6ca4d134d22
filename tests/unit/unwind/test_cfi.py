"""The table as a whole: its range, what is left out, and input that nobody should have written."""

from __future__ import annotations

import struct
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixstack.compiled.frames import Frames, FrameSection
from mixstack.elf import BadElf, Elf
from mixstack.unwind.cfi import CodeRange, compile_table, compile_vdso
from mixstack.unwind.rows import Row, RowKind, find_row, unpack_row

from .images import CODE_AT, cie, elf_image, entry, fde

CODE = CodeRange(CODE_AT, CODE_AT + 0x1000)
SECTION_AT = 0x8000


def section(*parts: tuple[int, int, bytes]) -> bytes:
    """A section with one CIE, and an FDE for each (start, size, instructions)."""
    data = cie()
    for start, size, instructions in parts:
        data += fde(len(data), start, size, instructions)
    return data


def rules(data: bytes) -> list[Row]:
    rows = Frames([FrameSection(data, SECTION_AT)]).rows(*CODE)
    return [unpack_row(word) for word in rows.cast("Q")]


def rsp(pc: int, offset: int) -> Row:
    return Row(pc, RowKind.RSP, offset)


def none(pc: int) -> Row:
    return Row(pc, RowKind.NONE)


TO_16 = b"\x44\x0e\x10"  # advance_loc 4; def_cfa_offset 16
TO_16_AND_8 = TO_16 + b"\x44\x0e\x08"


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        pytest.param([], [none(0)], id="no FDE"),
        pytest.param([(0x1000, 16, b"")], [rsp(0, 8), none(16)], id="at the very start"),
        pytest.param([(0x1010, 16, b"")], [none(0), rsp(16, 8), none(32)], id="after a gap"),
        pytest.param(
            [(0x1010, 16, TO_16)],
            [none(0), rsp(16, 8), rsp(20, 16), none(32)],
            id="a change inside",
        ),
        pytest.param(
            [(0x1000, 16, TO_16_AND_8), (0x1010, 16, b"")],
            [rsp(0, 8), rsp(4, 16), rsp(8, 8), none(32)],
            id="neighbours with the same rule are one row",
        ),
        pytest.param(
            [(0x1010, 16, b""), (0x1000, 8, b"")],
            [rsp(0, 8), none(8), rsp(16, 8), none(32)],
            id="in any order",
        ),
        pytest.param(
            [(0x1000, 16, TO_16), (0x1008, 16, b"")],
            [rsp(0, 8), rsp(4, 16), rsp(8, 8), none(24)],
            id="overlap: who starts later wins",
        ),
        pytest.param(
            [(0x1000, 16, b""), (0x1000, 32, TO_16)],
            [rsp(0, 8), rsp(4, 16), none(32)],
            id="the same start: the longer one",
        ),
        pytest.param(
            [(0x1000, 32, TO_16), (0x1000, 16, b"")],
            [rsp(0, 8), rsp(4, 16), none(32)],
            id="the same start: the longer one, in any order",
        ),
        pytest.param(
            [(0x1000, 32, b"\x50\x0e\x10"), (0x1008, 4, b"")],
            [rsp(0, 8), none(12)],
            id="overlap: behind the inner one the outer does not come back",
        ),
        pytest.param(
            [(0x1000, 4, TO_16)],
            [rsp(0, 8), none(4)],
            id="a change at its own end is dropped",
        ),
        pytest.param(
            [(0x1FF0, 32, b"\x54\x0e\x10")],
            [none(0), rsp(0xFF0, 8)],
            id="a change beyond the end of the code is dropped",
        ),
        pytest.param(
            [(0x1000, 16, b"\x0a" * 64 + b"\x0b" * 64)],
            [rsp(0, 8), none(16)],
            id="many states are remembered",
        ),
        pytest.param(
            [(0x1000, 16, b"\x0a" * 65 + b"\x0b" * 65)],
            [none(0)],
            id="too many states are remembered: broken",
        ),
        pytest.param(
            [(0x1000, 8, b"\x50\x0e\x10")],
            [rsp(0, 8), none(8)],
            id="a change behind its own end is dropped",
        ),
        pytest.param(
            [(0x1000, 16, b"\x44\x44\x0e\x08\x44")],
            [rsp(0, 8), none(16)],
            id="advancing without a change makes no row",
        ),
        pytest.param(
            [(0x1000, 16, b"\x0e\x10\x40\x0e\x18")],
            [rsp(0, 24), none(16)],
            id="advancing by nothing makes no row",
        ),
        pytest.param(
            [(0x1FF0, 32, TO_16)],
            [none(0), rsp(0xFF0, 8), rsp(0xFF4, 16)],
            id="beyond the end of the code: cut",
        ),
        pytest.param(
            [(0x0FF0, 16, b""), (0x2000, 16, b""), (0, 16, b"")],
            [none(0)],
            id="outside of the code: left out",
        ),
        pytest.param(
            [(0x1000, 16, b""), (0x1004, 4, b"\x3f")],
            [rsp(0, 8), none(16)],
            id="a broken one does not cut a sound one",
        ),
        pytest.param(
            [(0x1000, 0, b""), (0x1010, 16, b"")],
            [none(0), rsp(16, 8), none(32)],
            id="an empty one",
        ),
        pytest.param(
            [(0x1000, 16, b"\x04\xff\xff\xff\xff" * 2)],
            [none(0)],
            id="advancing beyond 4 GiB: broken",
        ),
        pytest.param(
            [(0x1000, 16, b"\x0e" + b"\x80" * 32)],
            [none(0)],
            id="a number without an end: broken",
        ),
        pytest.param(
            [(0x1000, 16, b"\x0f\x7f\x77")],
            [none(0)],
            id="an expression that breaks off: broken",
        ),
        pytest.param(
            [(0x1000, 16, b"\0\0\0\x04\xff")],
            [none(0)],
            id="an instruction that breaks off: broken",
        ),
    ],
)
def test_rows_of_a_section(parts: list[tuple[int, int, bytes]], expected: list[Row]) -> None:
    assert rules(section(*parts)) == expected


FIRST = fde(len(cie()), 0x1000, 16, b"")


@pytest.mark.parametrize(
    ("data", "known"),
    [
        pytest.param(cie() + FIRST, True, id="sound"),
        pytest.param(
            cie() + bytes(4) + fde(len(cie()) + 4, 0x1000, 16, b""), True, id="a terminator"
        ),
        pytest.param(
            cie()
            + struct.pack("<IQ", 0xFFFFFFFF, 4)
            + bytes(4)
            + fde(len(cie()) + 16, 0x1000, 16, b""),
            True,
            id="an entry of extended length is passed over",
        ),
        pytest.param(
            cie(augmentation=b"zRS") + fde(len(cie(augmentation=b"zRS")), 0x1000, 16, b""),
            False,
            id="a signal's frame without a ucontext",
        ),
        pytest.param(cie()[:9] + b"zQ" + cie()[11:] + FIRST, False, id="an unknown augmentation"),
        pytest.param(cie()[:8] + b"\x02" + cie()[9:] + FIRST, False, id="an unknown version"),
        pytest.param(cie().replace(b"\x78\x10", b"\x78\x11") + FIRST, False, id="not x86-64's rip"),
        pytest.param(
            cie().replace(b"\x01\x1b", b"\x01\x9b") + FIRST, False, id="indirect pointers"
        ),
        pytest.param(
            cie(b"\x3f") + fde(len(cie(b"\x3f")), 0x1000, 16, b""), False, id="a broken CIE"
        ),
        pytest.param(
            cie() + entry(struct.pack("<Iii", 0x999, 0, 9) + b"\0"), False, id="no such CIE"
        ),
        pytest.param(cie() + FIRST[:-1], False, id="the section breaks off"),
        pytest.param(cie() + struct.pack("<IQ", 0xFFFFFFFF, 1 << 63) + FIRST, False, id="too long"),
    ],
)
def test_entries(data: bytes, known: bool) -> None:
    assert any(row.kind is not RowKind.NONE for row in rules(data)) == known


def test_restore_goes_back_to_what_the_cie_said() -> None:
    head = cie(b"\x0c\x07\x08\x90\x01\x86\x02")
    data = head + fde(len(head), 0x1000, 16, b"\x08\x06\x44\xc6")
    assert rules(data) == [rsp(0, 8), Row(4, RowKind.RSP, 8, -16), none(16)]


def test_advances_count_in_units_of_the_code_alignment() -> None:
    head = cie().replace(b"\x01\x78\x10", b"\x02\x78\x10")
    assert rules(head + fde(len(head), 0x1000, 16, TO_16)) == [rsp(0, 8), rsp(8, 16), none(16)]


def test_a_signal_frame_beside_a_plain_one_with_the_same_rules() -> None:
    ucontext = b"\x0c\x07\x08\x90\x01\x10\x10\x03\x77\xa8\x01"  # rip at rsp + 168
    plain, signal = cie(ucontext), cie(ucontext, augmentation=b"zRS")
    data = plain + fde(len(plain), 0x1000, 16, b"\x44")
    at = len(data) + len(signal)
    body = struct.pack("<IiI", len(signal) + 4, 0x1010 - (SECTION_AT + at + 8), 16) + b"\0\x44"
    data += signal + entry(body)
    assert rules(data) == [none(0), Row(16, RowKind.SIGNAL), none(32)]


def test_a_personality_and_a_language_area_are_passed_over() -> None:
    body = b"\x01zPLR\0\x01\x78\x10" + b"\x07" + b"\x9b\1\2\3\4" + b"\xff" + b"\x1b"
    head = entry(struct.pack("<I", 0) + body + b"\x0c\x07\x08\x90\x01")
    start = struct.pack("<IiI", len(head) + 4, 0x1000 - (SECTION_AT + len(head) + 8), 16)
    assert rules(head + entry(start + b"\x04\x0e\x0f\x0e\x0f" + TO_16)) == [
        rsp(0, 8),
        rsp(4, 16),
        none(16),
    ]


def test_an_augmentation_length_of_two_bytes() -> None:
    start = struct.pack("<IiI", len(cie()) + 4, 0x1000 - (SECTION_AT + len(cie()) + 8), 16)
    assert rules(cie() + entry(start + b"\x81\x00\xff" + TO_16)) == [
        rsp(0, 8),
        rsp(4, 16),
        none(16),
    ]


def test_the_page_index_covers_the_code_from_a_page_boundary() -> None:
    data = section((CODE_AT + 0x40, 16, b""))
    table = compile_table(Elf(memoryview(elf_image(data, code_size=0x1234)), "case"))
    assert table.base == CODE_AT
    assert len(table.pages) // 8 == 0x13
    assert find_row(table, CODE_AT + 0x44) == rsp(0x40, 8)
    assert find_row(table, CODE_AT + 0x12FF) == none(0x50)
    assert find_row(table, CODE_AT + 0x1300) is None


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(elf_image(None), id="no .eh_frame"),
        pytest.param(elf_image(b""), id="an empty .eh_frame"),
        pytest.param(elf_image(cie()), id="no FDE"),
        pytest.param(elf_image(section((0x9000, 16, b""))), id="no FDE for this code"),
        pytest.param(elf_image(section((0x1000, 16, b"")), executable=False), id="no code"),
        pytest.param(elf_image(section((0x1000, 16, b"")), machine=183), id="another machine"),
        pytest.param(
            elf_image(section((0x1000, 16, b"")), code_size=1 << 40), id="a terabyte of code"
        ),
        pytest.param(b"\x7fELF", id="breaks off"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_a_file_without_rules_is_refused(image: bytes) -> None:
    with pytest.raises(BadElf):
        compile_vdso(image)


def test_a_sound_image_is_compiled() -> None:
    """The images of the test above are refused for what they lack, not for how they are made."""
    assert compile_vdso(elf_image(section((0x1000, 16, b"")))).base == CODE_AT


instructions = st.binary(max_size=60)


@settings(max_examples=300, deadline=1000)
@given(st.binary(max_size=400))
def test_any_bytes_as_eh_frame_are_compiled_or_refused(data: bytes) -> None:
    try:
        compile_vdso(elf_image(data))
    except BadElf:
        return


@settings(max_examples=500, deadline=1000)
@given(
    st.lists(
        st.tuples(st.integers(0xFF0, 0x2010), st.integers(0, 0x2000), instructions), max_size=8
    ),
    instructions,
)
def test_any_instructions_give_a_table_that_can_be_searched(
    parts: list[tuple[int, int, bytes]], initial: bytes
) -> None:
    data = cie(b"\x0c\x07\x08\x90\x01" + initial)
    for start, size, code in parts:
        data += fde(len(data), start, size, code)
    found = rules(data)
    assert found[0].pc == 0
    assert [row.pc for row in found] == sorted({row.pc for row in found})
    assert all(a[1:] != b[1:] for a, b in pairwise(found))
    assert found[-1].pc <= 0x1000


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(bytes(1 << 20), id="a megabyte of terminators"),
        pytest.param(
            cie() + fde(len(cie()), 0x1000, 0x1000, b"\x0a" * (1 << 19)), id="remember_state"
        ),
        pytest.param(
            cie() + fde(len(cie()), 0x1000, 0x1000, b"\x0e\x80" * (1 << 18)), id="numbers"
        ),
        pytest.param(
            cie() + fde(len(cie()), 0x1000, 0x1000, b"\x41\x0e\x10\x41\x0e\x08" * (1 << 17)),
            id="rows",
        ),
        pytest.param(section(*[(0x1000, 0x1000, b"")] * 30000), id="one function 30,000 times"),
        pytest.param(cie(b"\x0a" * 1000) * 800, id="CIEs"),
    ],
)
def test_hostile_sections_cost_linear_time(data: bytes) -> None:
    """All take well below a second; a quadratic parser needs minutes for any of them."""
    start = time.process_time()
    rules(data)
    assert time.process_time() - start < 5
