"""The mapped files of a process that have yet to be read, one after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from concurrent.futures import Executor, Future
from threading import Condition
from typing import NamedTuple

from mixstack.record.modules import ModuleRegistry
from mixstack.target.interpreter import read_ahead
from mixstack.target.maps import MapLine
from mixstack.target.process import TargetProcess


class Reader(NamedTuple):
    """Reads files while samples are taken out of the ring.

    executor: each file is a task of its own, so that all processes have their turn. on_read: called
    from there when a file has been read.
    """

    executor: Executor
    on_read: Callable[[], None]


class FileQueue:
    """Reads one file at a time: a large library takes a while, and what is ready is of use.

    reader: goes on from file to file by itself; None: each `step` reads one.
    """

    def __init__(self, registry: ModuleRegistry, reader: Reader | None) -> None:
        self._registry = registry
        self._reader = reader
        self._changed = Condition()  # guards what follows: the reader takes from it
        self._waiting: list[MapLine] = []
        self._reading: MapLine | None = None
        self._wanted: Collection[int] = ()
        self._searches = True
        self._news = False
        self._tasks: deque[Future[None]] = deque()

    def __bool__(self) -> bool:
        with self._changed:
            return bool(self._waiting) or self._reading is not None or self._news

    def copy(self) -> FileQueue:
        """For another process with the same mappings."""
        other = FileQueue(self._registry, self._reader)
        with self._changed:
            other._waiting = [*self._waiting, *([self._reading] if self._reading else [])]
        return other

    def fill(self, lines: tuple[MapLine, ...], first: Collection[MapLine]) -> None:
        """Wait for the files of these mappings that are not known: of `first`, then by size."""
        new = {(m.device, m.inode): m for m in lines if not self._registry.knows(m)}
        sizes = {
            key: sum(m.end - m.start for m in lines if (m.device, m.inode) == key) for key in new
        }
        soon = {(m.device, m.inode) for m in first}
        order = sorted(new, key=lambda key: (key in soon, -sizes[key]))  # the last is read first
        with self._changed:
            reading = self._reading
            if reading is not None and (reading.device, reading.inode) in new:
                order.remove((reading.device, reading.inode))
            self._waiting = [new[key] for key in order]

    def clear(self) -> None:
        """What was mapped is no more; a file that is being read just now is read to its end."""
        with self._changed:
            self._waiting, self._news = [], False

    def read_all(self, process: TargetProcess) -> None:
        """At once, in this thread."""
        with self._changed:
            lines, self._waiting = self._waiting, []
        for line in reversed(lines):
            self._registry.find(process, line)

    def step(self, process: TargetProcess, wanted: Collection[int], search: bool = True) -> bool:
        """Go on; whether a file has been read since the last call.

        wanted: addresses at which a walk died for want of a table; their files come first.
        search: any file may hold the process' interpreter.
        """
        with self._changed:
            self._wanted, self._searches = wanted, search
            if self._reading is None:
                self._begin(process)
            news, self._news = self._news, False
            while self._tasks and self._tasks[0].done():
                self._tasks.popleft().result()
        return news

    def wait(self) -> None:
        """Until something has been read, if anything is being read."""
        with self._changed:
            self._changed.wait_for(lambda: self._news or self._reading is None)

    def _begin(self, process: TargetProcess) -> None:
        """With the next file, if there is one. The lock is held."""
        if not self._waiting:
            return
        chosen = next(
            (m for m in self._waiting if any(m.start <= pc < m.end for pc in self._wanted)),
            self._waiting[-1],
        )
        self._waiting.remove(chosen)
        if self._reader is None:
            self._read(process, chosen)
            self._news = True
        else:
            self._reading = chosen
            self._tasks.append(self._reader.executor.submit(self._read_one, process, chosen))

    def _read_one(self, process: TargetProcess, line: MapLine) -> None:
        """As the reader's task; the next one is the next file's."""
        try:
            self._read(process, line)
        finally:
            with self._changed:
                self._reading, self._news = None, True
                self._changed.notify_all()
                self._begin(process)
            if self._reader is not None:
                self._reader.on_read()

    def _read(self, process: TargetProcess, line: MapLine) -> None:
        self._registry.find(process, line)
        if self._searches:
            read_ahead(process.open_path(line), search=True)
