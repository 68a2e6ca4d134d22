"""A jitdump file that grows, moves code, breaks off or lies."""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path

import pytest

from mixstack.record import jit_dump
from mixstack.record.growing_file import GrowingFile
from mixstack.record.jit_dump import JitDump

HEAD = struct.pack("<IIIIIIQQ", 0x4A695444, 1, 40, 62, 0, 7, 5, 0)
TICKS = struct.pack("<IIIIIIQQ", 0x4A695444, 1, 40, 62, 0, 7, 5, 1)


def record(kind: int, time_ns: int, body: bytes) -> bytes:
    return struct.pack("<IIQ", kind, 16 + len(body), time_ns) + body


def load(name: bytes, start: int, time_ns: int = 10, *, code: int = 1, size: int = 0x10) -> bytes:
    body = struct.pack("<IIQQQQ", 7, 7, start, start, size, code)
    return record(0, time_ns, body + name + b"\0" + bytes(size))


def move(old: int, new: int, time_ns: int, *, code: int = 1, size: int = 0x10) -> bytes:
    return record(1, time_ns, struct.pack("<IIQQQQQ", 7, 7, new, old, new, size, code))


class Case:
    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(b"")
        self.notes: list[str] = []
        file = GrowingFile(os.open(path, os.O_RDONLY))
        self.dump = JitDump(7, "jit-7.dump", file, self.notes.append, 0)

    def append(self, data: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(data)

    def said(self) -> list[tuple[int, str | None, int, int]]:
        entries = self.dump.entries
        symbols = [entries.symbol(n) for n in range(len(entries.index))]
        assert [s.order for s in symbols] == sorted({s.order for s in symbols})
        return [(s.start, s.name, s.after_ns, s.by_ns) for s in symbols]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path / "jit-7.dump")


def test_code_that_is_made_has_its_time(case: Case) -> None:
    case.dump.poll(50)
    case.append(HEAD + load(b"f", 0x1000, 60) + load(b"g", 0x2000, 70)[:-1])
    case.dump.poll(100)
    assert case.said() == [(0x1000, "f", 60, 60)]
    case.append(b"\0")
    case.dump.poll(200)
    assert case.said() == [(0x1000, "f", 60, 60), (0x2000, "g", 70, 70)]
    assert (case.notes, case.dump.behind) == ([], False)


@pytest.mark.parametrize(
    ("head", "time_ns"),
    [
        pytest.param(TICKS, 60, id="the processor's counter"),
        pytest.param(HEAD, 1 << 60, id="another clock"),
        pytest.param(HEAD, 0, id="no time"),
    ],
)
def test_times_that_are_no_times(case: Case, head: bytes, time_ns: int) -> None:
    case.append(head)
    case.dump.poll(50)
    case.append(load(b"f", 0x1000, time_ns))
    case.dump.poll(100)
    assert case.said() == [(0x1000, "f", 50, 100)]


def test_code_that_is_moved_leaves_nothing_behind(case: Case) -> None:
    case.append(HEAD + load(b"f", 0x1000, 10) + move(0x1000, 0x5000, 20))
    case.append(move(0x5000, 0x6000, 30) + move(0x9000, 0xA000, 40, code=99))
    case.dump.poll(100)
    assert case.said() == [
        (0x1000, "f", 10, 10),
        (0x1000, None, 20, 20),
        (0x5000, "f", 20, 20),
        (0x5000, None, 30, 30),
        (0x6000, "f", 30, 30),
        (0x9000, None, 40, 40),
        (0xA000, None, 40, 40),
    ]


def test_records_of_other_kinds_are_passed_over(case: Case) -> None:
    case.append(HEAD + record(2, 1, b"lines") + record(4, 1, bytes(9000)) + record(3, 1, b""))
    case.append(record(77, 1, b"?") + load(b"f", 0x1000))
    case.dump.poll(100)
    assert case.said() == [(0x1000, "f", 10, 10)]


