"""The jitdump file of a process, followed while it grows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from mixstack.compiled.frames import Frames, FrameSection
from mixstack.jit.jitdump import (
    HEAD_SIZE,
    RECORD_SIZE,
    WANTED,
    BadDump,
    DumpHead,
    Load,
    Move,
    RecordHead,
    Unwinding,
    eh_frame_address,
    parse_head,
    parse_record,
    parse_record_head,
)
from mixstack.jit.model import JitSource
from mixstack.record.growing_file import GrowingFile, Window
from mixstack.record.jit_debugger import JitFrames
from mixstack.record.jit_entries import JitEntries

_RECORDS: Final = 5_000  # per look
_RECORDS_MAX: Final = 1 << 19
_RULES_MAX: Final = 1 << 16  # pieces of code with rules
_CODE_MAX: Final = 1 << 20  # bytes of one of them
_FRAMES_MAX: Final = 1 << 16  # bytes of its .eh_frame
# What CPython names so are its trampolines, which have rules of ours, and 3.15's JIT code: of that
# it says what it says of a trampoline, and it is none.
_OF_CPYTHON: Final = b"py::"


class DumpedCode(NamedTuple):
    """Code as it was when it was made, and its unwind information."""

    frames: JitFrames
    code: bytes


class _Rules(NamedTuple):
    """Positions in the file: of `.eh_frame`, and of the code that it is for."""

    frames_at: int
    frames_size: int
    code_at: int


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
        self._unwinding: Unwinding | None = None  # of the code that comes next; at: in the file
        self._rules: dict[int, _Rules] = {}  # by the number of the entry
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

    def code_at(self, address: int) -> DumpedCode | None:
        """The code that was made last around an address; None if it came without rules.

        Nothing says that it is there still: where code goes, no record is written.
        """
        numbers = self.entries.index.covering(address)
        rules = self._rules.get(numbers[-1]) if numbers else None
        if rules is None:
            return None
        start, end = self.entries.index.range(numbers[-1])
        if end - start > _CODE_MAX:
            return None
        at = eh_frame_address(start, end - start)
        frames = self._file.read_at(rules.frames_at, rules.frames_size)
        # Rules for another place than this code are not for it: code that was moved and has
        # absolute addresses in its rules, or a writer that did not count on perf's layout.
        found = list(Frames([FrameSection(frames, at)]))
        if not found or found[0].start != start or any(f.start + f.size > end for f in found):
            return None
        return DumpedCode(
            JitFrames(start, end, frames, at), self._file.read_at(rules.code_at, end - start)
        )

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
            self._take(head, parse_record(head, data[: head.size]), now_ns)
            self._position += head.size
            self._records += 1
            if self.entries.full or self._records >= _RECORDS_MAX:
                raise BadDump("it holds more than can be kept")
        return True

    def _take(self, head: RecordHead, record: Load | Move | Unwinding | None, now_ns: int) -> None:
        assert self._head is not None
        window = Window(self._read_ns, now_ns)
        if self._head.timed and 0 < head.time_ns <= now_ns:
            window = Window(head.time_ns, head.time_ns)
        if isinstance(record, Unwinding):
            self._unwinding = record._replace(at=self._position + record.at)
        elif isinstance(record, Load):
            unwinding, self._unwinding = self._unwinding, None
            if self._add(record.start, record.size, record.name, window):
                self._numbers[record.code] = number = len(self.entries.index) - 1
                self._add_rules(number, unwinding, record)
        elif isinstance(record, Move):
            before = self._numbers.get(record.code)
            name = self.entries.name(before) if before is not None else b""
            self._add(record.old, record.size, b"", window)
            if self._add(record.new, record.size, name, window):
                self._numbers[record.code] = number = len(self.entries.index) - 1
                if before in self._rules:
                    self._rules[number] = self._rules.pop(before)

    def _add_rules(self, number: int, unwinding: Unwinding | None, load: Load) -> None:
        """Note where the rules of an entry are, if it has any."""
        if unwinding is None or load.name.startswith(_OF_CPYTHON):
            return
        if 0 < unwinding.size <= _FRAMES_MAX and len(self._rules) < _RULES_MAX:
            code_at = self._position + load.code_at
            self._rules[number] = _Rules(unwinding.at, unwinding.size, code_at)

    def _add(self, start: int, size: int, name: bytes, window: Window) -> bool:
        self._order += 1
        return self.entries.add(self._order, start, size, name, window)

    def _stop(self, why: str) -> None:
        self._stopped, self.behind = True, False
        self._note(f"{self._path}: {why}")
