"""The join where nothing is in doubt: quicker than `splice`, which can do without."""

from __future__ import annotations

from operator import gt

from mixstack.columns import PlainStack
from mixstack.merge.arrange import Joined
from mixstack.model import Fit


def join_plain(stack: PlainStack) -> Joined | None:
    """What `splice.join` says of a plain stack, if each marker lies where its evaluator has it.

    None: that has to be asked. This is but its case in which each frame ends where the next one
    begins, and each segment's marker is as far below the CFA of a frame of its own as all others.
    """
    cfas = stack.cfas
    bottoms = (*cfas[1:], stack.stack_pointer)
    if not all(map(gt, cfas, bottoms)):
        return None
    span = stack.marker_span
    slots, behind = {}, {}
    slot = -1
    for number, (marker, frames) in enumerate(stack.segments):
        if marker is None:
            return None
        if span is None:
            span = min((cfa - marker for cfa in cfas if cfa > marker), default=0)
        try:
            slot = cfas.index(marker + span, slot + 1)
        except ValueError:
            return None
        if not bottoms[slot] <= marker < cfas[slot]:
            return None
        slots[number] = slot
        behind[slot] = frames
    return Joined(behind, slots, Fit.EXACT if slots else Fit.NATIVE_ONLY, False, False)
