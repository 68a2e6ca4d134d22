"""In which order the files of a process are read, and that a reader goes on by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any, cast

import pytest

from mixstack.record import file_queue
from mixstack.record.file_queue import FileQueue, Reader
from mixstack.record.modules import ModuleRegistry
from mixstack.target.maps import MapLine
from mixstack.target.process import TargetProcess

SIZES = {"exe": 50, "libpython": 400, "small": 10, "large": 900, "known": 1}
PROCESS = TargetProcess(1, None, ())


def line(name: str) -> MapLine:
    start = 0x10000 * list(SIZES).index(name)
    return MapLine(start, start + SIZES[name], "r-xp", 0, 1, start + 1, f"/lib/{name}")


class Registry:
    """Notes what is read."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def knows(self, mapped: MapLine) -> bool:
        return mapped.path == "/lib/known"

    def find(self, _process: TargetProcess, mapped: MapLine) -> None:
        self.read.append(mapped.path.removeprefix("/lib/"))


class SlowRegistry(Registry):
    """One whose reader stops at each file until it is let go on."""

    def __init__(self) -> None:
        super().__init__()
        self.may_read: dict[str, Event] = {name: Event() for name in SIZES}
        self.fails = ""

    def find(self, process: TargetProcess, mapped: MapLine) -> None:
        name = mapped.path.removeprefix("/lib/")
        assert self.may_read[name].wait(10)
        if name == self.fails:
            raise RuntimeError(name)
        super().find(process, mapped)


@pytest.mark.parametrize(
    ("first", "wanted", "order"),
    [
        pytest.param([], [], "small exe libpython large", id="the smallest first"),
        pytest.param(
            ["libpython", "exe"], [], "exe libpython small large", id="what may be a Python first"
        ),
        pytest.param(
            ["exe"], ["large"], "large exe small libpython", id="where a walk died before all"
        ),
    ],
)
def test_the_order(first: list[str], wanted: list[str], order: str) -> None:
    registry = Registry()
    files = FileQueue(cast("ModuleRegistry", cast(Any, registry)), None)
    files.fill(tuple(map(line, SIZES)), [line(name) for name in first])
    while files:
        assert files.step(PROCESS, [line(name).start for name in wanted])
    assert registry.read == order.split()


class Case:
    """A queue with a reader of its own, and what that has said."""

    def __init__(self, executor: ThreadPoolExecutor, *names: str) -> None:
        self.registry = SlowRegistry()
        self.read = Event()
        self.said = 0
        self._reader = Reader(executor, self._say)
        self.files = self.queue(*names)

    def queue(self, *names: str) -> FileQueue:
        files = FileQueue(cast("ModuleRegistry", cast(Any, self.registry)), self._reader)
        files.fill(tuple(map(line, names)), [])
        return files

    def let(self, *names: str) -> None:
        for name in names:
            self.registry.may_read[name].set()

    def wait(self, condition: Callable[[], bool]) -> None:
        while not condition():
            assert self.read.wait(10)
            self.read.clear()

    def _say(self) -> None:
        self.said += 1
        self.read.set()


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=1) as executor:
        yield executor


def test_the_reader_goes_on_by_itself(executor: ThreadPoolExecutor) -> None:
    case = Case(executor, "small", "exe", "large")
    assert not case.files.step(PROCESS, [])
    case.let("small", "exe", "large")
    case.wait(lambda: case.said == 3)
    assert case.registry.read == ["small", "exe", "large"]
    assert case.files  # that they have been read is news still
    assert case.files.step(PROCESS, [])
    assert not case.files


def test_a_file_that_is_wanted_meanwhile_is_the_next(executor: ThreadPoolExecutor) -> None:
    case = Case(executor, "small", "exe", "libpython", "large")
    case.files.step(PROCESS, [])
    case.files.step(PROCESS, [line("large").start])
    case.let(*SIZES)
    case.wait(lambda: case.said == 4)
    assert case.registry.read == ["small", "large", "exe", "libpython"]


def test_processes_have_their_turn(executor: ThreadPoolExecutor) -> None:
    case = Case(executor, "small", "exe")
    case.files.step(PROCESS, [])
    other = case.queue("large", "libpython")
    other.step(PROCESS, [])
    case.let(*SIZES)
    case.wait(lambda: case.said == 4)
    assert case.registry.read == ["small", "libpython", "exe", "large"]


def test_a_forked_process_reads_also_what_is_being_read(executor: ThreadPoolExecutor) -> None:
    case = Case(executor, "small", "exe")
    case.files.step(PROCESS, [])
    child = case.files.copy()
    case.let(*SIZES)
    case.wait(lambda: case.said == 2)
    child.step(PROCESS, [])
    case.wait(lambda: case.said == 4)
    assert sorted(case.registry.read) == ["exe", "exe", "small", "small"]


def test_another_program_meanwhile(executor: ThreadPoolExecutor) -> None:
    case = Case(executor, "small", "exe")
    case.files.step(PROCESS, [])
    case.files.clear()
    case.files.fill((line("small"), line("large")), [])
    case.let(*SIZES)
    case.wait(lambda: case.said == 2)
    assert case.registry.read == ["small", "large"]


def test_a_failure_is_no_secret(executor: ThreadPoolExecutor) -> None:
    case = Case(executor, "small", "exe")
    case.registry.fails = "small"
    case.files.step(PROCESS, [])
    case.let(*SIZES)
    case.wait(lambda: case.said == 2)
    with pytest.raises(RuntimeError, match="small"):
        case.files.step(PROCESS, [])
    assert case.registry.read == ["exe"]


def test_waiting_is_for_one_file(executor: ThreadPoolExecutor) -> None:
    case = Case(executor, "small", "exe")
    case.files.step(PROCESS, [])
    case.let("small")
    case.files.wait()
    assert case.registry.read == ["small"]
    case.let("exe")
    while case.files:
        case.files.step(PROCESS, [])
        case.files.wait()
    assert case.registry.read == ["small", "exe"]


@pytest.mark.parametrize("search", [True, False])
def test_an_interpreter_is_looked_for_where_none_is_known(
    search: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str] = []
    monkeypatch.setattr(file_queue, "read_ahead", lambda path, search: looked_at.append(path))
    files = FileQueue(cast("ModuleRegistry", cast(Any, Registry())), None)
    files.fill((line("small"),), [])
    files.step(PROCESS, [], search)
    assert bool(looked_at) == search
