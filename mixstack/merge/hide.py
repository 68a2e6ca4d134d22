"""What of a named stack is shown."""

from __future__ import annotations

from collections.abc import Sequence

from mixstack.model import Frame


def visible(frames: Sequence[Frame], show_interpreter: bool) -> tuple[Frame, ...]:
    """The frames without the interpreter's own machinery, unless that is asked for.

    If nothing would be left, all are shown: an empty stack means time off the CPU.
    """
    if show_interpreter:
        return tuple(frames)
    return tuple(frame for frame in frames if not frame.plumbing) or tuple(frames)
