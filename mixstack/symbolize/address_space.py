"""Which mapping an address of a process lay in at a moment."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping as MappingOf
from dataclasses import replace
from itertools import chain

from mixstack.model import Mapping, MappingSnapshot


class AddressSpaces:
    """The mappings of all processes over time. `snapshots`: by pid, sorted by time.

    Snapshots in a row that do not contradict each other make up one *generation*, and count as one:
    a mapping is noticed a little after it appeared, and an address that it covers meant it before.
    So a process has more than one generation only if an address came to mean something else.
    """

    def __init__(self, snapshots: MappingOf[int, tuple[MappingSnapshot, ...]]) -> None:
        self._times: dict[int, list[int]] = {}
        self._generations: dict[int, list[_Generation]] = {}
        for pid, of_process in snapshots.items():
            times = self._times[pid] = list[int]()
            generations = self._generations[pid] = list[_Generation]()
            for snapshot in of_process:
                if not generations or not generations[-1].agrees(snapshot.mappings):
                    times.append(snapshot.time_ns)
                    generations.append(_Generation())
                generations[-1].add(snapshot.mappings)

    def generation(self, pid: int, time_ns: int) -> int:
        """The number of the generation of a moment (CLOCK_MONOTONIC); the first reaches back."""
        times = self._times.get(pid)
        return max(0, bisect_right(times, time_ns) - 1) if times else 0

    def find(self, pid: int, generation: int, address: int) -> Mapping | None:
        """The mapping that covers the address, or None.

        The generation decides; where it has nothing, the newest before it, then the first after it.
        """
        generations = self._generations.get(pid, [])
        for each in chain(generations[generation::-1], generations[generation + 1 :]):
            mapping = each.find(address)
            if mapping is not None:
                return mapping
        return None


class _Generation:
    """Mappings that do not overlap, sorted by start."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._mappings: list[Mapping] = []
        self._known: set[Mapping] = set()

    def agrees(self, mappings: tuple[Mapping, ...]) -> bool:
        """Whether no address would come to mean something else."""
        return all(
            _meaning(mapping) == _meaning(other)
            for mapping in mappings
            if mapping not in self._known
            for other in self._mappings[slice(*self._overlapping(mapping))]
        )

    def add(self, mappings: tuple[Mapping, ...]) -> None:
        """Take in mappings that agree; what overlaps (a region that grew) becomes one."""
        for mapping in mappings:
            if mapping in self._known:
                continue
            self._known.add(mapping)
            first, end = self._overlapping(mapping)
            if first < end:
                mapping = replace(
                    mapping,
                    start=min(mapping.start, self._starts[first]),
                    end=max(mapping.end, self._mappings[end - 1].end),
                )
            self._starts[first:end] = [mapping.start]
            self._mappings[first:end] = [mapping]

    def find(self, address: int) -> Mapping | None:
        at = bisect_right(self._starts, address) - 1
        return self._mappings[at] if at >= 0 and address < self._mappings[at].end else None

    def _overlapping(self, mapping: Mapping) -> tuple[int, int]:
        """[first, end): where the mappings stand that share an address with this one."""
        first = bisect_left(self._starts, mapping.start)
        if first > 0 and self._mappings[first - 1].end > mapping.start:
            first -= 1
        return first, max(first, bisect_left(self._starts, mapping.end))


def _meaning(mapping: Mapping) -> tuple[int, int | None, str | None]:
    return mapping.load_bias, mapping.module_id, mapping.label
