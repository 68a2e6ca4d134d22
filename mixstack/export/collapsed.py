"""Collapsed stacks: `thread;outermost;...;leaf COUNT`, the input of flame graph tools."""

from __future__ import annotations

import os.path
from collections import Counter
from typing import Final, TextIO

from mixstack.model import Frame, FrameKind, Profile

OFF_CPU: Final = 0  # the stack id of time off the CPU
_SEPARATORS: Final = str.maketrans({";": ":", "\n": " ", "\r": " "})


def write_collapsed(profile: Profile, stream: TextIO) -> None:
    """Write one line per distinct busy stack of a thread name, sorted by name, then by stack.

    COUNT is the time spent in it in sampling periods, rounded, at least 1. Time off the CPU is
    left out. Raises what `stream.write` raises.
    """
    texts = _stack_texts(profile)
    time_by_name: dict[str, Counter[str]] = {}
    for thread in profile.threads:
        times = time_by_name.setdefault(_clean(thread.name), Counter())
        for stack_id, duration_ns in zip(thread.stack_ids, thread.durations_ns, strict=True):
            if stack_id != OFF_CPU:
                times[texts[stack_id]] += duration_ns

    for name, times in sorted(time_by_name.items()):
        for text, duration_ns in sorted(times.items()):
            count = max(1, round(duration_ns / profile.period_ns))
            stream.write(f"{name};{text} {count}\n")


def _stack_texts(profile: Profile) -> list[str]:
    """The text of each stack; stacks that differ only in what is not shown share one."""
    texts = [*map(_frame_text, profile.frames)]
    return [";".join(map(texts.__getitem__, stack)) for stack in profile.stacks]


def _frame_text(frame: Frame) -> str:
    name = _clean(frame.name)
    if frame.kind is FrameKind.KERNEL:
        return f"{name}_[k]"  # the suffix by which flame graph tools know the kernel
    if frame.file is not None and (frame.kind is FrameKind.PYTHON or frame.line is not None):
        place = _clean(os.path.basename(frame.file))
        name = f"{name} ({place})" if frame.line is None else f"{name} ({place}:{frame.line})"
    return f"{name}_[i]" if frame.inlined else name  # as flame graph tools know inlined calls


def _clean(text: str) -> str:
    """`text` without what separates frames and lines."""
    return text.translate(_SEPARATORS)
