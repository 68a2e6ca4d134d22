"""The probe's memory for mappings: one list per program, shared by the processes that forked it."""

from __future__ import annotations

import ctypes
from collections import deque
from typing import Final, NamedTuple

from mixstack.bpf.memory import Memory
from mixstack.bpf.wire import MappingEntry

ENTRY_SIZE: Final = ctypes.sizeof(MappingEntry)
GRACE_S: Final = 1.0
"""How long a list stays after its last use: a walk may be in it, a fork may have copied its place
that we have not been told of."""


class MappingRange(NamedTuple):
    """Where a list of mappings lies, in entries."""

    first: int
    size: int


class MappingSpace:
    """Places lists of mappings in the probe's memory (`struct ms_mapping`, writable)."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._free = [MappingRange(0, len(memory) // ENTRY_SIZE)]  # by place, no two adjacent
        self._users: dict[int, int] = {}  # by first entry
        self._released: deque[tuple[float, MappingRange]] = deque()

    def place(self, entries: bytes | bytearray, now: float) -> MappingRange | None:
        """Copy a list into the probe; None if there is no room. `now`: seconds, of any clock."""
        while self._released and now - self._released[0][0] >= GRACE_S:
            self._give_back(self._released.popleft()[1])
        size = len(entries) // ENTRY_SIZE
        if size == 0:
            return MappingRange(0, 0)
        for at, free in enumerate(self._free):
            if free.size < size:
                continue
            rest = MappingRange(free.first + size, free.size - size)
            self._free[at : at + 1] = [rest] if rest.size else []
            start = free.first * ENTRY_SIZE
            self._memory[start : start + len(entries)] = entries
            self._users[free.first] = 1
            return MappingRange(free.first, size)
        return None

    def share(self, used: MappingRange) -> MappingRange:
        """One more process uses this list."""
        if used.size:
            self._users[used.first] += 1
        return used

    def release(self, used: MappingRange, now: float) -> None:
        """One process less uses it; without any, its room is free after a while."""
        if not used.size:
            return
        self._users[used.first] -= 1
        if not self._users[used.first]:
            del self._users[used.first]
            self._released.append((now, used))

    def _give_back(self, used: MappingRange) -> None:
        ranges = sorted([*self._free, used])
        merged: list[MappingRange] = []
        for each in ranges:
            if merged and merged[-1].first + merged[-1].size == each.first:
                merged[-1] = MappingRange(merged[-1].first, merged[-1].size + each.size)
            else:
                merged.append(each)
        self._free = merged
