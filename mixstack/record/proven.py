"""Functions without call frame information in which walks died: the rules that their code proves.

Following all code of a large library would take minutes; so it is done for the few functions that
samples met: from their first instruction, where symbols tell it and all paths can be followed (then
all of the function has rules); else from the place where the walk died, to where it returns.
"""

from __future__ import annotations

import functools
from bisect import insort
from collections import defaultdict
from collections.abc import Iterator
from typing import Final, NamedTuple

from mixstack.elf import BadElf, open_elf
from mixstack.record.modules import LoadedModule
from mixstack.record.tables import Placed, TableSpace
from mixstack.record.ways_out import WaysOut
from mixstack.target.maps import MapLine
from mixstack.unwind.bare_code import FUNCTION_MAX, bare_table
from mixstack.unwind.rows import RowKind, UnwindTable, find_gap, find_row

_TRIED_MAX: Final = 512  # functions: each takes milliseconds, and divides a mapping


class Stop(NamedTuple):
    """Where a walk died: the instruction, in the file's own addresses.

    function: where the function that holds it begins and ends, where symbols tell.
    """

    loaded: LoadedModule
    address: int
    function: tuple[int, int] | None


class Function(NamedTuple):
    """`[start, end)` and the base of its table, in the file's own addresses; where the table is."""

    start: int
    end: int
    base: int
    placed: Placed


class ProvenFunctions:
    """The tables of single functions, and of ways out of code that knows no functions."""

    def __init__(self, space: TableSpace) -> None:
        self._space = space
        self._tried: set[tuple[int, int]] = set()
        self._functions: dict[int, list[Function]] = defaultdict(list)  # by module, sorted
        self._ways: dict[int, WaysOut] = defaultdict(lambda: WaysOut(space.place))  # by module

    def add(self, at: Stop) -> bool:
        """Prove rules for where a walk died; whether there are new ones."""
        loaded, stop, function = at
        if function is not None and self._add_function(loaded, *function):
            return True
        module = loaded.module.id
        if any(each.start <= stop < each.end for each in self._functions[module]):
            return False
        gap = _gap(loaded, stop)
        if gap is None or loaded.path is None:
            return False
        for each in self._functions[module]:
            if each.end <= stop:
                gap = max(gap[0], each.end), gap[1]
            elif each.start > stop:
                gap = gap[0], min(gap[1], each.start)
        return self._ways[module].add(stop, gap, functools.partial(_read_file, loaded.path))

    def _add_function(self, loaded: LoadedModule, start: int, end: int) -> bool:
        module = loaded.module.id
        if (module, start) in self._tried or len(self._tried) >= _TRIED_MAX:
            return False
        self._tried.add((module, start))
        functions = self._functions[module]
        if any(start < each.end and each.start < end for each in self._of(module)):
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
        for function in self._of(module):
            start, end = bias + function.start, bias + function.end
            if line.start <= start and end <= line.end:
                if at < start:
                    yield at, start, None
                yield start, end, function
                at = end
        if at < line.end:
            yield at, line.end, None

    def _of(self, module: int) -> list[Function]:
        ways = [
            Function(way.start, way.end, way.table.base, way.placed)
            for way in self._ways[module].parts
        ]
        return sorted([*self._functions[module], *ways])


def _gap(loaded: LoadedModule, stop: int) -> tuple[int, int] | None:
    """The code without rules around an address of a file; None if there are some."""
    segment = next(
        (s for s in loaded.segments if s.executable and s.vaddr <= stop < s.vaddr + s.file_size),
        None,
    )
    if segment is None:
        return None
    low, high = segment.vaddr, segment.vaddr + segment.file_size
    gap = find_gap(loaded.table, stop) if loaded.table is not None else (low, high)
    return None if gap is None else (max(low, gap[0]), min(high, gap[1]))


def _read_file(path: str, address: int, size: int) -> bytes | None:
    try:
        with open_elf(path) as elf:
            return elf.read(address, size)
    except (OSError, BadElf):
        return None


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
