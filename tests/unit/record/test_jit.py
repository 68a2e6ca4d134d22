"""The book of a real process: its map is found, and what samples met of it is told once."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from mixstack.record.children import child_pids
from mixstack.record.jit import JitBook
from mixstack.target.maps import MapLine
from mixstack.target.process import TargetProcess
from tests.live.harness import Target, running
from tests.unit.record.test_jit_dump import CODE_SIZE, HEAD, UNWINDING, code

PROGRAM = "print('ready', flush=True)\nwhile True: pass"


class Case:
    def __init__(self, target: Target) -> None:
        self.notes: list[str] = []
        self.path = Path(f"/tmp/perf-{target.pid}.map")
        self.book = JitBook(TargetProcess.open(target.pid), self.notes.append)

    def write(self, text: str) -> None:
        with self.path.open("a") as file:
            file.write(text)
        self.book._looked_ns = 0
        self.book.look()

    def told(self, *addresses: int, last: bool = False) -> list[str | None]:
        return [symbol.name for symbol in self.book.new_symbols(addresses, last=last)]


@pytest.fixture
def case() -> object:
    with running([sys.executable, "-c", PROGRAM]) as target:
        found = Case(target)
        yield found
        found.book.close()
        found.path.unlink(missing_ok=True)


def test_only_what_was_met_is_told_and_once(case: Case) -> None:
    case.write("100000 10 f\n200000 10 g\n")
    assert case.told(0x100005) == ["f"]
    assert case.told(0x100005, 0x100006) == []
    assert case.told(0x200000) == ["g"]


def test_an_address_that_was_met_and_gets_another_name(case: Case) -> None:
    case.write("100000 10 f\n")
    assert case.told(0x100005) == ["f"]
    case.write("100000 8 g\n")
    assert case.told() == ["g"]
    case.write("1 10000000 everything\n")
    assert case.told() == ["everything"]


def test_an_address_that_is_named_later(case: Case) -> None:
    assert case.told(0x100005) == []
    case.write("100000 10 f\n")
    assert case.told() == ["f"]


def test_at_the_end_all_is_read(case: Case) -> None:
    with case.path.open("a") as file:
        file.writelines(f"{0x100000 + 16 * n:x} 10 f{n}\n" for n in range(150_000))
    assert case.told(0x100000 + 16 * 149_999, last=True) == ["f149999"]
    assert case.notes == []


def test_what_is_odd_is_said_once(case: Case) -> None:
    case.write("odd\n")
    case.write("odd\n")
    assert len(case.notes) == 1
    assert str(case.path) in case.notes[0]


def test_a_dump_says_how_to_unwind_the_code_of_a_mapping(case: Case, tmp_path: Path) -> None:
    path = tmp_path / f"jit-{case.book._process.pid}.dump"
    path.write_bytes(HEAD + UNWINDING + code(start=0x1000))
    info = path.stat()
    case.book.look_for_dumps(
        [MapLine(0x7000, 0x8000, "r-xp", 0, info.st_dev, info.st_ino, str(path))]
    )
    case.book.look(at_once=True)
    found = case.book.dumped_at(0x1008, (0x1000, 0x1000 + CODE_SIZE))
    assert found is not None
    assert found.frames.start == 0x1000
    for within in ((0x1001, 0x2000), (0x1000, 0x1000 + CODE_SIZE - 1)):
        assert case.book.dumped_at(0x1008, within) is None, "it is not all of one mapping"
    assert case.book.dumped_at(0x1800, (0x1000, 0x2000)) is None


def test_the_map_is_that_of_the_pid_that_the_process_sees() -> None:
    """In a PID namespace of its own it is 1, and its map /tmp/perf-1.map."""
    program = "import os; print(os.getpid(), flush=True)\nwhile True: pass"
    with running(["unshare", "--pid", "--fork", sys.executable, "-c", program], ready="1") as outer:
        (inner,) = child_pids(outer.pid)
        try:
            process = TargetProcess.open(inner)
            assert process.own_pid() == 1
            assert process.user() == os.geteuid()
            assert abs(process.started_unix_s() - time.time()) < 60
            book = JitBook(process, print)
            assert book._map._path == "/tmp/perf-1.map"
            book.close()
        finally:
            os.kill(inner, signal.SIGKILL)
