"""Children are told of once, and only those that last."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from mixstack.record import children
from mixstack.record.children import ChildWatch, child_pids


def test_children_of_all_threads() -> None:
    started: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        command = [sys.executable, "-c", "input()"]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE))

    start()
    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    try:
        assert {child.pid for child in started} <= child_pids(os.getpid())
    finally:
        for child in started:
            child.communicate(b"\n")
    assert not {child.pid for child in started} & child_pids(os.getpid())


def test_a_lasting_child_is_told_once() -> None:
    notes: list[str] = []
    watch = ChildWatch(notes.append)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        watch.look(os.getpid(), 10.0)
        watch.look(os.getpid(), 10.2)
        assert notes == []
        watch.look(os.getpid(), 10.5)
        watch.look(os.getpid(), 20.9)
        child.communicate(b"\n")
    assert len(notes) == 1
    assert str(child.pid) in notes[0]
    assert "-p" in notes[0]


def test_a_child_between_two_looks_is_not_worth_a_word() -> None:
    notes: list[str] = []
    watch = ChildWatch(notes.append)
    for now in (1.0, 2.0):
        watch.look(os.getpid(), now)
        subprocess.run([sys.executable, "-c", ""], check=True)
        watch.look(os.getpid(), now + 0.5)
    assert notes == []


def test_a_process_that_is_gone_has_none() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    assert child_pids(child.pid) == frozenset()


def test_looks_become_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    monkeypatch.setattr(children, "child_pids", lambda pid: looks.append(pid) or frozenset())
    watch = ChildWatch(lambda _note: None)
    for tenth in range(600):
        watch.look(7, tenth / 10)
    assert 8 <= len(looks) <= 14
