"""Stacks to named stacks; each different one is joined and named once."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence

from mixstack.columns import PlainStack, Sights
from mixstack.merge.arrange import Joined
from mixstack.merge.evaluators import Evaluators, Namer
from mixstack.merge.numbers import FrameNumbers, NamedItems
from mixstack.merge.quality import Grade, Tally, find_stop
from mixstack.model import Frame, NativeFrame, NativeItem, RawStack, Stop


class Joiner:
    """Joins and names stacks, and numbers the different ones that come out; 0 is the empty.

    A *join* is the number of a stack of one process while its addresses mean one thing; several may
    come out as one stack.
    """

    def __init__(self, namer: Namer, seen: Sights, *, show_interpreter: bool) -> None:
        self._namer = namer
        self._seen = seen
        self._numbers = FrameNumbers(show_interpreter=show_interpreter)
        self._evaluators = Evaluators(namer)
        self._joins: dict[tuple[int, int], _JoinsBySight] = {}
        self._stack_ids: dict[tuple[int, ...], int] = {(): 0}
        self._stack_id_of: list[int] = []  # by join
        self._grade_of: list[Grade] = []
        self._grades: dict[Grade, Grade] = {}
        self._samples: Counter[int] = Counter()  # by join

    @property
    def frames(self) -> tuple[Frame, ...]:
        """The different frames, by their numbers."""
        return self._numbers.all

    @property
    def stacks(self) -> tuple[tuple[int, ...], ...]:
        """The different stacks, visible frames only, by their ids."""
        return tuple(self._stack_ids)

    def joins_by_sight(self, pid: int, time_ns: int) -> Mapping[int, int]:
        """The joins of a process at that time (CLOCK_MONOTONIC); made as they are asked for."""
        meaning = pid, self._namer.generation(pid, time_ns)
        found = self._joins.get(meaning)
        if found is None:
            items = NamedItems(self._namer, self._numbers, pid, time_ns)
            found = self._joins[meaning] = _JoinsBySight(self, self._seen, items, pid, time_ns)
        return found

    def stack_ids(self, joins: Sequence[int]) -> array[int]:
        """Count a sample of each, and say which stacks they are."""
        self._samples.update(joins)
        return array("I", [*map(self._stack_id_of.__getitem__, joins)])

    def tally(self) -> Tally:
        """The count of all samples so far."""
        tally = Tally()
        for join, samples in self._samples.items():
            tally.add(self._grade_of[join], samples)
        return tally

    def join(self, stack: RawStack, items: NamedItems, pid: int, time_ns: int) -> int:
        """Join, name, grade and number a stack."""
        joined = self._evaluators.join(pid, time_ns, stack)

        def name(frame: NativeFrame) -> Frame:
            return self._namer.frame(pid, time_ns, NativeItem(frame, evaluator=False))

        return self._add(joined, items.of(stack, joined), find_stop(stack, name))

    def join_plain(
        self, stack: PlainStack, items: NamedItems, pid: int, time_ns: int
    ) -> int | None:
        """The same for a plain stack; None where it must be asked more of it."""
        joined = self._evaluators.join_plain(pid, time_ns, stack)
        return None if joined is None else self._add(joined, items.of_plain(stack, joined), None)

    def _add(self, joined: Joined, named: tuple[int, ...], stop: Stop | None) -> int:
        grade = Grade(
            joined.fit,
            joined.native_truncated,
            joined.python_truncated,
            self._numbers.nameless(named),
            stop,
        )
        shown = self._numbers.visible(named)
        self._stack_id_of.append(self._stack_ids.setdefault(shown, len(self._stack_ids)))
        self._grade_of.append(self._grades.setdefault(grade, grade))
        return len(self._grade_of) - 1


class _JoinsBySight(dict[int, int]):
    """Of one process while its addresses mean one thing; a thread's name makes no difference."""

    def __init__(
        self, joiner: Joiner, seen: Sights, items: NamedItems, pid: int, time_ns: int
    ) -> None:
        self._joiner = joiner
        self._seen = seen
        self._items = items
        self._pid = pid
        self._time_ns = time_ns
        self._by_stack: dict[int, int] = {}

    def __missing__(self, sight: int) -> int:
        number = self._seen.stack_number(sight)
        join = self._by_stack.get(number)
        if join is None:
            join = self._by_stack[number] = self._join(sight)
        self[sight] = join
        return join

    def _join(self, sight: int) -> int:
        of = self._items, self._pid, self._time_ns
        plain = self._seen.plain(sight)
        join = None if plain is None else self._joiner.join_plain(plain, *of)
        return self._joiner.join(self._seen.stack(sight), *of) if join is None else join
