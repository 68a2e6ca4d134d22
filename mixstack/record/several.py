"""Whether a program has more than one interpreter by now: then a thread may have several states."""

from __future__ import annotations

from mixstack.target.interpreter import FoundInterpreter
from mixstack.target.text import ReadMemory
from mixstack.target.thread_states import has_several_interpreters, newest_interpreter


class InterpreterWatch:
    """Asked ten times a second: a single pointer tells whether anything can have changed."""

    def __init__(self) -> None:
        self._of: FoundInterpreter | None = None
        self._newest: int | None = None
        self._several = False

    def look(self, read: ReadMemory, found: FoundInterpreter) -> bool:
        """Whether `found`, the main one, is not the only one any more."""
        newest = newest_interpreter(read, found.interp_head)
        if found is not self._of or newest != self._newest:
            self._of, self._newest = found, newest
            self._several = has_several_interpreters(read, found.interp_head, found.layout)
        return self._several
