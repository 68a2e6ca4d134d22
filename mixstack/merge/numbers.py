"""Named frames as small integers: hashing whole frames again and again costs more than the join."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, compress

from mixstack.compiled.joins import NAMELESS, SHOWN, Kind
from mixstack.merge.arrange import Joined, NotNative, arrange
from mixstack.merge.evaluators import Namer
from mixstack.model import (
    CodeKey,
    Frame,
    Item,
    KernelItem,
    NativeFrame,
    NativeItem,
    PythonFrame,
    PythonItem,
    RawStack,
    Step,
)

# Of the second word of `struct ms_python`: the offset is its lower half.
_OFFSET, _OFFSET_SIGN = 0xFFFFFFFF, 0x80000000

_CALLER, _FRAME_POINTER = Step.CALLER, Step.FRAME_POINTER  # bound once: quicker in the loop

_Numbers = tuple[int, ...]


class FrameNumbers:
    """The different frames in the order in which they came, and what of them is shown."""

    def __init__(self, *, show_interpreter: bool) -> None:
        self._show_interpreter = show_interpreter
        self._numbers: dict[Frame, int] = {}
        self._frames: list[Frame] = []
        self._shown: list[bool] = []
        self._nameless: set[int] = set()

    def number(self, frame: Frame) -> int:
        """The number of a frame; equal frames have the same."""
        number = self._numbers.setdefault(frame, len(self._frames))
        if number == len(self._frames):
            self._frames.append(frame)
            self._shown.append(self._show_interpreter or not frame.plumbing)
            if not frame.resolved:
                self._nameless.add(number)
        return number

    @property
    def all(self) -> tuple[Frame, ...]:
        """The frames, by their numbers."""
        return tuple(self._frames)

    def visible(self, stack: tuple[int, ...]) -> bytes:
        """A stack without the interpreter's own machinery, unless that is asked for, as u32.

        If nothing would be left, all is shown: an empty stack means time off the CPU.
        """
        shown = array("I", compress(stack, map(self._shown.__getitem__, stack)))
        return (shown or array("I", stack)).tobytes()

    def nameless(self, stack: Iterable[int]) -> tuple[Frame, ...]:
        """The frames of a stack that have no proper name."""
        return tuple(self._frames[number] for number in stack if number in self._nameless)

    def marked(self, number: int) -> int:
        """The number with what is to be known of it."""
        shown = SHOWN if self._shown[number] else 0
        return number | shown | (NAMELESS if number in self._nameless else 0)


class NamedItems:
    """The numbers of a process' items while its addresses mean one thing, each asked for once.

    time_ns: some moment of that while (CLOCK_MONOTONIC).
    """

    def __init__(self, namer: Namer, numbers: FrameNumbers, pid: int, time_ns: int) -> None:
        self._namer = namer
        self._numbers = numbers
        self._pid = pid
        self._time_ns = time_ns
        self._natives = _Natives(self._ask, evaluator=False)
        self._evaluators = _Natives(self._ask, evaluator=True)
        self._others = _Others(self._ask)

    def of(self, stack: RawStack, joined: Joined) -> tuple[int, ...]:
        """The numbers of a joined stack's frames."""
        # As `lookup_pc` has it, without a call for each frame.
        addresses = [
            pc - 1 if pc is not None and (step is _CALLER or step is _FRAME_POINTER) else pc
            for pc, _, step in stack.native
        ]

        def evaluator(index: int) -> _Numbers:
            return self._evaluators[addresses[index]]

        native = [*map(self._natives.__getitem__, addresses)]
        others = self._others.__getitem__
        found = arrange(native, stack.kernel, joined.behind, evaluator, others)
        return tuple(chain.from_iterable(found))

    def name(self, kind: Kind, first: int, second: int) -> Iterator[int]:
        """The numbers of an item, marked, as `PlainJoins` asks for it."""
        if kind is Kind.NATIVE:
            numbers = self._natives[first]
        elif kind is Kind.EVALUATOR:
            numbers = self._evaluators[first]
        elif kind is Kind.KERNEL:
            numbers = self._others[KernelItem(first)]
        else:
            offset = (second & _OFFSET) - ((second & _OFFSET_SIGN) << 1)
            numbers = self._others[PythonFrame(CodeKey(first, second >> 32), offset)]
        return map(self._numbers.marked, numbers)

    def _ask(self, item: Item) -> _Numbers:
        frames = self._namer.frames(self._pid, self._time_ns, item)
        return tuple(map(self._numbers.number, frames))


class _Natives(dict[int | None, _Numbers]):
    """The numbers of native frames by the address to look up, which is all that names go by.

    None: of a frame that the walk re-synced at.
    """

    def __init__(self, ask: Callable[[Item], _Numbers], *, evaluator: bool) -> None:
        self._ask = ask
        self._evaluator = evaluator

    def __missing__(self, address: int | None) -> _Numbers:
        step = Step.RESYNC if address is None else Step.LEAF  # the leaf's address is its pc
        item = NativeItem(NativeFrame(address, 0, step), self._evaluator)
        numbers = self[address] = self._ask(item)
        return numbers


class _Others(dict[NotNative, _Numbers]):
    """The numbers of what is no native frame; those that are not known yet are asked for."""

    def __init__(self, ask: Callable[[Item], _Numbers]) -> None:
        self._ask = ask

    def __missing__(self, part: NotNative) -> _Numbers:
        item = PythonItem(part) if isinstance(part, PythonFrame) else part
        numbers = self[part] = self._ask(item)
        return numbers
