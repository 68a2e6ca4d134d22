"""The jitdump file of a process, followed while it grows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mixstack.jit.jitdump import (
    HEAD_SIZE,
    RECORD_SIZE,
    WANTED,
    BadDump,
    DumpHead,
    Load,
    Move,
    RecordHead,
    parse_head,
    parse_record,
    parse_record_head,
)
from mixstack.jit.model import JitSource
from mixstack.record.growing_file import GrowingFile, Window
from mixstack.record.jit_entries import JitEntries

_RECORDS: Final = 5_000  # per look
_RECORDS_MAX: Final = 1 << 19


class JitDump:
    """Reads what is added to an open file. What is behind a record that cannot be is not read."""

    def __init__(
        self, pid: int, path: str, file: GrowingFile, note: Callable[[str], None], number: int
    ) -> None:
        """`path` is for messages. `number`: which of the process' files it is, for the orders."""
        self._path = path
        self._file = file
        self._note = note
        self._order = number << 48
        self._head: DumpHead | None = None
        self._position = 0
        self._read_ns = 0  # all that was there then was read
        self._records = 0
        self._stopped = False
        self._numbers: dict[int, int] = {}  # of entries, by the number of the code
        self.behind = False
        self.entries = JitEntries(pid, JitSource.DUMP)

    def poll(self, now_ns: int) -> None:
        """Read what is new, up to so many records."""
        if self._stopped:
            return
        try:
            if not self._file.look(now_ns):
                raise BadDump("it was cut")
            self.behind = self._read(now_ns)
        except BadDump as e:
            self._stop(f"{e}; what follows was not read")
        if not self.behind:
            self._read_ns = now_ns

    def close(self) -> None:
        self._file.close()

    def _read(self, now_ns: int) -> bool:
        """Whether there is more. Raises BadDump."""
        file = self._file
        if self._head is None:
            if file.size < HEAD_SIZE:
                return False
            self._head = parse_head(file.read_at(0, HEAD_SIZE))
            self._position = self._head.size
        for _ in range(_RECORDS):
            data = file.read_at(self._position, WANTED)
            if len(data) < RECORD_SIZE:
                return False
            head = parse_record_head(data)
            if self._position + head.size > file.size:
                return False
            self._take(head, parse_record(head.kind, data[: head.size]), now_ns)
            self._position += head.size
            self._records += 1
            if self.entries.full or self._records >= _RECORDS_MAX:
                raise BadDump("it holds more than can be kept")
        return True

    def _take(self, head: RecordHead, record: Load | Move | None, now_ns: int) -> None:
        assert self._head is not None
        window = Window(self._read_ns, now_ns)
        if self._head.timed and 0 < head.time_ns <= now_ns:
            window = Window(head.time_ns, head.time_ns)
        if isinstance(record, Load) and record.name:
            if self._add(record.start, record.size, record.name, window):
                self._numbers[record.code] = len(self.entries.index) - 1
        elif isinstance(record, Move):
            number = self._numbers.get(record.code)
            name = self.entries.name(number) if number is not None else b""
            self._add(record.old, record.size, b"", window)
            if self._add(record.new, record.size, name, window):
                self._numbers[record.code] = len(self.entries.index) - 1

    def _add(self, start: int, size: int, name: bytes, window: Window) -> bool:
        self._order += 1
        return self.entries.add(self._order, start, size, name, window)

    def _stop(self, why: str) -> None:
        self._stopped, self.behind = True, False
        self._note(f"{self._path}: {why}")
