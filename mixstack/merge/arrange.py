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
    native: Sequence[_Value],
    kernel: Sequence[int],
    behind: Mapping[int, Sequence[PythonFrame | MarkItem]],
    evaluator: Callable[[int], _Value],
    other: Callable[[NotNative], _Value],
) -> list[_Value]:
    """What stands for each frame and mark of a joined stack, outermost first.

    native: by native frame, as if none was an evaluator. evaluator: by its index, if it is one.
    behind: as in `Joined`.
    """
    values: list[_Value] = []
    begin = 0
    for i in sorted(behind):
        if i != OUTER_END:
            values += native[begin:i]
            values.append(evaluator(i))
            begin = i + 1
        values += map(other, behind[i])
    values += native[begin:]
    values += map(other, map(KernelItem, kernel))
    return values


def merged_stack(stack: RawStack, joined: Joined) -> MergedStack:
    """The joined stack, item by item."""
    natives: list[Item] = [NativeItem(frame, False) for frame in stack.native]

    def evaluator(index: int) -> Item:
        return NativeItem(stack.native[index], True)

    def item(part: NotNative) -> Item:
        return PythonItem(part) if isinstance(part, PythonFrame) else part

    items = arrange(natives, stack.kernel, joined.behind, evaluator, item)
    return MergedStack(tuple(items), joined.fit, joined.native_truncated, joined.python_truncated)
