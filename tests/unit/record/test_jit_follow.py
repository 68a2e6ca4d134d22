"""The JIT code of a program: what a forked child takes over, what an exec or an end lets go of."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from mixstack.model import Mapping
from mixstack.record import jit_follow
from mixstack.record.children import child_pids
from mixstack.record.jit_follow import JitFollower
from mixstack.record.jit_tables import JitRoom
from mixstack.record.shared import Shared
from mixstack.target.process import TargetProcess
from tests.live.harness import Target, running
from tests.unit.record.test_follow import Case as FollowedCase
from tests.unit.record.test_jit_debugger import CIE, FDE, FRAMES_AT, TEXT, JitFrames
from tests.unit.record.test_modules import space

PROGRAM = "import os, time\nif os.fork(): print('ready', flush=True)\nwhile True: time.sleep(1)"
FRAMES = JitFrames(TEXT, TEXT + 0x20, CIE + FDE, FRAMES_AT)


class Case:
    def __init__(self, target: Target) -> None:
        self.notes: list[tuple[int, str]] = []
        self.searched: list[str] = []
        self.space = space()
        self.modules = {number: SimpleNamespace(path=f"/lib/{number}.so") for number in (1, 2)}
        self.shared = cast(
            Shared,
            SimpleNamespace(
                describer=SimpleNamespace(jit_room=JitRoom(self.space), modules=self.modules),
                listener=SimpleNamespace(note=lambda pid, note: self.notes.append((pid, note))),
                jit_descriptors={},
            ),
        )
        self.pid = target.pid
        (self.child_pid,) = child_pids(target.pid)
        self.parent = JitFollower(TargetProcess.open(target.pid), self.shared)

    def fork(self) -> JitFollower:
        """As `Follower.forked` knows a child: just its pid."""
        return self.parent.forked(TargetProcess(self.child_pid, None, ("python",)))

    def search(self, path: str | None) -> int | None:
        self.searched.append(str(path))
        return 0x40 if path == "/lib/1.so" else None


@pytest.fixture
def case(monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    with running([sys.executable, "-c", PROGRAM]) as target:
        found = Case(target)
        monkeypatch.setattr(jit_follow, "jit_descriptor", found.search)
        try:
            yield found
        finally:
            found.parent.close()
            os.kill(found.child_pid, signal.SIGKILL)
            for pid in (found.pid, found.child_pid):
                Path(f"/tmp/perf-{pid}.map").unlink(missing_ok=True)


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_parent_and_child_have_maps_of_their_own(case: Case) -> None:
    Path(f"/tmp/perf-{case.pid}.map").write_text("100000 10 f\n")
    Path(f"/tmp/perf-{case.child_pid}.map").write_text("100000 10 g\n")
    child = case.fork()
    found = [*case.parent.new_symbols([0x100005], last=True), *child.new_symbols([0x100005])]
    found += child.new_symbols([], last=True)
    child.close()
    assert [(s.pid, s.name) for s in found] == [(case.pid, "f"), (case.child_pid, "g")]


def test_what_is_odd_is_said_of_its_process(case: Case) -> None:
    Path(f"/tmp/perf-{case.child_pid}.map").write_text("odd\n")
    child = case.fork()
    child.look(())
    child.close()
    ((pid, note),) = case.notes
    assert pid == case.child_pid
    assert f"/tmp/perf-{pid}.map" in note


def test_files_are_let_go_of_and_opened_only_when_needed(case: Case) -> None:
    Path(f"/tmp/perf-{case.pid}.map").write_text("100000 10 f\n")
    before = _descriptors()
    assert case.parent.new_symbols([], last=True) == []
    assert _descriptors() == before
    case.parent.look(())
    assert _descriptors() > before
    case.parent.close()
    case.parent.close()
    assert _descriptors() == before


def test_a_child_has_its_parents_tables_until_they_change(case: Case) -> None:
    case.parent.tables.update([FRAMES])
    used = case.space.used_bytes
    child = case.fork()
    child.tables.update([FRAMES])
    assert case.space.used_bytes == used > 0
    assert list(child.tables.within(0, 1 << 47)) == list(case.parent.tables.within(0, 1 << 47))
    child.tables.update([])
    assert list(child.tables.within(0, 1 << 47)) == []
    assert len(list(case.parent.tables.within(0, 1 << 47))) == 1


def test_a_module_is_searched_for_lists_once_for_all_processes(case: Case) -> None:
    mappings = (Mapping(0x7000, 0x8000, 0x7000, 1, None), Mapping(0x9000, 0xA000, 0x9000, 2, None))
    other = JitFollower(TargetProcess.open(case.pid), case.shared)
    for each in (case.parent, other):
        each.new_symbols([0x100005])  # before that, no module is searched
        each.look(mappings, at_once=True)
    assert case.searched == ["/lib/1.so", "/lib/2.so"]
    child = case.fork()
    child.look(mappings, at_once=True)
    for each in (case.parent, other, child):
        book = each._book
        assert book is not None
        assert list(book._debuggers) == [0x7040]
        each.close()


def test_where_all_code_is_in_files_there_is_nothing_to_look_for(case: Case) -> None:
    """Mapped files have modules, and the page of the vsyscalls is no compiler's."""
    in_files = (
        Mapping(0x7000, 0x8000, 0x7000, 1, None),
        Mapping(0xFFFF0000, 0xFFFF1000, 0xFFFF0000, None, "[vsyscall]"),
    )
    anonymous = Mapping(0x9000, 0xA000, 0x9000, None, "[anon]")
    case.parent.look(())
    path = Path(f"/tmp/perf-{case.pid}.map")
    path.write_text("odd\n")
    case.parent.look(in_files)
    assert (case.parent.lively, case.notes) == (False, [])
    time.sleep(0.06)  # a look soon after another reads nothing
    case.parent.look((*in_files, anonymous))
    assert case.parent.lively
    assert [pid for pid, _ in case.notes] == [case.pid]


def test_at_the_end_it_is_looked_in_any_case(case: Case) -> None:
    case.parent.look(())
    Path(f"/tmp/perf-{case.pid}.map").write_text("odd\n")
    case.parent.look((), at_once=True)
    assert [pid for pid, _ in case.notes] == [case.pid]


def test_of_a_process_that_is_gone_nothing_is_known(case: Case) -> None:
    child = JitFollower(TargetProcess(1 << 22, None, ()), case.shared)  # above pid_max
    child.look(())
    assert child.new_symbols([0x100005], last=True) == []
    child.close()
    assert case.notes == []


def test_after_an_exec_and_at_the_end_nothing_stays_open(case: Case) -> None:
    Path(f"/tmp/perf-{case.pid}.map").write_text("100000 10 f\n")
    followed = FollowedCase(case.pid)
    before = _descriptors()
    followed.follower.jit.look(())
    first = followed.follower.jit
    opened = _descriptors()
    followed.follower.become()
    assert followed.follower.jit is not first
    assert _descriptors() == before < opened
    followed.follower.jit.look(())
    assert _descriptors() == opened
    followed.follower.forget()
    assert _descriptors() == before
