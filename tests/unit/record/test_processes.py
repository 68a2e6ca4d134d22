"""Who is followed, and what becomes of them, with followers that only note what they are asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import pytest

from mixstack.bpf.ring import Drained
from mixstack.bpf.wire import Life, Record, SampleFlag
from mixstack.errors import NoSuchProcess
from mixstack.model import Process
from mixstack.record import processes
from mixstack.record.follow import SETTLING_S, Follower
from mixstack.record.processes import Processes
from mixstack.record.shared import Shared

ASKING = int(SampleFlag.NEW_MAPPING)


class FakeFollower:
    """Of a process that lives as long as `lives` says."""

    def __init__(self, pid: int, family: int | None = None) -> None:
        self.process = SimpleNamespace(pid=pid, alive=lambda: self.lives)
        self.lives = True
        self.family = family or pid
        self.layout: str | None = f"layout of {pid}"
        self.version = None
        self.settling = self.busy = False
        self.jit, self.names = SimpleNamespace(lively=False), SimpleNamespace(lively=False)
        self.read_at = 0.0
        self.done: list[str] = []

    def refresh(self, asked: bool) -> bool:
        self.done.append("asked" if asked else "look")
        return False

    def read_next(self, _wanted: object) -> None: ...

    def forked(self, pid: int, _time_ns: int) -> FakeFollower:
        return FakeFollower(pid, self.family)

    def become(self, time_ns: int) -> None:
        self.done.append(f"become at {time_ns}")
        self.family = self.process.pid

    def announce(self, reread: bool = True) -> None:
        self.done.append("announce" if reread else "announce as it was")

    def finish(self) -> None:
        self.done.append("finish")

    def forget(self) -> None:
        self.done.append("forget")


@dataclass
class Case:
    removed: list[int] = field(default_factory=list)
    changed: list[int] = field(default_factory=list)
    written: list[Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        shared = SimpleNamespace(
            probe=SimpleNamespace(remove_process=self.removed.append),
            listener=SimpleNamespace(process=self.written.append),
        )
        self.all = Processes(
            cast(Shared, shared), lambda follower: self.changed.append(follower.process.pid)
        )
        self.first = FakeFollower(7)
        self.all.add(cast(Follower, self.first))

    def attend(self, *lives: Life, codes: int = 0, **samples: int) -> None:
        """samples: "p7=flags": process 7 was sampled, with these flags."""
        flags = {int(name[1:]): value for name, value in samples.items()}
        counts = dict.fromkeys(flags, 1)
        self.all.attend(Drained(b"", [b""] * codes, list(lives), counts, flags, {}))

    def at(self, pid: int) -> FakeFollower:
        found = self.all.get(pid)
        assert found is not None
        return cast(FakeFollower, found)


def fork(pid: int, parent: int = 7) -> Life:
    return Life(record=Record.FORK, pid=pid, parent=parent)


def test_a_child_is_followed_and_announced_once_it_is_sampled() -> None:
    case = Case()
    case.attend(fork(8))
    assert case.at(8).family == 7
    assert case.at(8).done == []
    case.attend(p8=0)
    assert case.at(8).done == ["announce", "look"]


def test_a_child_of_a_stranger_is_none_of_ours() -> None:
    case = Case()
    case.attend(fork(8, parent=99))
    assert case.all.get(8) is None


def test_a_program_that_is_another_now() -> None:
    case = Case()
    case.attend(fork(8))
    case.attend(Life(record=Record.EXEC, pid=8, time_ns=5), p8=0)
    assert case.at(8).done == ["announce as it was", "become at 5", "announce", "look"]
    assert case.changed == [8]


def test_the_ended_are_dropped_when_their_last_samples_are_known() -> None:
    case = Case()
    case.attend(fork(8), fork(9))
    case.attend(Life(record=Record.EXIT, pid=8), p8=0)
    ended, never_sampled = case.at(8), case.at(9)
    case.all.drop_ended()
    assert case.removed == [8]
    assert case.all.get(8) is not None
    case.attend(p8=0)  # taken before the probe forgot it
    case.all.drop_ended()
    assert case.all.get(8) is None
    assert ended.done[-2:] == ["finish", "forget"]
    assert case.changed == [8]
    never_sampled.lives = False
    for _ in range(3):
        case.all.drop_ended()
    assert case.all.get(9) is None
    assert never_sampled.done == ["forget"]


def test_a_pid_that_is_used_again_is_another_process() -> None:
    case = Case()
    case.attend(fork(8))
    before = case.at(8)
    case.attend(Life(record=Record.EXIT, pid=8), fork(8))
    assert case.at(8) is not before
    assert before.done == ["forget"]
    case.all.drop_ended()
    assert case.removed == []


def test_what_cannot_be_looked_at_is_tried_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def refuse(pid: int) -> object:
        tried.append(pid)
        raise NoSuchProcess(f"there is no process {pid}")

    monkeypatch.setattr(processes.TargetProcess, "open", refuse)
    case = Case()
    for _ in range(3):
        case.attend(p4194305=0)
    assert tried == [4194305]
    assert [(p.pid, p.note) for p in case.written] == [(4194305, "there is no process 4194305")]
    monkeypatch.setattr(processes, "_STRANGE_S", 0.0)
    case.attend(p4194305=0)
    assert len(tried) == 2


def test_asking_in_vain_is_heard_less_and_less(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(processes.time, "monotonic", lambda: now[0])
    case = Case()
    for _ in range(400):
        case.attend(p7=ASKING)
        now[0] += SETTLING_S
    looks = case.first.done.count("asked")
    assert 8 <= looks <= 16  # in 4 s


def test_the_layout_of_its_own_program_comes_first() -> None:
    case = Case()
    case.attend(fork(8))
    assert case.all.interpreter(8, 7) == ("layout of 8", None)
    case.at(8).layout = None
    assert case.all.interpreter(8, 7) == ("layout of 7", None)  # its family's
    assert case.all.interpreter(99, 7) == ("layout of 7", None)  # not heard of yet
    assert case.all.interpreter(7, 99) is None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(processes.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize("settling", [True, False], ids=["settling", "files to read"])
def test_patience_while_something_is_to_be_done(settling: bool, clock: list[float]) -> None:
    case = Case()
    clock[0] += 60
    case.first.settling, case.first.busy = settling, not settling
    assert case.all.patience_s == SETTLING_S
    case.attend(Life(record=Record.EXIT, pid=7))
    assert case.all.patience_s == 0.1


@pytest.mark.parametrize(
    ("lives", "codes", "flags"),
    [([fork(8)], 0, 0), ([], 1, 0), ([], 0, ASKING)],
    ids=["a child", "new code", "a new library"],
)
def test_patience_after_something_happened(
    lives: list[Life], codes: int, flags: int, clock: list[float]
) -> None:
    """The first of its kind may be the first of many."""
    case = Case()
    assert case.all.patience_s == 0.1  # it has just begun
    clock[0] += 60
    case.attend(p7=0)
    assert case.all.patience_s == 0.25
    case.attend(*lives, codes=codes, p7=flags)
    assert case.all.patience_s == 0.1
    clock[0] += 2
    case.attend(p7=0)
    assert case.all.patience_s == 0.25


@pytest.mark.parametrize("what", ["jit", "names"])
def test_patience_with_what_is_looked_at_ten_times_a_second(what: str, clock: list[float]) -> None:
    case = Case()
    clock[0] += 60
    getattr(case.first, what).lively = True
    assert case.all.patience_s == 0.1
    getattr(case.first, what).lively = False
    assert case.all.patience_s == 0.25