def test_code_without_a_name_takes_the_place_of_what_was_there(case: Case) -> None:
    case.append(HEAD + load(b"f", 0x1000, 10) + load(b"", 0x1000, 20, code=2))
    case.dump.poll(100)
    assert case.said() == [(0x1000, "f", 10, 10), (0x1000, None, 20, 20)]


CODE_SIZE = 0x14  # where .eh_frame is then: 0x18 bytes behind the start
CIE = bytes.fromhex("14000000 00000000 017a5200 01781001 1b0c0708 90010000")
EH_FRAME_HDR = bytes.fromhex("011b033b 00000000 00000000")


def fde(start: int, size: int = CODE_SIZE, *, after: int = 0) -> bytes:
    """Of code at `start` bytes from where perf puts it, `after` bytes behind the CIE."""
    to_start = start - (0x18 + len(CIE) + after + 8)
    program = bytes.fromhex("00 440e30 00000000")
    return struct.pack("<IIiI", 20, len(CIE) + after + 4, to_start, size) + program


FDE = fde(0)
ABSOLUTE = (
    CIE.replace(b"\x1b", b"\x03") + struct.pack("<IIII", 20, 28, 0x1000, CODE_SIZE) + FDE[16:]
)


def unwinding(eh_frame: bytes = CIE + FDE, size: int | None = None, header: int = 12) -> bytes:
    data = eh_frame + EH_FRAME_HDR
    fields = struct.pack("<QQQ", len(data) if size is None else size, header, 0)
    return record(4, 1, fields + data)


def code(name: bytes = b"f", start: int = 0x1000, *, code: int = 1) -> bytes:
    return load(name, start, code=code, size=CODE_SIZE)


UNWINDING = unwinding()
MOVED = move(0x1000, 0x5000, 20, size=CODE_SIZE)
SAID = CIE + FDE


@pytest.mark.parametrize(
    ("data", "address", "eh_frame"),
    [
        pytest.param(UNWINDING + code(), 0x1000, SAID, id="the first byte"),
        pytest.param(UNWINDING + code(), 0x1013, SAID, id="the last byte"),
        pytest.param(UNWINDING + code(), 0x1014, None, id="the byte behind it"),
        pytest.param(UNWINDING + record(2, 1, b"lines") + code(), 0x1000, SAID, id="lines between"),
        pytest.param(
            UNWINDING + code(b"g", 0x2000) + code(code=2), 0x1000, None, id="of the code before"
        ),
        pytest.param(UNWINDING, 0x1000, None, id="no code after it"),
        pytest.param(UNWINDING + code()[:-1], 0x1000, None, id="the code is cut off"),
        pytest.param(UNWINDING + code() + code(b"g", code=2), 0x1000, None, id="other code since"),
        pytest.param(UNWINDING + code() + code(b"", code=2), 0x1000, None, id="nameless since"),
        pytest.param(UNWINDING + code() + MOVED, 0x5000, SAID, id="moved"),
        pytest.param(UNWINDING + code() + MOVED, 0x1000, None, id="where it was before"),
        pytest.param(
            unwinding(ABSOLUTE) + code(), 0x1000, ABSOLUTE, id="absolute addresses"
        ),
        pytest.param(
            unwinding(ABSOLUTE) + code() + MOVED, 0x5000, None, id="absolute addresses, moved"
        ),
        pytest.param(unwinding(b"") + code(), 0x1000, None, id="only .eh_frame_hdr"),
        pytest.param(unwinding(CIE) + code(), 0x1000, None, id="only a CIE"),
        pytest.param(unwinding(CIE + fde(4)) + code(), 0x1000, None, id="it begins later"),
        pytest.param(unwinding(CIE + fde(-4)) + code(), 0x1000, None, id="it begins before"),
        pytest.param(unwinding(CIE + fde(0, 0x15)) + code(), 0x1000, None, id="it is longer"),
        pytest.param(
            unwinding(CIE + FDE + fde(0x10, 5, after=24)) + code(), 0x1000, None,
            id="a second one is longer",
        ),
        pytest.param(
            unwinding(EH_FRAME_HDR + SAID[:-12]) + code(), 0x1000, None, id=".eh_frame_hdr first"
        ),
        pytest.param(unwinding(size=1 << 63) + code(), 0x1000, None, id="an absurd size"),
        pytest.param(unwinding(header=1 << 63) + code(), 0x1000, None, id="an absurd header"),
        pytest.param(unwinding(header=61) + code(), 0x1000, None, id="a header that is all"),
        pytest.param(
            unwinding(SAID + bytes(1 << 16)) + code(), 0x1000, None, id="more than code can need"
        ),
        pytest.param(UNWINDING + code(b"py::f"), 0x1000, None, id="CPython's"),
    ],
)  # fmt: skip
def test_how_code_is_unwound(case: Case, data: bytes, address: int, eh_frame: bytes | None) -> None:
    case.append(HEAD + data)
    case.dump.poll(100)
    found = case.dump.code_at(address)
    assert (found and found.frames.eh_frame) == eh_frame
    assert case.notes == []
    if found is not None:
        start = address & ~0xFF
        assert found.code == bytes(CODE_SIZE)
        assert found.frames[:2] == (start, start + CODE_SIZE)
        assert found.frames.address == start + 0x18


