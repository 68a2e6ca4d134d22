"""What names can tell where addresses do not: which native frames are the bytecode loop."""

from __future__ import annotations

from posixpath import basename
from typing import Final, Protocol

from mixstack.merge.arrange import Joined
from mixstack.merge.splice import join
from mixstack.model import (
    Fit,
    Frame,
    Item,
    MarkItem,
    MarkReason,
    NativeFrame,
    NativeItem,
    RawStack,
    Step,
)

_EVALUATOR_NAME: Final = "_PyEval_EvalFrameDefault"
# The extension of greenlet, since 1.0 and before.
_SWITCHING_MODULES: Final = ("_greenlet", "greenlet")


Function = tuple[str | None, str]  # module and name


class Namer(Protocol):
    """Gives the items of joined stacks their names."""

    def frame(self, pid: int, time_ns: int, item: Item) -> Frame:
        """The name of `item` in process `pid` at `time_ns` (CLOCK_MONOTONIC)."""
        ...

    def frames(self, pid: int, time_ns: int, item: Item) -> tuple[Frame, ...]:
        """What is shown of `item`, outermost first: at its line, with what was inlined there."""
        ...

    def has_module(self, pid: int, prefixes: tuple[str, ...]) -> bool:
        """Whether a file whose name begins with one of these was mapped in a process."""
        ...

    def generation(self, pid: int, time_ns: int) -> int:
        """Equal at two moments of a process if every item has the same name at both."""
        ...


class Evaluators:
    """Joins stacks, and learns from those that join well which functions hold markers.

    So the evaluator is known in a stripped binary too, and where its symbol covers but its head.
    """

    def __init__(self, namer: Namer) -> None:
        self._namer = namer
        self._known: dict[int, set[Function]] = {}  # by process, what has held a marker
        # By process and a moment that stands for what its addresses mean: where that was, so that
        # each address is named once.
        self._places: dict[tuple[int, int], set[int]] = {}
        self._switching: dict[int, bool] = {}  # by process, whether greenlet is in it

    def join(self, pid: int, time_ns: int, stack: RawStack) -> Joined:
        """Join the stacks of one moment of a process."""
        known = self._known.setdefault(pid, set())

        def named(frame: NativeFrame) -> Frame:
            return self._namer.frame(pid, time_ns, NativeItem(frame, evaluator=False))

        def is_evaluator(frame: NativeFrame) -> bool:
            if frame.pc is None:  # re-synced at a marker
                return True
            function = _function(named(frame))
            return function in known or function[1].partition(".")[0] == _EVALUATOR_NAME

        def switches_stacks(frame: NativeFrame) -> bool:
            module = named(frame).file
            return module is not None and basename(module).startswith(_SWITCHING_MODULES)

        joined = join(stack, is_evaluator, switches_stacks)
        if joined.slots and self._may_switch(pid):
            inside = stack.native[max(joined.slots.values()) + 1 :]
            bare = next((i for i, frame in enumerate(inside) if is_evaluator(frame)), None)
            if bare is not None and any(map(switches_stacks, inside[bare + 1 :])):
                return _relinked(joined)
        # With a known distance from marker to CFA, one frame is proof; else a whole stack is.
        if joined.fit is Fit.EXACT or (not known and stack.marker_span is not None):
            self._learn(pid, time_ns, _holders(joined, stack))
        return joined

    def may_be_plain(self, pid: int) -> bool:
        """Whether the addresses of a stack of this process can tell how it joins."""
        return not self._may_switch(pid)

    def learn(self, pid: int, time_ns: int, address: int) -> None:
        """What is at an address (to be looked up) has held a marker."""
        self._learn(pid, time_ns, {address})

    def _may_switch(self, pid: int) -> bool:
        if pid not in self._switching:
            self._switching[pid] = self._namer.has_module(pid, _SWITCHING_MODULES)
        return self._switching[pid]

    def _learn(self, pid: int, time_ns: int, holders: set[int]) -> None:
        """Remember the functions that hold a marker."""
        places = self._places.setdefault((pid, time_ns), set())
        if holders <= places:
            return
        places |= holders
        for address in holders:
            item = NativeItem(NativeFrame(address, 0, Step.LEAF), evaluator=False)
            function = _function(self._namer.frame(pid, time_ns, item))
            # [anon] and [unknown] are the names of all that has none.
            if not function[1].startswith("["):
                self._known.setdefault(pid, set()).add(function)


def _relinked(joined: Joined) -> Joined:
    """Greenlet is about to switch, and links frames past the markers of their evaluators (3.12+).

    While it has done so with some, what the innermost marker has may be the frames of several.
    """
    innermost = max(joined.slots.values())
    frames = [*joined.behind.get(innermost, ()), MarkItem(MarkReason.UNPLACED)]
    return joined._replace(behind={**joined.behind, innermost: frames}, fit=Fit.PARTIAL)


def _function(frame: Frame) -> Function:
    return frame.file, frame.name


def _holders(joined: Joined, stack: RawStack) -> set[int]:
    """The addresses to look up of the native frames that hold a marker."""
    markers = {segment.marker for segment in stack.segments}
    span = stack.marker_span
    evaluators = [stack.native[i] for i in set(joined.slots.values())]
    return {
        frame.lookup_pc
        for frame in evaluators
        if frame.lookup_pc is not None and (span is None or frame.cfa - span in markers)
    }
