"""`read_capture`: the file, with whatever of it is sound, as values.

Captures travel between machines and may be cut, damaged or crafted: what cannot be read is left out
and said, and nothing here raises but the errors of `mixstack.errors`.
"""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mixstack.capture import records
from mixstack.capture.blocks import Block, Damage, read_blocks
from mixstack.capture.jit_records import decode_jit_symbol
from mixstack.capture.layout import (
    FILE_HEAD_SIZE,
    MAGIC,
    VERSION,
    BlockType,
    Malformed,
    unpack_file_head,
)
from mixstack.capture.samples import SampleTable
from mixstack.collector import paused_collector
from mixstack.columns import SampleColumns
from mixstack.errors import (
    DamagedCapture,
    EmptyCapture,
    NewerCapture,
    NoCapture,
    NotACapture,
)
from mixstack.jit.model import JitSymbol
from mixstack.model import (
    Code,
    CodeKey,
    Footer,
    KernelSymbol,
    MappingSnapshot,
    Module,
    Process,
    Recording,
    Sample,
    SourceCall,
    SourceCalls,
    Symbol,
    ThreadName,
)

_T = TypeVar("_T")


@dataclass(frozen=True)
class Capture:
    """What a capture file holds.

    mappings: by pid, sorted by time. symbols: by module, sorted by start. jit_symbols: by pid, of
    each source in the order in which it was said. source_calls: by module and address, outermost
    first. problem: one sentence on what is missing, None if the file is whole (`complete`).
    file_size: bytes. families: by pid, under which pids its code objects stand: its own, and
    those whose memory it was a copy of.
    """

    path: str
    recording: Recording
    modules: dict[int, Module]
    processes: dict[int, Process]
    mappings: dict[int, tuple[MappingSnapshot, ...]]
    codes: dict[tuple[int, CodeKey], Code]
    symbols: dict[int, tuple[Symbol, ...]]
    kernel_symbols: tuple[KernelSymbol, ...]
    jit_symbols: dict[int, tuple[JitSymbol, ...]]
    source_calls: dict[tuple[int, int], tuple[SourceCall, ...]]
    thread_names: dict[tuple[int, int], str]
    footer: Footer | None
    problem: str | None
    file_size: int
    families: dict[int, tuple[int, ...]]
    sample_table: SampleTable = field(repr=False)

    @property
    def complete(self) -> bool:
        """Whether nothing is missing: the recording ended properly and no block is damaged."""
        return self.problem is None

    @property
    def sample_count(self) -> int:
        """How many samples `samples` gives; `footer.samples` is what the recorder counted."""
        return len(self.sample_table)

    def samples(self) -> Iterator[Sample]:
        """All samples in order of time; equal stacks are one object."""
        return self.sample_table.in_time_order()

    def columns(self) -> SampleColumns:
        """The same as columns, for a million of them."""
        return self.sample_table.columns()


def read_capture(path: str) -> Capture:
    """Read the file at `path`.

    Raises NoCapture, EmptyCapture, NotACapture, NewerCapture; DamagedCapture if not even the head
    can be read. Whatever else is damaged or cut off is left out, and `Capture.problem` says so.
    """
    with _opened(path) as fd:
        size = os.fstat(fd).st_size
        try:
            _check_file_head(path, os.pread(fd, FILE_HEAD_SIZE, 0))
            with paused_collector():
                return _Collected().read(fd, size).capture(path, size)
        except OSError as e:
            raise NoCapture(f"cannot read {path}: {e.strerror}") from e


@contextmanager
def _opened(path: str) -> Iterator[int]:
    try:
        # Without O_NONBLOCK a pipe would be waited for before it can be refused.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as e:
        raise NoCapture(f"there is no file {path}") from e
    except (OSError, ValueError) as e:
        raise NoCapture(f"cannot read {path}: {getattr(e, 'strerror', None) or e}") from e
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode):
            raise NoCapture(f"{path} is a folder")
        if not stat.S_ISREG(mode):
            raise NoCapture(f"{path} is not a regular file")
        yield fd
    finally:
        os.close(fd)


def _check_file_head(path: str, head: bytes) -> None:
    if not head:
        raise EmptyCapture(f"{path} is empty")
    if head[: len(MAGIC)] != MAGIC[: len(head)]:
        raise NotACapture(f"{path} is not a capture of mixstack")
    try:
        version = unpack_file_head(head)
    except Malformed as e:
        raise DamagedCapture(f"{path} cannot be read: {e}") from e
    if version > VERSION:
        raise NewerCapture(
            f"{path} was written by a newer mixstack (format {version}; "
            f"this one reads up to format {VERSION})"
        )
    if version < 1:
        raise DamagedCapture(f"{path} cannot be read: it claims format {version}")


