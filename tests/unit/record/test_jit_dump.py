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
    case.append(record(77, 1, b"?") + load(b"", 0x3000) + load(b"f", 0x1000))
    case.dump.poll(100)
    assert case.said() == [(0x1000, "f", 10, 10)]


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
    whole = HEAD + load(b"f", 0x1000) + move(0x1000, 0x5000, 20) + load(b"g", 0x2000, code=2)
    for number in range(1500):
        data = bytearray(whole)
        for _ in range(source.randrange(1, 5)):
            data[source.randrange(len(data))] = source.randrange(256)
        cut = source.randrange(len(data))
        case = Case(tmp_path / str(number))
        for part in (data[:cut], data[cut:]):
            case.append(part)
            case.dump.poll(100)
        assert len(case.notes) <= 1
        assert len(case.said()) <= 4
        case.dump.close()
        case.path.unlink()
