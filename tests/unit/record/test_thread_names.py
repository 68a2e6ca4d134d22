"""The names of threads, of a Python that does what it is told."""

from __future__ import annotations

import pytest

from mixstack.record import thread_names
from mixstack.record.thread_names import NameFollower
from mixstack.target.interpreter import FoundInterpreter, find_interpreter
from mixstack.target.process import TargetProcess
from mixstack.target.thread_names import ThreadNames
from tests.interpreters import SUPPORTED, Build
from tests.unit.record.test_follow import WITH_LIBRARIES, Case, obedient

START = (
    "import threading, time; "
    "t = threading.Thread(target=time.sleep, args=(60,), name='named', daemon=True); t.start()"
)


def found_in(pid: int) -> FoundInterpreter:
    process = TargetProcess.open(pid)
    found = find_interpreter(process, process.maps(), search=True)
    assert isinstance(found, FoundInterpreter)
    return found


@pytest.mark.parametrize("build", SUPPORTED)
def test_a_program_without_threads_is_searched_once(build: Build) -> None:
    """Its modules are some hundred, and looked at each second."""
    with obedient(build) as target:
        process = TargetProcess.open(target.child.pid)
        found = found_in(process.pid)
        reads = 0

        def read(address: int, size: int) -> bytes | None:
            nonlocal reads
            reads += 1
            return process.read(address, size)

        names = ThreadNames(read, found.interp_head, found.layout, found.version[:2])
        for most in (10_000, 8, 8):
            reads = 0
            assert names.look(process.pid, process.threads()) == {}
            assert 0 < reads <= most
        target.do(START)
        (tid,) = set(process.threads()) - {process.pid}
        assert names.look(process.pid, process.threads()) == {tid: "named"}


@pytest.mark.parametrize("build", WITH_LIBRARIES[-1:])
def test_it_is_lively_while_threads_come_and_go(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(thread_names.time, "monotonic", lambda: now[0])
    with obedient(build) as target:
        case = Case(target.child.pid)
        names = NameFollower(case.follower.process, case.shared)
        found = found_in(target.child.pid)
        names.look(found)
        assert names.lively  # it was not known before
        now[0] += 2
        names.look(found)
        assert not names.lively
        target.do(START)
        now[0] += 0.1
        names.look(found)
        assert names.lively
        assert [name.name for name in case.names] == ["named"]