class _Collected:
    """What the blocks of a file hold, in their order."""

    def __init__(self) -> None:
        self.damage = Damage()
        self.recordings: list[Recording] = []
        self.modules: list[Module] = []
        self.processes: list[Process] = []
        self.snapshots: list[MappingSnapshot] = []
        self.codes: list[Code] = []
        self.symbols: list[Symbol] = []
        self.kernel_symbols: list[KernelSymbol] = []
        self.jit_symbols: list[JitSymbol] = []
        self.source_calls: list[SourceCalls] = []
        self.thread_names: list[ThreadName] = []
        self.footers: list[Footer] = []
        self.samples = SampleTable()
        self._lines: dict[int, tuple[Callable[[records.Fields], Any], list[Any]]] = {
            BlockType.RECORDING: (records.decode_recording, self.recordings),
            BlockType.MODULES: (records.decode_module, self.modules),
            BlockType.PROCESSES: (records.decode_process, self.processes),
            BlockType.MAPPINGS: (records.decode_snapshot, self.snapshots),
            BlockType.CODES: (records.decode_code, self.codes),
            BlockType.SYMBOLS: (records.decode_symbol, self.symbols),
            BlockType.KERNEL_SYMBOLS: (records.decode_kernel_symbol, self.kernel_symbols),
            BlockType.JIT_SYMBOLS: (decode_jit_symbol, self.jit_symbols),
            BlockType.SOURCE_CALLS: (records.decode_source_calls, self.source_calls),
            BlockType.THREAD_NAMES: (records.decode_thread_name, self.thread_names),
            BlockType.FOOTER: (records.decode_footer, self.footers),
        }

    def read(self, fd: int, size: int) -> _Collected:
        for block in read_blocks(fd, size, self.damage):
            try:
                self._take(block)
            except Malformed:
                self.damage.missing += 1
        return self

    def _take(self, block: Block) -> None:
        if block.head.type == BlockType.SAMPLES:
            self.samples.add_block(block.raw)
        elif block.head.type in self._lines:
            decode, values = self._lines[block.head.type]
            values.extend(list(records.decode_lines(block.raw, decode)))

    def capture(self, path: str, size: int) -> Capture:
        """Of a value that was written twice, the later one counts."""
        if not self.recordings:
            raise DamagedCapture(f"{path} cannot be read: its first block is damaged or cut off")
        return Capture(
            path=path,
            recording=self.recordings[0],
            modules={m.id: m for m in self.modules},
            processes={p.pid: p for p in self.processes},
            mappings=_grouped(self.snapshots, lambda s: s.pid, lambda s: s.time_ns),
            codes={(c.pid, c.key): c for c in self.codes},
            symbols=_grouped(
                dict.fromkeys(self.symbols),
                lambda s: s.module_id,
                lambda s: (s.start, s.end, s.name),
            ),
            kernel_symbols=tuple(
                sorted(dict.fromkeys(self.kernel_symbols), key=lambda s: (s.start, s.end, s.name))
            ),
            jit_symbols=_grouped(
                dict.fromkeys(self.jit_symbols),
                lambda s: s.pid,
                lambda s: (s.source.value, s.order),
            ),
            source_calls={(c.module_id, c.vaddr): c.calls for c in self.source_calls},
            thread_names={
                thread: name
                for thread, name in {(n.pid, n.tid): n.name for n in self.thread_names}.items()
                if name is not None
            },
            footer=self.footers[-1] if self.footers else None,
            problem=_problem(self.damage, bool(self.footers)),
            file_size=size,
            families=_families(self.processes),
            sample_table=self.samples,
        )


def _grouped(
    values: Iterable[_T], group: Callable[[_T], int], order: Callable[[_T], Any]
) -> dict[int, tuple[_T, ...]]:
    groups: defaultdict[int, list[_T]] = defaultdict(list)
    for value in values:
        groups[group(value)].append(value)
    return {key: tuple(sorted(members, key=order)) for key, members in groups.items()}


def _families(processes: Iterable[Process]) -> dict[int, tuple[int, ...]]:
    """A process that execs leaves the family that it was forked in: it has several in turn."""
    found: dict[int, dict[int, None]] = {}
    for process in processes:
        found.setdefault(process.pid, {process.pid: None})
        if process.family is not None:
            found[process.pid][process.family] = None
    return {pid: tuple(families) for pid, families in found.items()}


def _problem(damage: Damage, ended: bool) -> str | None:
    """One sentence on what is missing, or None."""
    parts = []
    if not ended:
        parts.append(
            "the recording did not end properly (killed, out of space, or the file was cut off): "
            "its end is missing"
        )
    inner = damage.missing - damage.cut
    if inner > 0:
        parts.append(f"{inner} damaged {'block was' if inner == 1 else 'blocks were'} left out")
    elif damage.skipped_bytes and (ended or not damage.cut):
        parts.append(f"{damage.skipped_bytes} damaged bytes were left out")
    return "; ".join(parts) or None
