"""Functions without call frame information in which walks died: the rules that their code proves.

Following all code of a large library would take minutes; so it is done for the few functions that
samples met.
"""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from collections.abc import Iterator
from typing import Final, NamedTuple

from mixstack.elf import BadElf, open_elf
from mixstack.record.modules import LoadedModule
from mixstack.record.tables import Placed, TableSpace
from mixstack.target.maps import MapLine
from mixstack.unwind.bare_code import FUNCTION_MAX, bare_table
from mixstack.unwind.rows import RowKind, UnwindTable, find_row

_TRIED_MAX: Final = 512  # functions: each takes milliseconds, and divides a mapping


class Function(NamedTuple):
    """`[start, end)` and the base of its table, in the file's own addresses; where the table is."""

    start: int
    end: int
    base: int
    placed: Placed


class ProvenFunctions:
    """The tables of single functions, in the probe."""

    def __init__(self, space: TableSpace) -> None:
        self._space = space
        self._tried: set[tuple[int, int]] = set()
        self._functions: dict[int, list[Function]] = defaultdict(list)  # by module, sorted

    def add(self, loaded: LoadedModule, start: int, end: int) -> bool:
        """Prove the rules of a function of this file; whether there are new ones."""
        module = loaded.module.id
        if (module, start) in self._tried or len(self._tried) >= _TRIED_MAX:
            return False
        self._tried.add((module, start))
        functions = self._functions[module]
        if any(start < each.end and each.start < end for each in functions):
            return False
        table = _prove(loaded, start, end)
        placed = self._space.place(table) if table is not None else None
        if table is None or placed is None:
            return False
        insort(functions, Function(start, end, table.base, placed))
        return True

    def split(
        self, module: int, line: MapLine, bias: int
    ) -> Iterator[tuple[int, int, Function | None]]:
        """A mapping of this module cut at its functions: start, end, and the function or None."""
        at = line.start
        for function in self._functions.get(module, ()):
            start, end = bias + function.start, bias + function.end
            if line.start <= start and end <= line.end:
                if at < start:
                    yield at, start, None
                yield start, end, function
                at = end
        if at < line.end:
            yield at, line.end, None


def _prove(loaded: LoadedModule, start: int, end: int) -> UnwindTable | None:
    if loaded.path is None or not 0 < end - start <= FUNCTION_MAX:
        return None
    if loaded.table is not None:
        row = find_row(loaded.table, start)
        if row is not None and row.kind is not RowKind.NONE:
            return None  # the file speaks of it; what it cannot say in a row, we do not say either
    try:
        with open_elf(loaded.path) as elf:
            code = elf.read(start, end - start)
    except (OSError, BadElf):
        return None
    return bare_table(code, start) if len(code) == end - start else None
