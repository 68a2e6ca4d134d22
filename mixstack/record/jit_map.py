"""The perf map of a process, followed while it grows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mixstack.jit.model import JitSource
from mixstack.jit.perf_map import MapParser
from mixstack.record.growing_file import GrowingFile, Refused
from mixstack.record.jit_entries import JitEntries

_PIECES: Final = 1 << 20  # bytes per look: some 20,000 lines
_TAIL: Final = 1 << 24  # bytes: of a larger file the older lines are passed over


class PerfMap:
    """Opens the file when it appears, also in place of an earlier one, and reads what is added."""

    def __init__(
        self,
        pid: int,
        path: str,
        open_file: Callable[[], GrowingFile],
        note: Callable[[str], None],
    ) -> None:
        """`path` is for messages; `open_file` raises OSError and Refused."""
        self._pid = pid
        self._path = path
        self._open = open_file
        self._note = note
        self._file: GrowingFile | None = None
        self._base = 0  # the order of the file's first byte
        self._begin = 0  # where in the file the entries begin
        self._parser = MapParser()
        self.entries = JitEntries(pid, JitSource.MAP)

    @property
    def behind(self) -> bool:
        """Whether there is more to read already."""
        return self._file is not None and self._file.position < self._file.size

    def poll(self, now_ns: int, limit: int = _PIECES) -> None:
        """Read what is new, up to about `limit` bytes."""
        self._find()
        file = self._file
        if file is None:
            return
        seen = file.size
        if not file.look(now_ns):
            self._base += seen
            self._begin_at(0)
        if file.size - file.position > _TAIL:
            self._begin_at(file.size - _TAIL)
        for data, window in file.pieces(limit):
            order = self._base + file.position - len(data)
            for entry in self._parser.feed(data):
                order += 1  # a line has more bytes than that
                if not self.entries.add(order, *entry, window) and not self.entries.full:
                    self._parser.bad += 1
            if self.entries.full:
                # The newest lines are true; of the oldest ones that is not known any more.
                self._begin_at((self._begin + file.position) // 2)
                break
        if self._parser.bad:
            self._say("some of its lines name no code and were left out")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _find(self) -> None:
        try:
            found = self._open()
        except OSError:
            return
        except Refused as e:
            self._say(f"{e}; it was not read")
            return
        if self._file is None:
            self._file = found
        elif found.identity == self._file.identity:
            found.close()
        else:
            self._base += self._file.size
            self._file.close()
            self._file = found
            self._begin_at(0)

    def _begin_at(self, position: int) -> None:
        """Forget the entries, and go on with the first line behind `position`."""
        assert self._file is not None
        self._file.seek(position)
        self._begin = position
        self._parser = MapParser(inside=position > 0)
        self.entries = JitEntries(self._pid, JitSource.MAP)
        if position > 0:
            self._say("it is so large that only the newest code in it is named")

    def _say(self, what: str) -> None:
        self._note(f"{self._path}: {what}")
