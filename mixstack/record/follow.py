"""Keeps the probe's picture of one process true: its mappings, its interpreter."""

from __future__ import annotations

import contextlib
import ctypes
import time
from bisect import bisect_right
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields, replace
from typing import Final

from mixstack.bpf import wire
from mixstack.bpf.probe import Probe
from mixstack.errors import MixstackError
from mixstack.model import Interpreter, Mapping, MappingSnapshot, Process
from mixstack.record.codes import qualname_offset
from mixstack.record.describe import Describer
from mixstack.record.jit import JitBook
from mixstack.record.jit_debugger import JitFrames, jit_descriptor
from mixstack.record.modules import LoadedModule, ModuleRegistry
from mixstack.record.tables import TableSpace
from mixstack.target.interpreter import FoundInterpreter, NotSupported, find_interpreter
from mixstack.target.layouts import Layout
from mixstack.target.maps import MapLine
from mixstack.target.process import TargetProcess
from mixstack.target.thread_states import has_several_interpreters
from mixstack.unwind.marker_span import PROLOGUE_SIZE, find_marker_span
from mixstack.unwind.rows import find_row

MAPPINGS_MAX: Final = 4096  # per process; the probe holds two generations of them
SETTLED_AFTER_S: Final = 1.0  # a program that has just started maps its libraries one after another
_REREAD_S: Final = 1.0  # mappings are read again this often even if no sample asks for it
_SHIM_KINDS: Final = (wire.ChainKind.CFRAME_SHIM, wire.ChainKind.SHIM)
_SEARCH_S: Final = 0.05
_GAP_WORTH_SAYING_S: Final = 0.1
_ENTRY: Final = ctypes.sizeof(wire.MappingEntry)
_U64: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Listener:
    """Who is told of what was found: usually the capture's writer."""

    process: Callable[[Process], None]
    mappings: Callable[[MappingSnapshot], None]
    note: Callable[[str], None]


