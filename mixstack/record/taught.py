"""What the recorder can tell the probe of an evaluator before a sample has shown it."""

from __future__ import annotations

from typing import Final

from mixstack.bpf import wire
from mixstack.target.interpreter import FoundInterpreter
from mixstack.target.process import TargetProcess
from mixstack.unwind.marker_span import PROLOGUE_SIZE, find_marker_span
from mixstack.unwind.rows import UnwindTable, find_row

_SHIM_KINDS: Final = (wire.ChainKind.CFRAME_SHIM, wire.ChainKind.SHIM)


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
