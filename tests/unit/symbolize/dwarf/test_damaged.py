"""Damaged and hostile debug information: fewer answers, never a crash, a hang or a huge memory."""

from __future__ import annotations

import struct
import time
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixstack.elf import BadElf, Elf
from mixstack.model import SourceCall
from mixstack.symbolize.dwarf import units
from mixstack.symbolize.dwarf.debug_info import DebugInfo
from mixstack.symbolize.dwarf.encoding import uleb
from mixstack.symbolize.dwarf.sections import BadDwarf, DebugSections, debug_sections
from tests.unit.symbolize.programs import BUILDS, build, functions_of

LONGEST = 2.0  # seconds for one damaged program of 20 KB; undamaged it takes some 20 ms
SECTIONS = [f".debug_{name}" for name in DebugSections._fields]


class Program:
    """A file's bytes, where its debug sections lie, and addresses in it."""

    def __init__(self, path: Path) -> None:
        self.image = path.read_bytes()
        self.addresses = [a for start, end in functions_of(path) for a in range(start, end, 5)]
        self.regions = list(_regions(self.image))

    def answers(self, image: bytes) -> list[tuple[SourceCall, ...]]:
        try:
            elf = Elf(memoryview(image), "image")
            info = DebugInfo(elf, elf.segments)
        except (BadElf, BadDwarf):
            return []
        return [info.calls_at(a) for a in self.addresses]


def _regions(image: bytes) -> list[tuple[int, int]]:
    elf = Elf(memoryview(image), "image")
    found = (elf.section(name) for name in SECTIONS)
    data = [bytes(s.data) for s in found if s is not None and len(s.data)]
    starts = [image.index(d) for d in data]
    return [(at, at + len(d)) for at, d in zip(starts, data, strict=True)]


@pytest.fixture(scope="module", params=["gcc, DWARF 4", "gcc, DWARF 5", "clang, DWARF 5"])
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Program:
    how = next(b for b in BUILDS if b.name == request.param)
    return Program(build(how, tmp_path_factory.mktemp("damaged")))


FUZZ = settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@FUZZ
@given(data=st.data())
def test_changed_bytes(program: Program, data: st.DataObject) -> None:
    image = bytearray(program.image)
    for _ in range(data.draw(st.integers(1, 8))):
        start, end = data.draw(st.sampled_from(program.regions))
        at = data.draw(st.integers(start, end - 1))
        piece = data.draw(st.binary(min_size=1, max_size=4) | st.sampled_from(NASTY))
        image[at : min(at + len(piece), end)] = piece[: end - at]
    begun = time.process_time()
    program.answers(bytes(image))
    assert time.process_time() - begun < LONGEST


NASTY = [b"\xff" * 4, b"\x00" * 4, b"\xff" * 8, b"\x80" * 10, b"\xff" * 9 + b"\x01", b"\x7f"]


@FUZZ
@given(data=st.data())
def test_cut_anywhere(program: Program, data: st.DataObject) -> None:
    program.answers(program.image[: data.draw(st.integers(0, len(program.image)))])


@FUZZ
@given(data=st.data())
def test_a_section_that_breaks_off(program: Program, data: st.DataObject) -> None:
    """The rest is zeros; what is then still said was said before."""
    start, end = data.draw(st.sampled_from(program.regions))
    at = data.draw(st.integers(start, end - 1))
    image = program.image[:at] + bytes(end - at) + program.image[end:]
    program.answers(image)


def test_undamaged_all_is_known(program: Program) -> None:
    assert sum(bool(frames) for frames in program.answers(program.image)) > 50


# --- written by hand --------------------------------------------------------------------------

CODE = (0x1000, 0x2000)


def leb(number: int) -> bytes:
    out = bytearray()
    while True:
        byte, number = number & 0x7F, number >> 7
        out.append(byte | (0x80 if number else 0))
        if not number:
            return bytes(out)


