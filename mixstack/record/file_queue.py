"""The mapped files of a process that have yet to be read, one after the other."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import Executor, Future, wait

from mixstack.record.modules import ModuleRegistry
from mixstack.target.interpreter import read_ahead
from mixstack.target.maps import MapLine
from mixstack.target.process import TargetProcess


class FileQueue:
    """Reads one file at a time: a large library takes a second, and what is ready is of use.

    executor: reads them while samples are taken out of the ring; None: `step` reads.
    """

    def __init__(self, registry: ModuleRegistry, executor: Executor | None) -> None:
        self._registry = registry
        self._executor = executor
        self._waiting: list[MapLine] = []
        self._job: tuple[MapLine, Future[None]] | None = None

    def __bool__(self) -> bool:
        return bool(self._waiting) or self._job is not None

    def copy(self) -> FileQueue:
        """For another process with the same mappings."""
        other = FileQueue(self._registry, self._executor)
        other._waiting = [*self._waiting, *([self._job[0]] if self._job else [])]
        return other

    def fill(self, lines: tuple[MapLine, ...], first: Collection[MapLine]) -> None:
        """Wait for the files of these mappings that are not known: of `first`, then by size."""
        new = {(m.device, m.inode): m for m in lines if not self._registry.knows(m)}
        sizes = {
            key: sum(m.end - m.start for m in lines if (m.device, m.inode) == key) for key in new
        }
        if self._job is not None:
            new.pop((self._job[0].device, self._job[0].inode), None)
        soon = {(m.device, m.inode) for m in first}
        order = sorted(new, key=lambda key: (key in soon, -sizes[key]))  # the last is read first
        self._waiting = [new[key] for key in order]

    def clear(self) -> None:
        self._waiting, self._job = [], None

    def read_all(self, process: TargetProcess) -> None:
        """At once, in this thread."""
        while self._waiting:
            self._registry.find(process, self._waiting.pop())

    def step(self, process: TargetProcess, wanted: Collection[int]) -> bool:
        """Go on; whether a file has been read since the last call.

        wanted: addresses at which a walk died for want of a table; their files come first.
        """
        done = self._job is not None and self._job[1].done()
        if self._job is not None and done:
            self._job[1].result()
            self._job = None
        if not self._waiting or self._job is not None:
            return done
        chosen = next(
            (m for m in self._waiting if any(m.start <= pc < m.end for pc in wanted)),
            self._waiting[-1],
        )
        self._waiting.remove(chosen)
        if self._executor is None:
            self._read(process, chosen)
            return True
        self._job = chosen, self._executor.submit(self._read, process, chosen)
        return done

    def wait(self) -> None:
        """Until the file that is being read has been."""
        if self._job is not None:
            wait([self._job[1]])

    def _read(self, process: TargetProcess, line: MapLine) -> None:
        self._registry.find(process, line)
        read_ahead(process.open_path(line), search=True)
