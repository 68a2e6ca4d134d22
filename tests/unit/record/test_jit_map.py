"""A perf map that grows, is cut, replaced, or is none of the target's."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mixstack.jit.model import JitSource, JitSymbol
from mixstack.record import jit_entries, jit_map
from mixstack.record.growing_file import GrowingFile, open_of
from mixstack.record.jit_map import PerfMap

PID = 7


class Case:
    """A root folder with a /tmp, and what is read of the map in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "tmp").mkdir()
        self.path = root / "tmp" / "perf-7.map"
        self.notes: list[str] = []
        self.users = {os.geteuid()}
        self.since = 0.0
        self.map = PerfMap(PID, "/tmp/perf-7.map", self._open, self._note)

    def _open(self) -> GrowingFile:
        return open_of(str(self.root), "/tmp/perf-7.map", self.users, self.since)

    def _note(self, what: str) -> None:
        if what not in self.notes:  # as the session's book does
            self.notes.append(what)

    def append(self, text: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(text)

    def poll(self, now_ns: int) -> None:
        self.map.poll(now_ns)

    def symbols(self) -> list[JitSymbol]:
        entries = self.map.entries
        return [entries.symbol(n) for n in range(len(entries.index))]

    def said(self) -> list[tuple[int, int, str | None, int, int]]:
        return [(s.start, s.end, s.name, s.after_ns, s.by_ns) for s in self.symbols()]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_lines_have_the_window_in_which_they_were_written(case: Case) -> None:
    case.poll(50)
    assert case.said() == []
    case.append(b"1000 10 f\n")
    case.poll(100)
    case.append(b"1000 20 g\n2000 5 ")
    case.poll(200)
    case.poll(300)
    case.append(b"h\n")
    case.poll(400)
    assert case.said() == [
        (0x1000, 0x1010, "f", 0, 100),
        (0x1000, 0x1020, "g", 100, 200),
        (0x2000, 0x2005, "h", 300, 400),
    ]
    orders = [s.order for s in case.symbols()]
    assert orders == sorted(set(orders))
    assert case.notes == []


def test_a_window_is_that_of_the_writing_not_of_the_reading(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jit_map, "_PIECES", 1)
    monkeypatch.setattr("mixstack.record.growing_file._PIECE", 10)
    case.map.poll(100, 1)
    case.append(b"1000 10 f\n1100 10 g\n1200 10 h\n")
    case.map.poll(200, 1)
    case.append(b"1300 10 i\n")
    for now in (300, 400, 500, 600):
        case.map.poll(now, 1)
    assert [(name, by) for _, _, name, _, by in case.said()] == [
        ("f", 200),
        ("g", 200),
        ("h", 200),
        ("i", 300),
    ]
    assert not case.map.behind


def test_a_map_that_is_cut_is_read_from_its_start(case: Case) -> None:
    case.append(b"1000 10 old\n1100 10 older\n")
    case.poll(100)
    before = case.symbols()
    case.path.write_bytes(b"2000 10 new\n")
    case.poll(200)
    assert [s.name for s in case.symbols()] == ["new"]
    assert case.symbols()[0].order > max(s.order for s in before)


def test_a_map_in_the_place_of_another(case: Case) -> None:
    case.append(b"1000 10 old\n1100 10 older\n")
    case.poll(100)
    before = case.symbols()
    case.path.rename(case.path.with_suffix(".away"))
    case.append(b"2000 10 new\n")
    case.poll(200)
    assert [s.name for s in case.symbols()] == ["new"]
    assert case.symbols()[0].order > max(s.order for s in before)


def test_a_map_whose_name_is_gone_is_read_to_its_end(case: Case) -> None:
    case.append(b"1000 10 f\n")
    case.poll(100)
    with case.path.open("ab") as file:
        case.path.unlink()
        file.write(b"2000 10 g\n")
    case.poll(200)
    assert [s.name for s in case.symbols()] == ["f", "g"]


def _fifo(case: Case) -> None:
    os.mkfifo(case.path)


def _link(case: Case) -> None:
    (case.root / "elsewhere").write_bytes(b"1000 10 f\n")
    case.path.symlink_to(case.root / "elsewhere")


def _folder(case: Case) -> None:
    case.path.mkdir()


def _foreign(case: Case) -> None:
    case.append(b"1000 10 f\n")
    case.users = {12345}


@pytest.mark.parametrize(
    ("make", "why"),
    [
        pytest.param(_fifo, "it is not a regular file", id="a pipe"),
        pytest.param(_link, "it is not a regular file", id="a link"),
        pytest.param(_folder, "it is not a regular file", id="a folder"),
        pytest.param(_foreign, f"it belongs to user {os.geteuid()}", id="another user's"),
    ],
)
def test_what_is_not_believed_is_said_once(
    case: Case, make: Callable[[Case], None], why: str
) -> None:
    make(case)
    case.poll(100)
    case.poll(200)
    assert case.said() == []
    assert case.notes == [f"/tmp/perf-7.map: {why}; it was not read"]


def test_the_map_of_an_earlier_process_with_its_pid_is_not_read(case: Case) -> None:
    case.append(b"1000 10 f\n")
    case.since = time.time() + 100
    case.poll(100)
    assert (case.said(), case.notes) == ([], [])


def test_the_folder_may_be_a_link_inside_of_the_root(case: Case) -> None:
    (case.root / "tmp").rmdir()
    (case.root / "var").mkdir()
    (case.root / "tmp").symlink_to("/var")
    (case.root / "var" / "perf-7.map").write_bytes(b"1000 10 f\n")
    case.poll(100)
    assert [s.name for s in case.symbols()] == ["f"]


def test_odd_lines_are_left_out_and_said_once(case: Case) -> None:
    case.append(b"nonsense\n1000 10 f\n0 10 null\n1000 0 empty\nffffffffffffffff 10 far\n")
    case.poll(100)
    case.append(b"nonsense\n")
    case.poll(200)
    assert [s.name for s in case.symbols()] == ["f"]
    assert case.notes == ["/tmp/perf-7.map: some of its lines name no code and were left out"]


def test_of_a_huge_map_the_newest_lines_count(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit_entries, "ENTRIES_MAX", 1000)
    monkeypatch.setattr(jit_map, "_TAIL", 100_000)
    case.append(b"".join(b"%x 10 f%d\n" % (0x1000 + 16 * n, n) for n in range(20_000)))
    now = 100
    case.poll(now)
    while case.map.behind:
        now += 100
        case.poll(now)
    names = [s.name for s in case.symbols()]
    assert 300 < len(names) <= 1000
    assert names == [f"f{n}" for n in range(20_000 - len(names), 20_000)]
    assert case.notes == [
        "/tmp/perf-7.map: it is so large that only the newest code in it is named"
    ]


def test_a_gigabyte_of_nothing(case: Case) -> None:
    case.append(b"1000 10 f\n")
    os.truncate(case.path, 1 << 30)
    case.append(b"\n2000 10 g\n")
    case.poll(100)
    while case.map.behind:
        case.poll(200)
    assert [s.name for s in case.symbols()] == ["g"]
    assert len(case.notes) == 1


def test_all_is_one_source(case: Case) -> None:
    case.append(b"1000 10 f\n")
    case.poll(100)
    assert {(s.pid, s.source) for s in case.symbols()} == {(PID, JitSource.MAP)}
