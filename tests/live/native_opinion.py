"""Native stacks by a second opinion: the debugger's frames beside those of the probe's walk."""

from __future__ import annotations

import enum
from bisect import bisect_right
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from mixstack.capture.reader import Capture
from mixstack.elf import open_elf
from mixstack.model import NativeEnd, NativeFrame, Sample, Step
from mixstack.symbolize.address_space import AddressSpaces
from mixstack.unwind.cfi import read_frames

from .harness import show
from .stopping import SYSTEM_CALL, Meeting, Stopped


class Outcome(enum.Enum):
    SAME = "the same frames to the root"
    CUT = "the walk stopped, or started again further out, and says so; its frames are the same"
    BLIND = "the debugger's own walk stopped early; as far as it goes, all is the same"
    GUESSED = "they part where code has no call frame information: the debugger guesses there"
    NOT_SAMPLED = "no sample was taken at this moment"
    DIFFERENT = "different"


Theirs = tuple[int, "int | None"]  # pc, and the CFA, which is not known of the outermost


class Judge:
    """Compares the meetings of one recording."""

    def __init__(self, capture: Capture) -> None:
        self._spaces = AddressSpaces(capture.mappings)
        self._modules = capture.modules

    def compare(self, meeting: Meeting) -> tuple[Outcome, str]:
        """What is true of a meeting, and a text that shows it."""
        stopped, stack = meeting.stopped, meeting.stack
        if stack is None:
            return Outcome.NOT_SAMPLED, f"thread {stopped.tid} at {stopped.pc:#x}"
        raw = stack.sample.stack
        ours = raw.native[::-1]
        whole = raw.native_end in (NativeEnd.ROOT, NativeEnd.EXITING)
        agreed, end = _agree(ours, _frames(stopped), whole)
        text = f"{_beside(ours, stopped)}\n  agreed {agreed}, {raw.native_end.name}"
        text += f", end {raw.end_pc or 0:#x}\n{show(stack.full)}"
        if end is Outcome.DIFFERENT and self._debugger_guessed(stack.sample, stopped, agreed):
            return Outcome.GUESSED, text
        return end, text

    def _debugger_guessed(self, sample: Sample, stopped: Stopped, agreed: int) -> bool:
        """Whether the last frame whose pc is the same on both sides has no rules."""
        if agreed == 0:
            return False
        pc = stopped.native[agreed - 1][0] - (agreed > 1)  # of a caller: the call before it
        return not self._has_rules(sample.pid, sample.time_ns, pc)

    def _has_rules(self, pid: int, time_ns: int, pc: int) -> bool:
        found = self._spaces.find(pid, self._spaces.generation(pid, time_ns), pc)
        if found is None or found.module_id is None:
            return False
        path = Path(self._modules[found.module_id].path)
        return not path.exists() or _covered(path, pc - found.load_bias)


def _frames(stopped: Stopped) -> list[Theirs]:
    return [(pc, cfa) for pc, cfa, _ in stopped.native]


def _agree(
    ours: Sequence[NativeFrame], theirs: Sequence[Theirs], whole: bool
) -> tuple[int, Outcome]:
    """How many pcs of the debugger's, innermost first, are ours too, and what it all means.

    whole: our walk reached the root.
    """
    at = 0
    started_again = False
    for i, frame in enumerate(ours):
        if frame.step is Step.RESYNC:
            further = [j for j in range(at, len(theirs)) if theirs[j][1] == frame.cfa]
            if not further:
                return at, Outcome.DIFFERENT
            at = further[0] + 1
            started_again = True
            continue
        if at == len(theirs):
            return at, Outcome.DIFFERENT
        if theirs[at][0] == 0:
            return at, Outcome.BLIND
        pc, cfa = theirs[at]
        if frame.pc != pc and (frame.step is not Step.LEAF or frame.pc != pc - SYSTEM_CALL):
            return at, Outcome.DIFFERENT
        at += 1
        left = i + 1 < len(ours) and ours[i + 1].step is not Step.RESYNC
        if left and cfa not in (frame.cfa, None):
            return at, Outcome.DIFFERENT
    if not whole:
        return at, Outcome.CUT
    if any(pc for pc, _ in theirs[at:]):
        return at, Outcome.DIFFERENT
    return at, Outcome.CUT if started_again else Outcome.SAME


@cache
def _ranges(path: Path) -> tuple[list[int], list[int]]:
    """Starts and ends of the code that has call frame information."""
    with open_elf(str(path)) as elf:
        entries = sorted((fde.start, fde.start + fde.size) for fde in read_frames(elf))
    return [start for start, _ in entries], [end for _, end in entries]


def _covered(path: Path, vaddr: int) -> bool:
    starts, ends = _ranges(path)
    before = bisect_right(starts, vaddr) - 1
    return before >= 0 and vaddr < ends[before]


def _beside(ours: Sequence[NativeFrame], stopped: Stopped) -> str:
    """Both walks, innermost first."""
    lines = [f"thread {stopped.tid}, stop {stopped.stop}; the debugger's:"]
    lines += [f"  {pc:#x} {cfa or 0:#x} {name}" for pc, cfa, name in stopped.native]
    lines.append("mixstack's:")
    lines += [f"  {frame.pc or 0:#x} {frame.cfa:#x} {frame.step.name}" for frame in ours]
    return "\n".join(lines)
