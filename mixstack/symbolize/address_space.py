"""Which mapping an address of a process lay in at a moment."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping as MappingOf
from typing import NamedTuple

from mixstack.model import Mapping, MappingSnapshot


class Generation(NamedTuple):
    """The time between two snapshots of a process' mappings.

    `snapshot` is the index of the one that began it, -1 before the first. In equal generations
    every address resolves alike.
    """

    pid: int
    snapshot: int


class AddressSpaces:
    """The mappings of all processes over time. `snapshots`: by pid, sorted by time."""

    def __init__(self, snapshots: MappingOf[int, tuple[MappingSnapshot, ...]]) -> None:
        self._snapshots = snapshots
        self._times = {pid: [s.time_ns for s in of] for pid, of in snapshots.items()}
        self._starts = {
            pid: [[m.start for m in s.mappings] for s in of] for pid, of in snapshots.items()
        }

    def generation(self, pid: int, time_ns: int) -> Generation:
        """The generation of a moment (CLOCK_MONOTONIC)."""
        times = self._times.get(pid)
        return Generation(pid, bisect_right(times, time_ns) - 1 if times else -1)

    def find(self, generation: Generation, address: int) -> Mapping | None:
        """The mapping that covers the address, or None.

        The newest snapshot of the generation or before it decides. Where none covers the address,
        the first later one does: a mapping is noticed a little after it appeared.
        """
        pid, newest = generation
        count = len(self._snapshots.get(pid, ()))
        for i in (*range(newest, -1, -1), *range(newest + 1, count)):
            at = bisect_right(self._starts[pid][i], address) - 1
            if at >= 0:
                mapping: Mapping = self._snapshots[pid][i].mappings[at]
                if address < mapping.end:
                    return mapping
        return None
