"""The living children of a process, and theirs."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

from mixstack.record.children import child_pids, descendants

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
print(child.pid, flush=True)
input()
child.communicate(b"\\n")
"""


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


def test_a_process_that_is_gone_has_none() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    assert child_pids(child.pid) == frozenset()
    assert descendants(child.pid) == []


def test_descendants_come_after_their_parents() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        grandchild = int(parent.stdout.readline())
        found = descendants(os.getpid())
        assert found.index(parent.pid) < found.index(grandchild)
        assert descendants(parent.pid) == [grandchild]
        parent.communicate(b"\n")
