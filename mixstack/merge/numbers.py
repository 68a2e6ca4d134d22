"""Named frames as small integers: hashing whole frames again and again costs more than the join."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import compress

from mixstack.merge.evaluators import Namer
from mixstack.model import Frame, Item, NativeItem, Step

_CALLER, _FRAME_POINTER = Step.CALLER, Step.FRAME_POINTER  # bound once: quicker in the loop


class FrameNumbers:
    """The different frames in the order in which they came, and what of them is shown."""

    def __init__(self, *, show_interpreter: bool) -> None:
        self._show_interpreter = show_interpreter
        self._numbers: dict[Frame, int] = {}
        self._frames: list[Frame] = []
        self._shown: list[bool] = []
        self._nameless: list[bool] = []

    def number(self, frame: Frame) -> int:
        """The number of a frame; equal frames have the same."""
        number = self._numbers.setdefault(frame, len(self._frames))
        if number == len(self._frames):
            self._frames.append(frame)
            self._shown.append(self._show_interpreter or not frame.plumbing)
            self._nameless.append(not frame.resolved)
        return number

    def frames(self, stack: Iterable[int]) -> tuple[Frame, ...]:
        """The frames of a stack."""
        return tuple(map(self._frames.__getitem__, stack))

    def visible(self, stack: tuple[int, ...]) -> tuple[int, ...]:
        """A stack without the interpreter's own machinery, unless that is asked for.

        If nothing would be left, all is shown: an empty stack means time off the CPU.
        """
        return tuple(compress(stack, map(self._shown.__getitem__, stack))) or stack

    def nameless(self, stack: Sequence[int]) -> tuple[Frame, ...]:
        """The frames of a stack that have no proper name."""
        return self.frames(compress(stack, map(self._nameless.__getitem__, stack)))


class NamedItems:
    """The numbers of a process' items while its addresses mean one thing, each asked for once.

    time_ns: some moment of that while (CLOCK_MONOTONIC).
    """

    def __init__(self, namer: Namer, numbers: FrameNumbers, pid: int, time_ns: int) -> None:
        self._namer = namer
        self._numbers = numbers
        self._pid = pid
        self._time_ns = time_ns
        self._native: dict[int | None, tuple[int, ...]] = {}  # by the address to look up
        self._evaluators: dict[int | None, tuple[int, ...]] = {}
        self._others: dict[Item, tuple[int, ...]] = {}

    def of(self, items: Iterable[Item]) -> tuple[int, ...]:
        """The numbers of the items' frames."""
        native, evaluators, others = self._native, self._evaluators, self._others
        stack: list[int] = []
        for item in items:
            if type(item) is NativeItem:
                (pc, _, step), evaluator = item
                if (step is _CALLER or step is _FRAME_POINTER) and pc is not None:
                    pc -= 1  # as `lookup_pc` has it, without a call for each frame
                known = evaluators if evaluator else native
                numbers = known.get(pc)
                if numbers is None:
                    numbers = known[pc] = self._ask(item)
            else:
                numbers = others.get(item)
                if numbers is None:
                    numbers = others[item] = self._ask(item)
            stack += numbers
        return tuple(stack)

    def _ask(self, item: Item) -> tuple[int, ...]:
        frames = self._namer.frames(self._pid, self._time_ns, item)
        return tuple(map(self._numbers.number, frames))
