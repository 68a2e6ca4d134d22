"""Stacks to named stacks; each different one is joined and named once."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from mixstack.columns import Sights
from mixstack.compiled.joins import Kind, Named, PlainJoins
from mixstack.merge.evaluators import Evaluators, Namer
from mixstack.merge.numbers import FrameNumbers, NamedItems
from mixstack.merge.quality import Grade, Tally, find_stop
from mixstack.model import Fit, Frame, NativeFrame, NativeItem, RawStack


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
        self._stack_ids: dict[bytes, int] = {b"": 0}  # by the numbers of visible frames (u32)
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
        return tuple(tuple(memoryview(stack).cast("I")) for stack in self._stack_ids)

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

        named = items.of(stack, joined)
        grade = Grade(
            joined.fit,
            joined.native_truncated,
            joined.python_truncated,
            self._numbers.nameless(named),
            find_stop(stack, name),
        )
        return self._add(self._numbers.visible(named), grade)

    def plain_joins(self, items: NamedItems, pid: int, time_ns: int) -> PlainJoins | None:
        """Joins plain stacks of a process; None if more than their addresses must be asked."""
        if not self._evaluators.may_be_plain(pid):
            return None

        def name(kind: Kind, first: int, second: int) -> Iterable[int]:
            if kind is Kind.EVALUATOR:
                self._evaluators.learn(pid, time_ns, first)
            return items.name(kind, first, second)

        return PlainJoins(name)

    def add_plain(self, named: Named) -> int:
        """Grade and number a plain stack."""
        fit = Fit.EXACT if named.segments else Fit.NATIVE_ONLY
        nameless = self._numbers.nameless(named.nameless) if named.nameless else ()
        return self._add(named.shown, Grade(fit, False, False, nameless, None))

    def _add(self, shown: bytes, grade: Grade) -> int:
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
        self._plain = joiner.plain_joins(items, pid, time_ns)

    def __missing__(self, sight: int) -> int:
        number = self._seen.stack_number(sight)
        join = self._by_stack.get(number)
        if join is None:
            join = self._by_stack[number] = self._join(sight)
        self[sight] = join
        return join

    def _join(self, sight: int) -> int:
        named = self._plain.join(self._seen.raw(sight)) if self._plain is not None else None
        if named is not None:
            return self._joiner.add_plain(named)
        return self._joiner.join(self._seen.stack(sight), self._items, self._pid, self._time_ns)
