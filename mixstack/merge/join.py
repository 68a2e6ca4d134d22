"""Samples to named stacks; each different stack is joined and named once."""

from __future__ import annotations

from mixstack.merge.evaluators import Evaluators, Namer
from mixstack.merge.hide import visible
from mixstack.merge.quality import Grade, Tally, grade
from mixstack.model import Frame, Item, NativeItem, PythonItem, RawStack, Sample

# How many different stacks are kept for reuse; the capture's reader keeps as many alive itself.
_CACHE_MAX = 1 << 16


class _Joined:
    """One different stack: its number among the profile's stacks, its grade, and how often it came.

    It keeps `raw` alive, whose identity is the key that it is found by.
    """

    __slots__ = ("grade", "raw", "samples", "stack_id")

    def __init__(self, raw: RawStack, stack_id: int, grade: Grade) -> None:
        self.raw = raw
        self.stack_id = stack_id
        self.grade = grade
        self.samples = 0


class Joiner:
    """Joins and names samples, and numbers the different stacks that come out; 0 is the empty."""

    def __init__(self, namer: Namer, *, show_interpreter: bool) -> None:
        self._namer = namer
        self._show_interpreter = show_interpreter
        self._tally = Tally()
        self._joined: dict[tuple[int, int, int], _Joined] = {}
        self._names = _Names(namer)
        self._evaluators = Evaluators(namer)
        self._ids: dict[tuple[Frame, ...], int] = {(): 0}

    @property
    def stacks(self) -> tuple[tuple[Frame, ...], ...]:
        """The different stacks, visible frames only, by their ids."""
        return tuple(self._ids)

    def stack_id(self, sample: Sample) -> int:
        """Join `sample`, count it, and say which stack it is."""
        time_ns, pid, _, _, _, stack = sample
        generation = self._namer.generation(pid, time_ns)
        key = (id(stack), pid, generation)
        joined = self._joined.get(key)
        if joined is None:
            if len(self._joined) >= _CACHE_MAX:
                self._settle()
            joined = self._joined[key] = self._join(sample, generation)
        joined.samples += 1
        return joined.stack_id

    def tally(self) -> Tally:
        """The count of all samples so far."""
        self._settle()
        return self._tally

    def _settle(self) -> None:
        for joined in self._joined.values():
            self._tally.add(joined.grade, joined.samples)
        self._joined.clear()
        self._names = _Names(self._namer)

    def _join(self, sample: Sample, generation: int) -> _Joined:
        pid, time_ns, stack = sample.pid, sample.time_ns, sample.stack
        merged = self._evaluators.splice(pid, time_ns, stack)
        frames = self._names.of(pid, time_ns, generation, merged.items)
        shown = visible(frames, self._show_interpreter)
        stack_id = self._ids.setdefault(shown, len(self._ids))
        return _Joined(stack, stack_id, grade(merged, frames))


class _Names:
    """Asks the namer once per frame object: hashing whole frames costs more than the join."""

    def __init__(self, namer: Namer) -> None:
        self._namer = namer
        # The item is kept beside its name, so that its frame's identity is not given to another.
        self._known: dict[tuple[int, int], dict[int | Item, tuple[Item, tuple[Frame, ...]]]] = {}

    def of(
        self, pid: int, time_ns: int, generation: int, items: tuple[Item, ...]
    ) -> tuple[Frame, ...]:
        known = self._known.setdefault((pid, generation), {})
        frames: list[Frame] = []
        for item in items:
            key: int | Item
            if isinstance(item, NativeItem):
                key = ~id(item.frame) if item.evaluator else id(item.frame)
            elif isinstance(item, PythonItem):
                key = id(item.frame)
            else:
                key = item
            found = known.get(key)
            if found is None:
                found = known[key] = (item, self._namer.frames(pid, time_ns, item))
            frames += found[1]
        return tuple(frames)