class Follower:
    """Follows one process through library loads and exec."""

    def __init__(
        self,
        process: TargetProcess,
        probe: Probe,
        registry: ModuleRegistry,
        space: TableSpace,
        listener: Listener,
    ) -> None:
        self.process = process
        self._probe = probe
        self._registry = registry
        self._describer = Describer(registry, space)
        self._listener = listener
        self.jit = JitBook(process, listener.note)
        self._jit_frames: tuple[JitFrames, ...] = ()
        self._asked: set[int] = set()  # modules: whether they hold a list of JIT code
        self._exe = process.exe_identity()
        self._lines: tuple[MapLine, ...] = ()
        self._mappings: tuple[Mapping, ...] = ()
        self._starts: list[int] = []
        self._unread: list[MapLine] = []
        self._entry = wire.ProcessEntry()
        self._interpreter: FoundInterpreter | None = None
        self._recorded: Process | None = None
        self._unsupported: str | None = None  # why, as far as is known
        self._generation = 0
        self._execs = 0
        self._changed_at = time.monotonic()
        self._unwatched_since: float | None = None  # since an exec, while its tables are prepared
        self._read_at = 0.0

    @property
    def layout(self) -> Layout | None:
        return self._interpreter.layout if self._interpreter is not None else None

    @property
    def version(self) -> tuple[int, int, int] | None:
        return self._interpreter.version if self._interpreter is not None else None

    @property
    def settling(self) -> bool:
        """Whether the process changes quickly just now: look again soon."""
        return time.monotonic() - self._changed_at < SETTLED_AFTER_S

    def refresh(self, asked: bool) -> None:
        """Look again if a sample asked for it, the process is settling, or a while has passed."""
        now = time.monotonic()
        self._watch_interpreters()
        jit_changed = self._look_at_jit()
        if not (asked or jit_changed or self.settling or now - self._read_at >= _REREAD_S):
            return
        self._read_at = now
        exe = self.process.exe_identity()
        if exe is None:
            return
        if exe != self._exe and not self._after_exec(exe):
            return
        lines = self.process.executable_maps()[:MAPPINGS_MAX]
        changed = lines != self._lines
        if not lines or not (changed or jit_changed or self._interpreter_is_pending()):
            return
        if changed:
            self.jit.look_for_dumps(lines)
            self._reread_command()
            self._changed_at = now
            self._unread = self._files_to_read(lines)
        before = self._interpreter
        self._find_interpreter()
        if changed or jit_changed or before != self._interpreter:
            self._publish(lines)

    def _look_at_jit(self) -> bool:
        """Read what compilers say of their code; whether there are other unwind tables for it."""
        self.jit.look()
        if self.jit.wants_descriptors:
            self._look_for_descriptors()
        before, self._jit_frames = self._jit_frames, self.jit.frames
        if self._jit_frames == before:
            return False
        self._describer.set_jit_code(self._jit_frames)
        return True

    def _look_for_descriptors(self) -> None:
        """Which modules keep a list of JIT code; for a moment only, as the samples wait."""
        end = time.monotonic() + _SEARCH_S
        for mapping in self._mappings:
            if mapping.module_id is None or mapping.module_id in self._asked:
                continue
            self._asked.add(mapping.module_id)
            at = jit_descriptor(self._describer.modules[mapping.module_id].path)
            if at is not None:
                self.jit.add_descriptor(mapping.load_bias + at)
            if time.monotonic() >= end:
                return

    def _watch_interpreters(self) -> None:
        """A thread has a thread state in each interpreter that it entered: look at them all."""
        found = self._interpreter
        if found is not None and not self._entry.several and self._has_several(found):
            self._entry.several = 1
            self._probe.set_process(self.process.pid, self._entry)

    def _has_several(self, found: FoundInterpreter) -> bool:
        return has_several_interpreters(self.process.read, found.interp_head, found.layout)

    @property
    def busy(self) -> bool:
        """Whether files wait to be read by `read_next`."""
        return bool(self._unread)

    def read_next(self, wanted: Collection[int] = ()) -> None:
        """Read one more of the files that were mapped lately, and tell the probe.

        One at a time: a large library takes a second, and the samples meanwhile want to be drained
        and have use for the tables that are ready. `wanted`: addresses at which a walk died for
        want of a table; their files come first.
        """
        if not self._unread:
            return
        chosen = next(
            (m for m in self._unread if any(m.start <= pc < m.end for pc in wanted)),
            self._unread[-1],
        )
        self._unread.remove(chosen)
        self._registry.find(self.process, chosen)
        self._publish(self._lines)

    def module_at(self, address: int) -> tuple[LoadedModule, int] | None:
        """The module that is mapped at an address, and the address as the file counts it."""
        at = bisect_right(self._starts, address) - 1
        if at < 0 or address >= self._mappings[at].end:
            return None
        mapping = self._mappings[at]
        if mapping.module_id is None:
            return None
        return self._describer.modules[mapping.module_id], address - mapping.load_bias

    def finish(self) -> None:
        """Say what was never settled: unread files, a process without an interpreter."""
        while self._unread:
            self.read_next()
        if self._recorded is None:
            note = self._unsupported or "it ended before its program was known"
            self._record(Process(self.process.pid, self.process.command, None, note))

    def _reread_command(self) -> None:
        """The command line changes at an exec, also of the program that ran before."""
        with contextlib.suppress(MixstackError):
            self.process = TargetProcess.open(self.process.pid)

    def _after_exec(self, exe: tuple[int, int, str]) -> bool:
        """Forget the program that was; False if the process is gone."""
        # The probe must not walk the new program with the old one's tables.
        self._probe.remove_process(self.process.pid)
        try:
            self.process = TargetProcess.open(self.process.pid)
        except MixstackError:
            return False
        self.jit.close()
        self.jit = JitBook(self.process, self._listener.note)
        self._asked.clear()
        self._exe = exe
        self._execs += 1
        self._interpreter = None
        self._recorded = None
        self._unsupported = None
        self._changed_at = time.monotonic()
        self._entry = wire.ProcessEntry(slot=self._execs % 1024)
        self._lines = ()
        self._unwatched_since = time.monotonic()
        return True

    def _files_to_read(self, lines: tuple[MapLine, ...]) -> list[MapLine]:
        """Files that are mapped and not read yet, the largest first (the last is read next).

        A program that has just begun is not sampled before its files are read: they are, here.
        """
        new = {(m.device, m.inode): m for m in lines if not self._registry.knows(m)}
        sizes = {
            key: sum(m.end - m.start for m in lines if (m.device, m.inode) == key) for key in new
        }
        unread = [new[key] for key in sorted(new, key=lambda key: -sizes[key])]
        if not self._lines:
            for line in unread:
                self._registry.find(self.process, line)
            return []
        return unread

    def _interpreter_is_pending(self) -> bool:
        found = self._interpreter
        if found is None:
            return self.settling
        return not found.ready or (found.tss_slot_offset is None and self.settling)

    def _find_interpreter(self) -> None:
        found = find_interpreter(self.process, self.process.maps())
        pid, command = self.process.pid, self.process.command
        if isinstance(found, NotSupported):
            self._unsupported = found.reason
            if self._interpreter is None and (found.final or not self.settling):
                self._record(Process(pid, command, None, found.reason))
            return
        before, self._interpreter = self._interpreter, found
        loaded = self._registry.find(self.process, found.module_map)
        if loaded is None:
            return
        if before is None:
            self._teach(found, loaded)
        interpreter = Interpreter(found.version, loaded.module.id, found.evaluator)
        self._record(Process(pid, command, interpreter, found.note))
        self._entry.layout = wire_layout(found.layout)
        self._entry.code_type = found.code_type
        self._entry.interp_head = found.interp_head
        self._entry.interp_threads_head = found.layout.interp_threads_head
        self._entry.interp_next = found.layout.interp_next
        self._entry.tss_slot = (found.tss_slot_offset or 0) & _U64
        self._entry.several = self._has_several(found)
        self._entry.code_start, self._entry.code_end = found.text
        if found.evaluator is not None:
            self._entry.evaluator_start = found.load_bias + found.evaluator[0]
            self._entry.evaluator_end = found.load_bias + found.evaluator[1]

    def _teach(self, found: FoundInterpreter, loaded: LoadedModule) -> None:
        """Tell the probe where the evaluator keeps its marker: a clean stack may never come."""
        layout, table = found.layout, loaded.table
        if layout.chain_kind not in _SHIM_KINDS or found.evaluator is None or table is None:
            return
        start, end = found.evaluator
        size = min(PROLOGUE_SIZE, end - start)
        code = self.process.read(found.load_bias + start, size) or b""
        span = find_marker_span(code, layout.frame_previous, lambda at: find_row(table, start + at))
        if span is not None:
            self._probe.teach(
                self._entry.slot,
                wire.Learned(cfa_from_marker=span.cfa_from_marker, rbp_from_cfa=span.rbp_from_cfa),
            )

    def _record(self, process: Process) -> None:
        if process == self._recorded:
            return
        self._recorded = process
        self._listener.process(process)
        if process.note is not None:
            outcome = "only native stacks are recorded"
            if process.interpreter is not None:
                outcome = "its frames may be wrong"
            self._listener.note(f"process {process.pid}: {process.note}; {outcome}")

    def _publish(self, lines: tuple[MapLine, ...]) -> None:
        """Write the other half of the table, then switch the probe over to it."""
        self._generation += 1
        first = (self._generation % 2) * MAPPINGS_MAX
        mappings: list[Mapping] = []
        entries = bytearray()
        stub = self._interpreter.trampoline if self._interpreter is not None else None
        for line in lines:
            for mapping, entry in self._describer.describe(self.process, line, stub):
                mappings.append(mapping)
                entries += bytes(entry)
        del mappings[MAPPINGS_MAX:], entries[MAPPINGS_MAX * _ENTRY :]
        self._lines = lines
        self._probe.mappings[first * _ENTRY : first * _ENTRY + len(entries)] = entries
        self._entry.first_mapping = first
        self._entry.mappings = len(mappings)
        self._probe.set_process(self.process.pid, self._entry)
        self._end_gap()
        self._mappings = tuple(mappings)
        self._starts = [m.start for m in mappings]
        if not self._unread:  # else the same mappings are told again, with their modules
            self._listener.mappings(
                MappingSnapshot(self.process.pid, time.monotonic_ns(), self._mappings)
            )

    def _end_gap(self) -> None:
        """From now on samples are taken; say so if they were not for a while."""
        if self._unwatched_since is None:
            return
        gap = time.monotonic() - self._unwatched_since
        self._unwatched_since = None
        if gap >= _GAP_WORTH_SAYING_S:
            self._listener.note(
                f"the first {gap:.1f} s of {self.process.command[0]} were not recorded: its unwind"
                " tables had to be compiled (they are kept for the next time)"
            )


def wire_layout(layout: Layout) -> wire.Layout:
    """The offsets as the probe takes them; what a version has not is 0."""
    out = wire.Layout()
    layout = replace(layout, code_qualname=qualname_offset(layout))
    known = {field.name for field in fields(layout)}
    for name, *_ in wire.Layout._fields_:
        if name in known:
            setattr(out, name, getattr(layout, name) or 0)
    return out