def abbreviation(code: int, tag: int, children: bool, *attributes: tuple[int, int]) -> bytes:
    pairs = b"".join(leb(a) + leb(f) for a, f in attributes)
    return leb(code) + leb(tag) + bytes([children]) + pairs + b"\0\0"


def unit(entries: bytes, version: int = 4) -> bytes:
    body = struct.pack("<HIB", version, 0, 8) + entries
    return struct.pack("<I", len(body)) + body


def image(**sections: bytes) -> bytes:
    """An ELF file with one executable segment and these debug sections."""
    body, headers, names = bytearray(0x100), [bytes(64)], bytearray(b"\0")
    for name, data in {**sections, "shstrtab": b""}.items():
        full = f".debug_{name}" if name != "shstrtab" else ".shstrtab"
        at = len(names)
        names += full.encode() + b"\0"
        content = bytes(names) if name == "shstrtab" else data
        headers.append(struct.pack("<IIQQQQIIQQ", at, 1, 0, 0, len(body), len(content), 0, 0, 1, 0))
        body += content
    table = len(body)
    body += b"".join(headers)
    body[:64] = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack(
        "<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, table, 0, 64, 56, 1, 64, len(headers), len(headers) - 1
    )  # fmt: skip
    size = CODE[1] - CODE[0]
    body[64:120] = struct.pack("<IIQQQQQQ", 1, 5, CODE[0], CODE[0], CODE[0], size, size, 0x1000)
    return bytes(body)


def info_of(**sections: bytes) -> DebugInfo:
    elf = Elf(memoryview(image(**sections)), "image")
    return DebugInfo(elf, elf.segments)


LOW, HIGH, NAME, RANGES = (0x11, 0x01), (0x12, 0x07), (0x03, 0x08), (0x55, 0x17)
ORIGIN, SIBLING = (0x31, 0x13), (0x01, 0x13)
AT_CODE = struct.pack("<QQ", CODE[0], 0x100)
ABBREVIATIONS = b"".join(
    (
        abbreviation(1, 0x11, True, LOW, HIGH),  # a unit
        abbreviation(2, 0x2E, True, LOW, HIGH, NAME),  # a function
        abbreviation(3, 0x1D, True, ORIGIN, LOW, HIGH),  # an inlined call
        abbreviation(4, 0x1D, False, ORIGIN, RANGES),
        abbreviation(5, 0x2E, False, ORIGIN),  # a function that is another
        abbreviation(6, 0x13, True, SIBLING),  # a type
        abbreviation(7, 0x2E, False, LOW, HIGH, ORIGIN),
        b"\0",
    )
)
UNIT_HEADER = 11  # bytes before the first entry
FIRST = UNIT_HEADER + 17  # where the entry behind the unit's own begins


def test_the_smallest_unit() -> None:
    entries = b"\x01" + AT_CODE + b"\x02" + AT_CODE + b"f\0" + b"\0\0"
    found = info_of(info=unit(entries), abbrev=ABBREVIATIONS).calls_at(CODE[0] + 5)
    assert found == (SourceCall("f", None, None),)


def test_code_of_another_file_is_not_covered() -> None:
    entries = b"\x01" + AT_CODE + b"\x02" + AT_CODE + b"f\0" + b"\0\0"
    elf = Elf(memoryview(image(info=unit(entries), abbrev=ABBREVIATIONS)), "image")
    assert DebugInfo(elf, ()).calls_at(CODE[0] + 5) == ()


def test_names_that_refer_to_each_other() -> None:
    one = b"\x07" + AT_CODE + struct.pack("<I", FIRST + 21)
    other = b"\x05" + struct.pack("<I", FIRST)
    entries = b"\x01" + AT_CODE + one + other + b"\0"
    found = info_of(info=unit(entries), abbrev=ABBREVIATIONS).calls_at(CODE[0])
    assert found == (SourceCall(None, None, None),)


