"""Whether a process has started others: they are not recorded, and the user is told."""

from __future__ import annotations

import os
from collections.abc import Callable


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


class ChildWatch:
    """Says once that children live on; those that end between two looks are not worth a word."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._seen: frozenset[int] = frozenset()
        self._said = False

    def look(self, pid: int) -> None:
        """Look at the children of `pid`; call it about twice a second."""
        if self._said:
            return
        now = child_pids(pid)
        lasting = now & self._seen
        self._seen = now
        if lasting:
            self._said = True
            shown = ", ".join(str(child) for child in sorted(lasting)[:5])
            self._note(
                f"process {pid} has child processes ({shown}): they are not recorded;"
                " record one of them with -p"
            )
