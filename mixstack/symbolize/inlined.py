"""A native frame as its source has it: at its line, and with the calls that were inlined there."""

from __future__ import annotations

from collections.abc import Callable

from mixstack.model import Frame, FrameKind, SourceCall
from mixstack.symbolize.plumbing import is_plumbing


def with_source(
    frame: Frame, calls: tuple[SourceCall, ...], readable: Callable[[str], str], own: bool
) -> tuple[Frame, ...]:
    """The frame and the calls inlined into it, outermost first.

    frame: named by its symbol, with its module as its file. calls: at its address, as
    `SourceCalls` has them. readable: demangles. own: the module is the interpreter's.
    What is inlined into plumbing is plumbing.
    """
    if not calls:
        return (frame,)
    first = calls[0]
    if not frame.resolved and first.function is not None:
        plumbing = own and is_plumbing(first.function)
        frame = frame._replace(name=readable(first.function), resolved=True, plumbing=plumbing)
    module, plumbing = frame.file, frame.plumbing
    frames = [frame if first.line is None else frame._replace(file=first.file, line=first.line)]
    for function, file, line in calls[1:]:
        if function is None:
            continue
        plumbing = plumbing or (own and is_plumbing(function))
        if line is None:
            file = module
        frames.append(
            Frame(FrameKind.NATIVE, readable(function), file, line, plumbing, inlined=True)
        )
    return tuple(frames)
