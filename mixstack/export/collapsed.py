"""Collapsed stacks: `thread;outermost;...;leaf COUNT`, the input of flame graph tools."""

from __future__ import annotations

import os.path
from collections import Counter
from typing import Final, TextIO

from mixstack.model import Frame, FrameKind, Profile

OFF_CPU: Final = 0  # the stack id of time off the CPU
_SEPARATORS: Final = str.maketrans({";": ":", "\n": " ", "\r": " "})


def write_collapsed(profile: Profile, stream: TextIO) -> None:
    """Write one sorted line per distinct busy stack of a thread name.

    COUNT is the time spent in it in sampling periods, rounded, at least 1. Time off the CPU is
    left out. Raises what `stream.write` raises.
    """
    time_by_thread: dict[str, Counter[int]] = {}
    for thread in profile.threads:
        times = time_by_thread.setdefault(thread.name, Counter())
        for stack_id, duration_ns in zip(thread.stack_ids, thread.durations_ns, strict=True):
            times[stack_id] += duration_ns

    texts = [";".join(map(_frame_text, stack)) for stack in profile.stacks]
    time_by_line: Counter[str] = Counter()  # stacks may differ in what the text does not show
    for name, times in time_by_thread.items():
        for stack_id, duration_ns in times.items():
            if stack_id != OFF_CPU:
                time_by_line[f"{_clean(name)};{texts[stack_id]}"] += duration_ns

    for line in sorted(time_by_line):
        count = max(1, round(time_by_line[line] / profile.period_ns))
        stream.write(f"{line} {count}\n")


def _frame_text(frame: Frame) -> str:
    name = _clean(frame.name)
    if frame.kind is FrameKind.KERNEL:
        return f"{name}_[k]"  # the suffix by which flame graph tools know the kernel
    if frame.kind is FrameKind.PYTHON and frame.file is not None:
        place = _clean(os.path.basename(frame.file))
        return f"{name} ({place})" if frame.line is None else f"{name} ({place}:{frame.line})"
    return name


def _clean(text: str) -> str:
    """`text` without what separates frames and lines."""
    return text.translate(_SEPARATORS)
