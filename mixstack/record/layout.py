"""The layout of an interpreter's structures as the probe takes it."""

from __future__ import annotations

from dataclasses import fields, replace

from mixstack.bpf import wire
from mixstack.record.codes import qualname_offset
from mixstack.target.layouts import Layout


def wire_layout(layout: Layout) -> wire.Layout:
    """The offsets as the probe takes them; what a version has not is 0."""
    out = wire.Layout()
    layout = replace(layout, code_qualname=qualname_offset(layout))
    known = {field.name for field in fields(layout)}
    for name, *_ in wire.Layout._fields_:
        if name in known:
            setattr(out, name, getattr(layout, name) or 0)
    return out
