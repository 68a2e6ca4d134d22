"""A joined stack from where its segments go: item by item, or as whatever stands for the items."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from mixstack.model import (
    Fit,
    Item,
    KernelItem,
    MarkItem,
    MergedStack,
    NativeFrame,
    NativeItem,
    PythonFrame,
    PythonItem,
    RawStack,
)

OUTER_END: Final = -1
"""Stands for the place outside of native frame 0."""

NotNative = PythonFrame | MarkItem | KernelItem
_Value = TypeVar("_Value")


class Joined(NamedTuple):
    """How the two stacks of one moment join.

    behind: by native frame that is an evaluator, what follows it; OUTER_END: what precedes
    them all.
    slots: by segment, the native frame that runs it.
    """

    behind: Mapping[int, Sequence[PythonFrame | MarkItem]]
    slots: Mapping[int, int]
    fit: Fit
    native_truncated: bool
    python_truncated: bool


def arrange(
    stack: RawStack,
    joined: Joined,
    natives: Callable[[Sequence[NativeFrame]], Sequence[_Value]],
    evaluator: Callable[[NativeFrame], _Value],
    other: Callable[[NotNative], _Value],
) -> list[_Value]:
    """What stands for each frame and mark of a joined stack, outermost first.

    natives: for frames as if none was an evaluator, all in one go: they are the most.
    """
    native, behind = natives(stack.native), joined.behind
    values: list[_Value] = []
    begin = 0
    for i in sorted(behind):
        if i != OUTER_END:
            values += native[begin:i]
            values.append(evaluator(stack.native[i]))
            begin = i + 1
        values += map(other, behind[i])
    values += native[begin:]
    values += map(other, map(KernelItem, stack.kernel))
    return values


def merged_stack(stack: RawStack, joined: Joined) -> MergedStack:
    """The joined stack, item by item."""

    def natives(frames: Sequence[NativeFrame]) -> list[Item]:
        return [NativeItem(frame, False) for frame in frames]

    def item(part: NotNative) -> Item:
        return PythonItem(part) if isinstance(part, PythonFrame) else part

    items = arrange(stack, joined, natives, lambda frame: NativeItem(frame, True), item)
    return MergedStack(tuple(items), joined.fit, joined.native_truncated, joined.python_truncated)
