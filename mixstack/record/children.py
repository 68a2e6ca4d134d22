"""The processes that a process has started."""

from __future__ import annotations

import os


def child_pids(pid: int) -> frozenset[int]:
    """The living children of a process, of all its threads (proc(5), task/[tid]/children)."""
    found: set[int] = set()
    try:
        for tid in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{tid}/children", "rb") as f:
                found.update(int(word) for word in f.read().split())
    except (OSError, ValueError):
        pass
    return frozenset(found)


def descendants(pid: int) -> list[int]:
    """The living children of a process, their children, and so on; each after its parent."""
    found: list[int] = []
    seen = {pid}
    waiting = [pid]
    while waiting:
        new = sorted(child_pids(waiting.pop()) - seen)
        seen.update(new)
        found += new
        waiting += new
    return found
