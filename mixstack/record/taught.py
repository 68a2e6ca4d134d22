"""What the recorder can tell the probe of an evaluator before a sample has shown it."""

from __future__ import annotations

from typing import Final

from mixstack.bpf import wire
from mixstack.record.modules import LoadedModule
from mixstack.record.shared import Shared
from mixstack.target.interpreter import FoundInterpreter
from mixstack.target.process import TargetProcess
from mixstack.unwind.marker_span import PROLOGUE_SIZE, find_marker_span
from mixstack.unwind.rows import UnwindTable, find_row

INTERPRETERS_MAX: Final = 1024  # the size of the probe's table of what was learned
_SHIM_KINDS: Final = (wire.ChainKind.CFRAME_SHIM, wire.ChainKind.SHIM)


def slot_of(
    shared: Shared, process: TargetProcess, found: FoundInterpreter, loaded: LoadedModule
) -> int | None:
    """Where the probe learns of the evaluator in this module; None: there is no place any more."""
    slots, module = shared.slots, loaded.module.id
    if module not in slots:
        if len(slots) >= INTERPRETERS_MAX:
            return None
        slots[module] = len(slots)
        learned = learned_from_prologue(process, found, loaded.table)
        if learned is not None:
            shared.probe.teach(slots[module], learned)
    return slots[module]


def learned_from_prologue(
    process: TargetProcess, found: FoundInterpreter, table: UnwindTable | None
) -> wire.Learned | None:
    """Where the evaluator keeps its marker, from its own code: a clean stack may never come."""
    layout = found.layout
    if layout.chain_kind not in _SHIM_KINDS or found.evaluator is None or table is None:
        return None
    start, end = found.evaluator
    size = min(PROLOGUE_SIZE, end - start)
    code = process.read(found.load_bias + start, size) or b""
    span = find_marker_span(code, layout.frame_previous, lambda at: find_row(table, start + at))
    if span is None:
        return None
    return wire.Learned(cfa_from_marker=span.cfa_from_marker, rbp_from_cfa=span.rbp_from_cfa)
