"""Executable mappings as the capture and as the probe know them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mixstack.bpf import wire
from mixstack.model import Mapping
from mixstack.record.jit_tables import JitRoom, JitTables
from mixstack.record.modules import VDSO, LoadedModule, ModuleRegistry
from mixstack.record.proven import ProvenFunctions, Stop
from mixstack.record.tables import Placed, TableSpace
from mixstack.target.maps import MapLine
from mixstack.target.process import TargetProcess
from mixstack.unwind.trampoline import Piece, arena_table, split_arenas

TRAMPOLINE: Final = "[perf trampoline]"
ANONYMOUS: Final = "[anon]"
_SEARCHED: Final = 16 << 20  # bytes; in larger anonymous mappings no trampolines are looked for

Described = tuple[Mapping, wire.MappingEntry]


class Describer:
    """Describes the mappings of processes; places the tables that they need.

    modules: those that were met, by id. jit_room: where tables of JIT code are placed.
    """

    def __init__(self, registry: ModuleRegistry, space: TableSpace) -> None:
        self.modules: dict[int, LoadedModule] = {}
        self._registry = registry
        self._space = space
        self.jit_room = JitRoom(space)
        self._arenas: dict[tuple[bytes, int], Placed | None] = {}  # by stub and stride
        self._proven = ProvenFunctions(space)

    def describe(
        self,
        process: TargetProcess,
        line: MapLine,
        stub: bytes | None,
        jit: JitTables | None = None,
    ) -> list[Described]:
        """A mapping, in the parts that have tables of their own.

        A file that has not been read yet has none so far. stub: the code of which the
        interpreter's perf trampolines are copies. jit: the tables of the process' JIT code.
        """
        known = self._registry.knows(line)
        loaded = self._registry.find(process, line) if known else None
        bias = loaded.bias(line) if loaded is not None else None
        if loaded is None or bias is None:
            pieces = _pieces(process, line, stub)
            return [
                each for piece in pieces for each in self._describe_piece(line, piece, stub, jit)
            ]
        self.modules[loaded.module.id] = loaded
        placed = self._registry.place(loaded, self._space)
        label = VDSO if line.path == VDSO else None
        base = bias + loaded.table.base if loaded.table is not None else 0
        described: list[Described] = []
        for start, end, function in self._proven.split(loaded.module.id, line, bias):
            mapping = Mapping(start, end, bias, loaded.module.id, label)
            if function is None:
                described.append((mapping, _entry(start, end, base, placed)))
            else:
                described.append(
                    (mapping, _entry(start, end, bias + function.base, function.placed))
                )
        return described

    def add_stop(self, stop: Stop) -> bool:
        """Take in rules for code that has none in its file, if they are proven."""
        return self._proven.add(stop)

    def _describe_piece(
        self, line: MapLine, piece: Piece, stub: bytes | None, jit: JitTables | None
    ) -> Iterator[Described]:
        start, end = line.start + piece.start, line.start + piece.end
        placed = None
        if stub is not None and piece.stride is not None:
            placed = self._place_trampolines(stub, piece.stride)
        label = TRAMPOLINE if placed is not None else line.path or ANONYMOUS
        at = start
        for part in jit.within(start, end) if jit is not None and placed is None else ():
            if at < part.start:
                yield Mapping(at, part.start, start, None, label), _entry(at, part.start, at, None)
            at = part.end
            entry = _entry(part.start, at, part.table.base, part.placed)
            yield Mapping(part.start, at, start, None, label), entry
        if at < end:
            yield Mapping(at, end, start, None, label), _entry(at, end, at, placed)

    def _place_trampolines(self, stub: bytes, stride: int) -> Placed | None:
        key = stub, stride
        if key not in self._arenas:
            table = arena_table(stub, stride)
            self._arenas[key] = self._space.place(table) if table is not None else None
        return self._arenas[key]


def _pieces(process: TargetProcess, line: MapLine, stub: bytes | None) -> list[Piece]:
    """Memory without a module: the arenas of trampolines in it, and the rest."""
    size = line.end - line.start
    # 3.15 in development mode has the kernel name its memory: [anon:cpython:perf_trampoline]
    anonymous = not line.path or line.path.startswith("[anon:")
    if stub is not None and anonymous and size <= _SEARCHED:
        memory = process.read(line.start, size)
        if memory is not None:
            return split_arenas(stub, memory)
    return [Piece(0, size, None)]


def _entry(start: int, end: int, base: int, placed: Placed | None) -> wire.MappingEntry:
    if placed is None:
        return wire.MappingEntry(start=start, end=end, kind=wire.MappingKind.NO_TABLE)
    return wire.MappingEntry(
        start=start,
        end=end,
        base=base,
        first_page=placed.first_page,
        pages=placed.pages,
        kind=wire.MappingKind.TABLE,
    )