def test_unwind_information_that_breaks_off_is_said(case: Case) -> None:
    case.append(HEAD + record(4, 1, bytes(16)) + code())
    case.dump.poll(100)
    assert case.said() == []
    assert len(case.notes) == 1


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"x" * 40, id="no jitdump file"),
        pytest.param(HEAD[:12] + struct.pack("<I", 183) + HEAD[16:], id="another machine"),
        pytest.param(HEAD[:8] + struct.pack("<I", 3) + HEAD[12:], id="an impossible head"),
        pytest.param(HEAD + struct.pack("<IIQ", 0, 3, 1), id="an impossible record"),
        pytest.param(HEAD + record(0, 1, b"short"), id="a record that is too short"),
        pytest.param(HEAD + record(0, 1, bytes(40) + b"x" * 9000), id="a name without an end"),
    ],
)
def test_what_is_not_understood_is_said_once(case: Case, data: bytes) -> None:
    case.append(data + load(b"f", 0x1000))
    case.dump.poll(100)
    case.dump.poll(200)
    assert case.said() == []
    assert len(case.notes) == 1


def test_a_file_that_is_cut_is_not_read_any_more(case: Case) -> None:
    case.append(HEAD + load(b"f", 0x1000))
    case.dump.poll(100)
    os.truncate(case.path, 40)
    case.dump.poll(200)
    case.append(load(b"g", 0x1000))
    case.dump.poll(300)
    assert [name for _, name, *_ in case.said()] == ["f"]
    assert case.notes == ["jit-7.dump: it was cut; what follows was not read"]


def test_a_huge_file_is_read_in_parts_and_not_to_its_end(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jit_dump, "_RECORDS", 10)
    monkeypatch.setattr(jit_dump, "_RECORDS_MAX", 25)
    case.append(HEAD + b"".join(load(b"f", 0x1000 * n) for n in range(1, 100)))
    found = []
    for now in (100, 200, 300, 400):
        case.dump.poll(now)
        found.append(len(case.said()))
    assert found == [10, 20, 25, 25]
    assert len(case.notes) == 1


def test_fuzzed(tmp_path: Path) -> None:
    source = random.Random(4)
    whole = HEAD + UNWINDING + code() + MOVED + load(b"g", 0x2000, code=2)
    for number in range(1500):
        data = bytearray(whole)
        for _ in range(source.randrange(1, 5)):
            data[source.randrange(len(data))] = source.randrange(256)
        cut = source.randrange(len(data))
        case = Case(tmp_path / str(number))
        for part in (data[:cut], data[cut:]):
            case.append(part)
            case.dump.poll(100)
            case.dump.code_at(0x1000)
            case.dump.code_at(0x5000)
        assert len(case.notes) <= 1
        assert len(case.said()) <= 4
        case.dump.close()
        case.path.unlink()