def test_a_sibling_that_leads_back() -> None:
    looped = b"\x06" + struct.pack("<I", FIRST) + b"\0"
    entries = b"\x01" + AT_CODE + looped + b"\x02" + AT_CODE + b"f\0" + b"\0\0"
    (frame,) = info_of(info=unit(entries), abbrev=ABBREVIATIONS).calls_at(CODE[0])
    assert frame.function == "f"


def test_a_sibling_that_hides_a_function() -> None:
    """A function that the quick search cannot see is found by the thorough one."""
    function = b"\x02" + AT_CODE + b"f\0" + b"\0"
    hiding = b"\x06" + struct.pack("<I", FIRST + 5 + len(function) + 1) + function + b"\0"
    entries = b"\x01" + AT_CODE + hiding + b"\0"
    (frame,) = info_of(info=unit(entries), abbrev=ABBREVIATIONS).calls_at(CODE[0])
    assert frame.function == "f"


def test_calls_nested_without_end() -> None:
    nested = (b"\x03" + struct.pack("<I", FIRST) + AT_CODE) * 5000
    entries = b"\x01" + AT_CODE + b"\x02" + AT_CODE + b"f\0" + nested + b"\0" * 5002
    info = info_of(info=unit(entries), abbrev=ABBREVIATIONS)
    assert info.calls_at(CODE[0]) == ()
    assert info.problem is not None


def test_one_list_of_ranges_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many entries that share a long list: the unit's share of work is used up, and it ends."""
    monkeypatch.setattr(units, "_MOST_RANGES", 1 << 14)
    ranges = struct.pack("<QQ", CODE[0], CODE[0] + 1) * 10_000 + bytes(16)
    calls = (b"\x04" + struct.pack("<II", FIRST, 0)) * 10_000
    entries = b"\x01" + AT_CODE + b"\x02" + AT_CODE + b"f\0" + calls + b"\0\0"
    begun = time.process_time()
    info = info_of(info=unit(entries), abbrev=ABBREVIATIONS, ranges=ranges)
    assert info.calls_at(CODE[0]) == ()
    assert info.problem is not None
    assert time.process_time() - begun < LONGEST


def test_bytes_that_decompress_without_end() -> None:
    bomb = zlib.compress(bytes(1 << 24))
    header = b"ZLIB" + struct.pack(">Q", 1 << 60)
    data = image(zinfo=header + bomb).replace(b".debug_zinfo", b".zdebug_info")
    with pytest.raises(BadDwarf, match="would have"):
        debug_sections(Elf(memoryview(data), "image"))


@pytest.mark.parametrize("formats", [b"\0", b"\1\3\x19"], ids=["nothing", "a flag without size"])
def test_a_table_of_files_without_end(formats: bytes) -> None:
    """No directories, and more files than there are bytes, each of none."""
    body = bytes([1, 1, 1, 0xFB, 14, 1])  # minimum, operations, is_stmt, base, range, opcode base
    tables = b"\0" + leb(0) + formats + leb(1 << 62) + bytes(8)
    rest = body + tables
    program = struct.pack("<HBBI", 5, 8, 0, len(rest)) + rest
    line = struct.pack("<I", len(program)) + program
    abbrev = abbreviation(1, 0x11, True, LOW, HIGH, (0x10, 0x17)) + b"\0"
    entries = b"\x01" + AT_CODE + struct.pack("<I", 0) + b"\0"
    assert info_of(info=unit(entries), abbrev=abbrev, line=line).calls_at(CODE[0]) == ()


@given(st.binary(max_size=12), st.integers(0, 14))
def test_numbers(data: bytes, at: int) -> None:
    """As the definition has it: seven bits a byte, the least first; the last has no high bit."""
    end = next((i for i in range(at, min(len(data), at + 10)) if data[i] < 0x80), None)
    if end is None:
        with pytest.raises(BadDwarf):
            uleb(memoryview(data), at)
        return
    value = sum((byte & 0x7F) << 7 * i for i, byte in enumerate(data[at : end + 1]))
    assert uleb(memoryview(data), at) == (value, end + 1)
