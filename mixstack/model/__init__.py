"""The values that pass between the stages; this module imports nothing of ours.

Every stack here is **outermost first** (the thread's root at index 0, the leaf last): the probe's
records are turned round on the way in. Unknown is `None` or an enum member, never `0` or `"?"`.
"""

from __future__ import annotations

from mixstack.model.raw import (
    ChainEnd,
    CodeKey,
    NativeEnd,
    NativeFrame,
    PythonFrame,
    RawStack,
    Sample,
    Segment,
    Step,
)
from mixstack.model.recorded import (
    Code,
    Footer,
    Interpreter,
    KernelSymbol,
    Losses,
    Mapping,
    MappingSnapshot,
    Module,
    Process,
    Recording,
    SourceCall,
    SourceCalls,
    Symbol,
)
from mixstack.model.shown import (
    Fit,
    Frame,
    FrameKind,
    Item,
    KernelItem,
    MarkItem,
    MarkReason,
    MergedStack,
    NativeItem,
    Profile,
    PythonItem,
    Quality,
    Stop,
    ThreadProfile,
)

__all__ = [
    "ChainEnd",
    "Code",
    "CodeKey",
    "Fit",
    "Footer",
    "Frame",
    "FrameKind",
    "Interpreter",
    "Item",
    "KernelItem",
    "KernelSymbol",
    "Losses",
    "Mapping",
    "MappingSnapshot",
    "MarkItem",
    "MarkReason",
    "MergedStack",
    "Module",
    "NativeEnd",
    "NativeFrame",
    "NativeItem",
    "Process",
    "Profile",
    "PythonFrame",
    "PythonItem",
    "Quality",
    "RawStack",
    "Recording",
    "Sample",
    "Segment",
    "SourceCall",
    "SourceCalls",
    "Step",
    "Stop",
    "Symbol",
    "ThreadProfile",
]
