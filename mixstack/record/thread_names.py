"""Reads a program's names of its threads while it runs, and tells those that are new."""

from __future__ import annotations

import time
from typing import Final

from mixstack.model import ThreadName
from mixstack.record.shared import Shared
from mixstack.target.interpreter import FoundInterpreter
from mixstack.target.process import TargetProcess
from mixstack.target.thread_names import ThreadNames

_PAUSE_S: Final = 0.1
_RENAMED_S: Final = 1.0  # threads that have a name are looked at again this often
_LIVELY_S: Final = 2.0
_SHARE: Final = 200  # looking takes at most one part in so many of the recorder's time


class NameFollower:
    """Of one process and one program: an exec makes all names void."""

    def __init__(self, process: TargetProcess, shared: Shared) -> None:
        self._process = process
        self._tell = shared.listener.thread_name
        self._names: ThreadNames | None = None
        self._of: FoundInterpreter | None = None
        self._inner: dict[int, int] = {}  # by our number of a thread, that which it sees itself
        self._told: dict[int, str] = {}
        self._next_look = self._next_renamed = 0.0
        self._changed_at = 0.0  # when threads came or went

    @property
    def lively(self) -> bool:
        """Whether threads have come or gone lately: the next one may not stay for long."""
        return time.monotonic() - self._changed_at < _LIVELY_S

    def look(self, found: FoundInterpreter | None, *, at_once: bool = False) -> None:
        """Tell the names that are new; at_once: also if the last look was a moment ago."""
        begin = time.monotonic()
        if found is None or (begin < self._next_look and not at_once):
            return
        if self._names is None or self._of is not found:
            self._names = ThreadNames(
                self._process.read, found.interp_head, found.layout, found.version[:2]
            )
            self._of = found
        inner = self._threads()
        if inner == self._inner and begin < self._next_renamed and not at_once:
            self._next_look = begin + _PAUSE_S
            return
        if inner != self._inner:
            self._changed_at = begin
        self._inner, self._next_renamed = inner, begin + _RENAMED_S
        own_pid = inner.get(self._process.pid, 0)  # the first thread stays in the list to the end
        named = self._names.look(own_pid, frozenset(inner.values()))
        told = {tid: named[inner] for tid, inner in self._inner.items() if inner in named}
        for tid, name in told.items():
            if self._told.get(tid) != name:
                self._tell(ThreadName(self._process.pid, tid, name))
        self._told.update(told)
        now = time.monotonic()
        self._next_look = now + max(_PAUSE_S, _SHARE * (now - begin))

    def forget(self) -> None:
        """The program is another one, in a thread that goes on: its name was the old one's."""
        pid = self._process.pid
        if pid in self._told:
            self._tell(ThreadName(pid, pid, None))

    def _threads(self) -> dict[int, int]:
        tids = self._process.threads()
        if self._process.inner_pid is None:
            return dict(zip(tids, tids, strict=True))
        known = self._inner
        return {tid: known.get(tid) or self._process.own_tid(tid) for tid in tids}
