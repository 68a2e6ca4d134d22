"""Which name a piece of JIT code had at a moment, from what the compilers said and when.

Memory of freed code is used again, so one address may have several names in a recording. What is
not known is when a line of a perf map was written, only between which looks at the file.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from collections.abc import Mapping as MappingOf
from operator import attrgetter
from typing import Final

from mixstack.jit.index import RangeIndex
from mixstack.jit.model import JitSource, JitSymbol

_LIMIT: Final = 1 << 20  # symbols of a process: the recorder writes fewer


class JitNames:
    """Looks up `symbols`: by pid, of each source in the order in which they were said.

    Between two moments at which an address got another name lies an *epoch*; most processes have
    just one.
    """

    def __init__(self, symbols: MappingOf[int, tuple[JitSymbol, ...]]) -> None:
        self._processes = {pid: _Process(of_process) for pid, of_process in symbols.items()}

    def epoch(self, pid: int, time_ns: int) -> int:
        """The number of the epoch of a moment (CLOCK_MONOTONIC)."""
        process = self._processes.get(pid)
        return bisect_right(process.changes, time_ns) if process is not None else 0

    def find(self, pid: int, epoch: int, address: int) -> JitSymbol | None:
        """The code at an address; None if it has no name, or may have had one of several."""
        process = self._processes.get(pid)
        return process.find(epoch, address) if process is not None else None


class _Process:
    def __init__(self, symbols: tuple[JitSymbol, ...]) -> None:
        self._sources = [
            _Source(of_source)
            for source in JitSource
            if (of_source := [symbol for symbol in symbols if symbol.source is source])
        ]
        self.changes = sorted({time for source in self._sources for time in source.changes})

    def find(self, epoch: int, address: int) -> JitSymbol | None:
        time_ns = self.changes[epoch - 1] if epoch else -1
        for source in self._sources:
            found = source.find(time_ns, address)
            if found is not None:
                return found
        return None


class _Source:
    """What one source said, in order."""

    def __init__(self, symbols: Iterable[JitSymbol]) -> None:
        self._symbols: list[JitSymbol] = []
        self._index = RangeIndex(_LIMIT)
        for symbol in symbols:
            if self._index.add(symbol.start, symbol.end - symbol.start):
                self._symbols.append(symbol)
        self.changes = set(_changes(self._symbols))

    def find(self, time_ns: int, address: int) -> JitSymbol | None:
        covering = [self._symbols[number] for number in self._index.covering(address)]
        possible = [symbol for symbol in covering if symbol.after_ns < time_ns < symbol.by_ns]
        possible += [symbol for symbol in covering if symbol.by_ns <= time_ns][-1:]
        # Code is named a little after it began to run, and many writers keep lines back: what was
        # said first holds for the time before, too.
        possible = possible or covering[:1]
        names = {symbol.name for symbol in possible}
        return possible[-1] if len(names) == 1 and None not in names else None


def _changes(symbols: list[JitSymbol]) -> Iterable[int]:
    """The moments at which an address may have changed its name: where ranges overlap."""
    reach: JitSymbol | None = None  # the symbol that reaches furthest so far
    for symbol in sorted(symbols, key=attrgetter("start", "order")):
        if reach is not None and symbol.start < reach.end:
            for each in (reach, symbol):
                yield from (each.after_ns + 1, each.by_ns)
        if reach is None or symbol.end > reach.end:
            reach = symbol
