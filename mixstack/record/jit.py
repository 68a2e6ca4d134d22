"""`JitBook`: what is known of the JIT code of one process, and which of it was met in samples."""

from __future__ import annotations

import functools
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from posixpath import basename
from typing import Final

from mixstack.jit.index import PAGE_SHIFT
from mixstack.jit.model import JitSource, JitSymbol
from mixstack.record.growing_file import GrowingFile, Refused, checked, open_of
from mixstack.record.jit_debugger import Debugger, JitFrames
from mixstack.record.jit_dump import DumpedCode, JitDump
from mixstack.record.jit_entries import JitEntries
from mixstack.record.jit_map import PerfMap
from mixstack.target.maps import MapLine
from mixstack.target.process import TargetProcess

_ROOT_USER: Final = 0
_DESCRIPTORS_MAX: Final = 8  # copies of LLVM in one process
_DUMPS_MAX: Final = 8
_PAUSE_NS: Final = 50_000_000
_SLACK_S: Final = 1.0  # the file system's clock is coarser than that of processes


class JitBook:
    """Follows the sources of one program's JIT names; made anew when the process execs."""

    def __init__(self, process: TargetProcess, note: Callable[[str], None]) -> None:
        self._process = process
        self._started_s = process.started_unix_s() - _SLACK_S
        self._users = {_ROOT_USER} | {user for user in (process.user(),) if user is not None}
        # Its root folder, held: by the last look it may be gone, and its root with it.
        self._root = _open_root(process.pid)
        self._tell = note
        self._told: set[str] = set()
        self._dumps: dict[tuple[int, int], JitDump | None] = {}  # by device and inode
        self._debuggers: dict[int, Debugger] = {}
        own_pid = process.own_pid()
        self._dump_name = f"jit-{own_pid}.dump"
        path = f"/tmp/perf-{own_pid}.map"
        self._map = PerfMap(process.pid, path, functools.partial(self._open, path), self._note)
        self._looked_ns = 0
        self._met: defaultdict[int, set[int]] = defaultdict(set)  # addresses, by page
        self._written: set[tuple[JitSource, int]] = set()

    def look(self, *, at_once: bool = False) -> None:
        """Read what was said since the last look, if that is a while ago or at once.

        The more often, the better is known when memory was used again.
        """
        now_ns = time.monotonic_ns()
        if at_once or now_ns - self._looked_ns >= _PAUSE_NS:
            self._looked_ns = now_ns
            self._read_files(now_ns)
            for debugger in self._debuggers.values():
                debugger.poll(now_ns)

    def new_symbols(self, addresses: Iterable[int], *, last: bool = False) -> list[JitSymbol]:
        """What was learned of these addresses (in no module), and since then of earlier ones.

        last: the program makes no more code: read all that is in its files. Not in its memory:
        another program's may be there by now.
        """
        if last:
            self._read_files(time.monotonic_ns())
            while self._map.behind or any(dump.behind for dump in self._opened()):
                self._read_files(time.monotonic_ns())
        fresh: defaultdict[int, set[int]] = defaultdict(set)
        for address in addresses:
            page = address >> PAGE_SHIFT
            if address not in self._met[page]:
                self._met[page].add(address)
                fresh[page].add(address)
        sources: list[PerfMap | JitDump | Debugger] = [
            self._map,
            *self._opened(),
            *self._debuggers.values(),
        ]
        return [s for source in sources for s in self._look_up(source.entries, fresh)]

    def look_for_dumps(self, lines: Iterable[MapLine]) -> None:
        """Follow the jitdump files among the executable mappings: so their writers show them."""
        for line in lines:
            key = line.device, line.inode
            if line.file_path is None or basename(line.file_path) != self._dump_name:
                continue
            if key not in self._dumps and len(self._dumps) < _DUMPS_MAX:
                self._dumps[key] = self._open_dump(line, line.file_path)

    @property
    def wants_descriptors(self) -> bool:
        """Whether samples met code that might be registered for debuggers."""
        return bool(self._met)

    def add_descriptor(self, address: int) -> None:
        """Follow the list of objects whose head lies there."""
        if address not in self._debuggers and len(self._debuggers) < _DESCRIPTORS_MAX:
            self._debuggers[address] = Debugger(
                self._process, address, self._note, len(self._debuggers)
            )

    @property
    def frames(self) -> tuple[JitFrames, ...]:
        """The unwind information of the code that is registered now."""
        return tuple(f for debugger in self._debuggers.values() for f in debugger.frames)

    def dumped_at(self, address: int, within: tuple[int, int]) -> DumpedCode | None:
        """What a jitdump file says of the unwinding of the code at an address, in a mapping."""
        found = (dump.code_at(address) for dump in self._opened())
        start, end = within
        return next((c for c in found if c and start <= c.frames.start < c.frames.end <= end), None)

    def close(self) -> None:
        self._map.close()
        for dump in self._opened():
            dump.close()
        if self._root is not None:
            os.close(self._root)

    def _read_files(self, now_ns: int) -> None:
        self._map.poll(now_ns)
        for dump in self._opened():
            dump.poll(now_ns)

    def _look_up(self, entries: JitEntries, fresh: dict[int, set[int]]) -> list[JitSymbol]:
        """All that a source said of fresh addresses, and what it said lately of the others."""
        touched = set(entries.index.pages_since(entries.looked_up))
        entries.looked_up = len(entries.index)
        pages = self._met.keys() if -1 in touched else touched & self._met.keys()
        numbers: set[int] = set()
        for page in pages:
            numbers.update(n for each in self._met[page] for n in entries.index.covering(each))
        for page in fresh.keys() - pages:
            numbers.update(n for each in fresh[page] for n in entries.index.covering(each))
        symbols = []
        for number in sorted(numbers):
            key = entries.source, entries.order(number)
            if key not in self._written:
                self._written.add(key)
                symbols.append(entries.symbol(number))
        return symbols

    def _note(self, what: str) -> None:
        """Said once: a file that is odd stays so."""
        if what not in self._told:
            self._told.add(what)
            self._tell(f"process {self._process.pid}: {what}")

    def _opened(self) -> list[JitDump]:
        return [dump for dump in self._dumps.values() if dump is not None]

    def _open_dump(self, line: MapLine, path: str) -> JitDump | None:
        try:
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
            file = checked(os.open(self._process.open_path(line), flags), self._users, 0)
        except OSError:
            return None
        except Refused as e:
            self._note(f"{path}: {e}; it was not read")
            return None
        if file.identity[1] != line.inode:  # another one took its name
            file.close()
            return None
        return JitDump(self._process.pid, path, file, self._note, len(self._dumps))

    def _open(self, path: str) -> GrowingFile:
        if self._root is None:
            raise FileNotFoundError(path)
        return open_of(f"/proc/self/fd/{self._root}", path, self._users, self._started_s)


def _open_root(pid: int) -> int | None:
    try:
        return os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
