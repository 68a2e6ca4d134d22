"""An interpreter, and the layout of its structures, as the probe takes them."""

from __future__ import annotations

from dataclasses import fields, replace

from mixstack.bpf import wire
from mixstack.record.codes import qualname_offset
from mixstack.target.interpreter import FoundInterpreter
from mixstack.target.layouts import Layout

_U64 = (1 << 64) - 1


def wire_layout(layout: Layout) -> wire.Layout:
    """The offsets as the probe takes them; what a version has not is 0."""
    out = wire.Layout()
    layout = replace(layout, code_qualname=qualname_offset(layout))
    known = {field.name for field in fields(layout)}
    for name, *_ in wire.Layout._fields_:
        if name in known:
            setattr(out, name, getattr(layout, name) or 0)
    return out


def fill_entry(entry: wire.ProcessEntry, found: FoundInterpreter) -> None:
    """Put what is known of a process' interpreter into its entry."""
    entry.layout = wire_layout(found.layout)
    entry.code_type = found.code_type
    entry.interp_head = found.interp_head
    entry.interp_threads_head = found.layout.interp_threads_head
    entry.interp_next = found.layout.interp_next
    entry.tss_slot = (found.tss_slot_offset or 0) & _U64
    entry.code_start, entry.code_end = found.text
    if found.evaluator is not None:
        entry.evaluator_start = found.load_bias + found.evaluator[0]
        entry.evaluator_end = found.load_bias + found.evaluator[1]
