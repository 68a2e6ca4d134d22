"""What debug information says of native code: values, as in `model`, and outermost first, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class SourceCall(NamedTuple):
    """A call as the source has it. `function`: as the linker knows it (mangled), or its plain name.

    file, line: where this function is: its current line, or where it calls the next inner one;
    the path is the compiler's.
    """

    function: str | None
    file: str | None
    line: int | None


@dataclass(frozen=True, slots=True)
class SourceCalls:
    """The calls at an address of a module (the file's own), as its debug information has them.

    Outermost first: the first has the stack frame, the others were inlined into it.
    """

    module_id: int
    vaddr: int
    calls: tuple[SourceCall, ...]
