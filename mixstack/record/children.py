"""Whether a process has started others: they are not recorded, and the user is told."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

_WORTH_SAYING_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 10.0
_SHOWN: Final = 5


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
    """Says once that a child lives on; helpers that end at once are not worth a word."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._since: dict[int, float] = {}
        self._next_look = 0.0
        self._pause_s = _WORTH_SAYING_S / 2
        self._said = False

    def look(self, pid: int, now: float) -> None:
        """Look at the children of `pid`, if it is time to; `now` in seconds of any steady clock.

        It takes a file for each thread, so the looks become rare soon.
        """
        if self._said or now < self._next_look:
            return
        self._next_look = now + self._pause_s
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        self._since = {child: self._since.get(child, now) for child in child_pids(pid)}
        lasting = [child for child, since in self._since.items() if now - since >= _WORTH_SAYING_S]
        if lasting:
            self._said = True
            shown = ", ".join(str(child) for child in sorted(lasting)[:_SHOWN])
            self._note(
                f"process {pid} has child processes ({shown}): they are not recorded;"
                " record one of them with -p"
            )
