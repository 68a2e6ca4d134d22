"""The followed processes of a recording: who there is, whom to look at now, who is gone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from mixstack.bpf.ring import Drained
from mixstack.bpf.wire import Life, Record, SampleFlag
from mixstack.errors import MixstackError
from mixstack.model import Process
from mixstack.record.follow import SETTLING_S, Follower
from mixstack.record.shared import Shared
from mixstack.target.layouts import Layout
from mixstack.target.process import TargetProcess

Version: TypeAlias = tuple[int, int, int]

_IDLE_S: Final = 0.1
_QUIET_S: Final = 0.25  # where what was not seen at once would not have been lost by now
_LIVELY_S: Final = 2.0  # after something happened, the next thing is expected
_NEW_MAPPING: Final = int(SampleFlag.NEW_MAPPING)
_TURN_S: Final = 0.05
"""How long looking at processes may keep samples from being taken out of the ring."""
_CHECKED_AT_ONCE: Final = 32
_STRANGERS_MAX: Final = 4096
_STRANGE_S: Final = 5.0  # until its pid may be another's
_FRUITLESS_MAX: Final = 6  # looks; each one that finds nothing doubles the pause before the next


class _Member:
    """A followed process, and when it is to be looked at."""

    __slots__ = ("ended", "follower", "fruitless", "next_look", "released", "sampled")

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.ended = False
        self.sampled = False
        self.released = False  # the probe has forgotten it
        self.fruitless = 0
        self.next_look = 0.0

    def look(self, asked: bool, now: float) -> None:
        if asked and now < self.next_look:
            asked = False
        found = self.follower.refresh(asked=asked)
        if asked:
            self.fruitless = 0 if found else min(self.fruitless + 1, _FRUITLESS_MAX)
            self.next_look = now + SETTLING_S * (1 << self.fruitless) if self.fruitless else 0.0


class Processes:
    """Keeps a `Follower` for each process, those that were never heard of once they are sampled.

    `before_change` is told of a process that ends or becomes another program.
    """

    def __init__(self, shared: Shared, before_change: Callable[[Follower], None]) -> None:
        self._shared = shared
        self._before_change = before_change
        self._members: dict[int, _Member] = {}
        self._strangers: dict[int, float] = {}  # that could not be looked at, and when
        self._checked = 0  # the process whose life was checked last
        self._moved_at = time.monotonic()  # when something happened last

    def __iter__(self) -> Iterator[Follower]:
        return iter([member.follower for member in self._members.values()])

    def add(self, follower: Follower) -> None:
        self._members[follower.process.pid] = _Member(follower)

    def get(self, pid: int) -> Follower | None:
        member = self._members.get(pid)
        return member.follower if member is not None else None

    def interpreter(self, pid: int, family: int) -> tuple[Layout, Version | None] | None:
        """How the code objects that a process of this family ran are laid out, as far as is known.

        Its own word comes first: another of its family may be another program by now.
        """
        own = [m.follower for m in (self._members.get(pid),) if m is not None]
        for follower in (*own, *self):
            if follower.family == family and follower.layout is not None:
                return follower.layout, follower.version
        return None

    @property
    def patience_s(self) -> float:
        """How long to wait for samples before `attend` is due again."""
        alive = [m.follower for m in self._members.values() if not m.ended]
        if any(follower.settling or follower.busy for follower in alive):
            return SETTLING_S
        lively = time.monotonic() - self._moved_at < _LIVELY_S or any(
            follower.jit.lively or follower.names.lively for follower in alive
        )
        return _IDLE_S if lively else _QUIET_S

    def stir(self) -> None:
        """Something has happened: from now on be less patient for a while."""
        self._moved_at = time.monotonic()

    def attend(self, drained: Drained) -> None:
        """Take in what happened to processes, then look at those that ask for it."""
        for life in drained.lives:
            self._take(life, life.pid in drained.counts)
        now = time.monotonic()
        asking = [pid for pid, flags in drained.flags.items() if flags & _NEW_MAPPING]
        if asking or drained.lives or drained.codes:
            self.stir()
        for pid in drained.counts:
            self._sampled(pid)
        due = dict.fromkeys([*asking, *drained.counts])
        due.update(dict.fromkeys(self._restless()))
        for number, pid in enumerate(due):
            member = self._members.get(pid)
            if member is None or member.ended:
                continue
            member.look(pid in asking, now)
            member.follower.read_next(drained.without_table.get(pid, ()))
            if number and time.monotonic() - now > _TURN_S:
                break

    def _restless(self) -> list[int]:
        """Those that change just now, the one that waits longest first."""
        restless = [
            pid
            for pid, m in self._members.items()
            if not m.ended and (m.follower.settling or m.follower.busy)
        ]
        return sorted(restless, key=lambda pid: self._members[pid].follower.read_at)

    def close(self) -> None:
        """Let go of the files that are held open for them."""
        for follower in self:
            follower.jit.close()

    def drop_ended(self) -> None:
        """Forget the processes that have ended: first the probe, then, the next time, all.

        So samples that were taken meanwhile are still known.
        """
        for pid, member in list(self._members.items()):
            if member.released:
                if member.sampled:
                    member.follower.finish()
                self._before_change(member.follower)
                member.follower.forget()
                del self._members[pid]
            elif member.ended:
                self._shared.probe.remove_process(pid)
                member.released = True
        self._check_some()

    def _check_some(self) -> None:
        """Word of an end may be lost with a full ring: a few are checked each time."""
        later = sorted(pid for pid in self._members if pid > self._checked)
        for pid in later[:_CHECKED_AT_ONCE]:
            member = self._members[pid]
            member.ended = member.ended or not member.follower.process.alive()
            self._checked = pid
        if len(later) <= _CHECKED_AT_ONCE:
            self._checked = 0

    def _take(self, life: Life, sampled: bool) -> None:
        """sampled: there are samples of this process, perhaps from before."""
        member = self._members.get(life.pid)
        if life.record == Record.EXIT:
            if member is not None:
                member.ended = True
        elif life.record == Record.FORK:
            if member is not None:  # the pid is used again
                self._before_change(member.follower)
                member.follower.forget()
                del self._members[life.pid]
            parent = self._members.get(life.parent)
            if parent is not None:
                self.add(parent.follower.forked(life.pid, life.time_ns))
        elif member is not None:
            if sampled:
                member.follower.announce(reread=False)
            self._before_change(member.follower)
            member.follower.become(time_ns=life.time_ns)

    def _sampled(self, pid: int) -> None:
        member = self._members.get(pid)
        if member is not None:
            member.sampled = True
            member.follower.announce()
        elif time.monotonic() - self._strangers.get(pid, -_STRANGE_S) >= _STRANGE_S:
            self._discover(pid)

    def _discover(self, pid: int) -> None:
        """A process that was never heard of, or whose fork was lost with a full ring."""
        try:
            process = TargetProcess.open(pid)
        except MixstackError as e:
            if len(self._strangers) >= _STRANGERS_MAX:
                self._strangers.clear()
            self._strangers[pid] = time.monotonic()
            name = TargetProcess(pid, None, ()).thread_name(pid)  # a thread of the kernel has one
            command = () if name is None else (f"[{name}]",)
            self._shared.listener.process(Process(pid, command, None, e.message, pid))
            return
        self.add(Follower(process, self._shared, unwatched=True))
        self._members[pid].sampled = True
