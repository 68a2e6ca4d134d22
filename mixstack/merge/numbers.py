"""Named frames as small integers: hashing whole frames again and again costs more than the join."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain, compress

from mixstack.merge.arrange import Joined, NotNative, arrange
from mixstack.merge.evaluators import Namer
from mixstack.model import (
    Frame,
    Item,
    NativeFrame,
    NativeItem,
    PythonFrame,
    PythonItem,
    RawStack,
    Step,
)

_CALLER, _FRAME_POINTER = Step.CALLER, Step.FRAME_POINTER  # bound once: quicker in the loop

_Numbers = tuple[int, ...]


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
        self._native: dict[int | None, _Numbers] = {}  # by the address to look up
        self._evaluators: dict[int | None, _Numbers] = {}
        self._others = _Others(self._ask)

    def of(self, stack: RawStack, joined: Joined) -> tuple[int, ...]:
        """The numbers of a joined stack's frames."""
        others = self._others.__getitem__
        found = arrange(stack, joined, self._of_natives, self._of_evaluator, others)
        return tuple(chain.from_iterable(found))

    def _of_natives(self, frames: Sequence[NativeFrame]) -> list[_Numbers]:
        # As `lookup_pc` has it, without a call for each frame.
        addresses = [
            pc - 1 if pc and (step is _CALLER or step is _FRAME_POINTER) else pc
            for pc, _, step in frames
        ]
        known = self._native
        try:
            return [*map(known.__getitem__, addresses)]
        except KeyError:
            for frame, address in zip(frames, addresses, strict=True):
                if address not in known:
                    known[address] = self._ask(NativeItem(frame, False))
            return [*map(known.__getitem__, addresses)]

    def _of_evaluator(self, frame: NativeFrame) -> _Numbers:
        address = frame.lookup_pc
        numbers = self._evaluators.get(address)
        if numbers is None:
            numbers = self._evaluators[address] = self._ask(NativeItem(frame, True))
        return numbers

    def _ask(self, item: Item) -> _Numbers:
        frames = self._namer.frames(self._pid, self._time_ns, item)
        return tuple(map(self._numbers.number, frames))


class _Others(dict[NotNative, _Numbers]):
    """The numbers of what is no native frame; those that are not known yet are asked for."""

    def __init__(self, ask: Callable[[Item], _Numbers]) -> None:
        self._ask = ask

    def __missing__(self, part: NotNative) -> _Numbers:
        item = PythonItem(part) if isinstance(part, PythonFrame) else part
        numbers = self[part] = self._ask(item)
        return numbers
