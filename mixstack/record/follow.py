"""Keeps the probe's picture of one process true: its mappings, its interpreter."""

from __future__ import annotations

import contextlib
import time
from bisect import bisect_right
from collections.abc import Collection, Iterable
from typing import Final

from mixstack.bpf import wire
from mixstack.errors import MixstackError
from mixstack.model import Interpreter, Mapping, MappingSnapshot, Process
from mixstack.record.exec_watch import ExecWatch
from mixstack.record.file_queue import FileQueue
from mixstack.record.jit_follow import JitFollower
from mixstack.record.layout import fill_entry
from mixstack.record.mapping_space import ENTRY_SIZE, MappingRange
from mixstack.record.modules import LoadedModule
from mixstack.record.proven import Stop
from mixstack.record.several import InterpreterWatch
from mixstack.record.shared import Shared
from mixstack.record.taught import slot_of
from mixstack.record.thread_names import NameFollower
from mixstack.target.interpreter import (
    FoundInterpreter,
    NotSupported,
    find_interpreter,
    likely_interpreters,
)
from mixstack.target.layouts import Layout
from mixstack.target.maps import MapLine
from mixstack.target.process import ExeIdentity, TargetProcess

MAPPINGS_MAX: Final = 4096  # per process
SETTLED_AFTER_S: Final = 1.0  # a program that has just started maps its libraries one after another
SETTLING_S: Final = 0.01  # mappings are read again this often until then
_REREAD_S: Final = 1.0  # mappings are read again this often even if no sample asks for it
_GAP_WORTH_SAYING_S: Final = 0.1
_NO_RANGE: Final = MappingRange(0, 0)


class Follower:
    """Follows one process through library loads and exec."""

    def __init__(
        self, process: TargetProcess, shared: Shared, flags: int = 0, unwatched: bool = False
    ) -> None:
        """flags: `wire.ProcessFlag`, for the probe. unwatched: it is being sampled already."""
        self.process = process
        self.since_ns: int | None = None  # when it began to be what it is, until that is written
        self._shared = shared
        self._probe = shared.probe
        self._registry = shared.registry
        self._describer = shared.describer
        self._listener = shared.listener
        self.jit = JitFollower(process, shared)
        self.names = NameFollower(process, shared)
        self._exec = ExecWatch(process.exe_identity())
        self._lines: tuple[MapLine, ...] = ()
        self._mappings: tuple[Mapping, ...] = ()
        self._starts: list[int] = []
        self._range = _NO_RANGE
        self._files = FileQueue(shared.registry, shared.reader)
        self._likely: list[MapLine] = []  # mappings of files that may hold the interpreter
        self._entry = wire.ProcessEntry(family=process.pid, flags=flags)
        self._interpreter: FoundInterpreter | None = None
        self._interpreters = InterpreterWatch()
        self._recorded: Process | None = None
        self._unsupported: str | None = None  # why, as far as is known
        self._changed_at = time.monotonic()
        # Since an exec, say: it is sampled, and cannot be unwound.
        self._unwatched_since = time.monotonic() if unwatched else None
        self.read_at = 0.0

    def forked(self, pid: int, time_ns: int) -> Follower:
        """Of a child: as its memory is a copy, so is all that is known of it.

        The probe knows that child already, by its own copy of this one's entry.
        """
        process = TargetProcess(pid, None, self.process.command)
        child = Follower(process, self._shared)
        child.since_ns = time_ns
        child._exec = ExecWatch(self._exec.exe)
        child._lines, child._mappings, child._starts = self._lines, self._mappings, self._starts
        child._range = self._shared.mapping_space.share(self._range)
        child._files, child._likely = self._files.copy(), self._likely
        child._entry = wire.ProcessEntry.from_buffer_copy(self._entry)
        child._interpreter = self._interpreter
        child.jit = self.jit.forked(process)
        child._unsupported = self._unsupported
        child._changed_at = self._changed_at
        child.read_at = time.monotonic()
        return child

    def announce(self, reread: bool = True) -> None:
        """Write what is known of a forked child into the capture: it has been sampled.

        reread: its command line may have changed since the fork.
        """
        if self._recorded is not None or self.since_ns is None or not self._lines:
            return
        if reread:
            self._reread_command()
        if self._interpreter is not None:
            self._record_interpreter(self._interpreter)
        elif self._unsupported is not None:
            self._record(self._unsupported)
        self._write_mappings()

    def forget(self) -> None:
        """Give back what it used; its pid is another process' by now."""
        self.jit.close()
        self._shared.mapping_space.release(self._range, time.monotonic())
        self._range = _NO_RANGE

    @property
    def family(self) -> int:
        """The process within which its code objects are told apart."""
        return int(self._entry.family)

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

    def refresh(self, asked: bool) -> bool:
        """Look again if a sample asked for it, the process is settling, or a while has passed.

        Whether its mappings were others than before.
        """
        now = time.monotonic()
        self._watch_interpreters()
        self.names.look(self._interpreter)
        jit_changed = self.jit.look(self._mappings)
        pause = SETTLING_S if self.settling else _REREAD_S
        if not (asked or jit_changed or now - self.read_at >= pause):
            return False
        self.read_at = now
        lines = self.process.executable_maps()[:MAPPINGS_MAX]
        exe = self.process.exe_identity()  # after the mappings: these are not a later program's
        if exe is None:
            return False
        if self._exec.is_another(exe, self._lines, lines):
            self.read_at = 0.0
            if not self._exec.overdue or not self.become(exe):
                return False
        changed = lines != self._lines
        found_before, likely_before = self._interpreter, self._likely
        if not lines or not (changed or jit_changed or self._interpreter_is_pending()):
            return False
        if changed:
            self.jit.look_for_dumps(lines)
            self._reread_command()
            self._changed_at = now
            self._likely = likely_interpreters(self.process, lines)
            self._files.fill(lines, self._likely)
            if self._unwatched_since is None and not self._lines:
                # It is not sampled before this is done: it costs no samples.
                self._files.read_all(self.process)
        looks_for_it = likely_before != self._likely or not self._interpreter_stays(lines)
        if looks_for_it and all(map(self._registry.knows, self._likely)):  # else once it is read
            self._find_interpreter()
        if changed or jit_changed or found_before != self._interpreter:
            self._publish(lines)
        return changed

    def _watch_interpreters(self) -> None:
        """A thread has a thread state in each interpreter that it entered: look at them all."""
        found, read = self._interpreter, self.process.read
        if found is not None and not self._entry.several and self._interpreters.look(read, found):
            self._entry.several = 1
            self._probe.set_process(self.process.pid, self._entry)

    @property
    def busy(self) -> bool:
        """Whether files wait to be read by `read_next`, or are being read."""
        return bool(self._files)

    def read_next(self, wanted: Collection[int] = ()) -> None:
        """Go on reading the files that were mapped lately, and tell the probe what is new.

        `wanted`: addresses at which a walk died for want of a table; their files come first.
        """
        searches = self._interpreter is None
        if self._files and self._files.step(self.process, wanted, searches):
            self._changed_at = time.monotonic()
            self._publish(self._lines)

    def module_at(self, address: int) -> tuple[LoadedModule, int] | None:
        """The module that is mapped at an address, and the address as the file counts it."""
        mapping = self._mapping_at(address)
        if mapping is None or mapping.module_id is None:
            return None
        return self._describer.modules[mapping.module_id], address - mapping.load_bias

    def _mapping_at(self, address: int) -> Mapping | None:
        at = bisect_right(self._starts, address) - 1
        return self._mappings[at] if at >= 0 and address < self._mappings[at].end else None

    def add_stops(self, in_files: Iterable[Stop], homeless: Iterable[int]) -> None:
        """Tell the probe how to go on from where walks died for want of rules, where proven.

        homeless: addresses in memory that belongs to no file.
        """
        added = [self._describer.add_stop(stop) for stop in in_files]
        added += [self._add_place(address) for address in homeless]
        if any(added):
            self._publish(self._lines)

    def _add_place(self, address: int) -> bool:
        mapping = self._mapping_at(address)
        if mapping is None or mapping.module_id is not None:
            return False
        line = next((x for x in self._lines if x.start <= address < x.end), None)
        if line is None or not self._registry.knows(line):  # a file that may have rules of its own
            return False
        return self.jit.add_place(address, (line.start, line.end))

    def finish(self) -> None:
        """Say what was never settled: unread files, a process without an interpreter."""
        while self.busy:
            self.read_next()
            self._files.wait()
        if self.process.alive():
            self.jit.look(self._mappings, at_once=True)
            self.names.look(self._interpreter, at_once=True)
        if self._recorded is None:
            who = "the recording" if self.process.alive() else "it"
            note = self._unsupported or f"{who} ended before its program was known"
            self._record(note)

    def _reread_command(self) -> None:
        """The command line changes at an exec, also of the program that ran before."""
        with contextlib.suppress(MixstackError):
            self.process = TargetProcess.open(self.process.pid)

    def expect(self) -> None:
        """The probe is to tell when the program starts, and sample it from then on."""
        held = wire.ProcessEntry.from_buffer_copy(self._entry)
        held.flags |= wire.ProcessFlag.HELD
        self._probe.set_process(self.process.pid, held)

    def become(self, exe: ExeIdentity | None = None, time_ns: int | None = None) -> bool:
        """Forget the program that was, after an exec; False if the process is gone.

        The probe has done so before, where the kernel told it of the exec.
        """
        pid = self.process.pid
        self._entry = wire.ProcessEntry(family=pid, flags=self._entry.flags)
        if time_ns is None:
            # It must not walk the new program with the old one's tables.
            self._probe.set_process(pid, self._entry)
        self.forget()
        self.jit = JitFollower(self.process, self._shared)
        self.names.forget()
        self.names = NameFollower(self.process, self._shared)
        self.since_ns = time_ns
        self._lines = ()
        self._mappings, self._starts = (), []
        self._files.clear()
        self._interpreter = None
        self._recorded = None
        self._unsupported = None
        self._changed_at = time.monotonic()
        self._unwatched_since = time.monotonic()
        self.read_at = 0.0
        self._exec = ExecWatch(exe or self.process.exe_identity())
        try:
            self.process = TargetProcess.open(pid)
        except MixstackError:
            return False
        return True

    def _interpreter_stays(self, lines: tuple[MapLine, ...]) -> bool:
        """Whether all is known of it, and it is still there: looking for it takes a while."""
        found = self._interpreter
        if found is None or not found.ready or found.tss_slot_offset is None:
            return False
        return found.module_map in lines

    def _interpreter_is_pending(self) -> bool:
        found = self._interpreter
        if found is None:
            return self.settling
        return not found.ready or (found.tss_slot_offset is None and self.settling)

    def _find_interpreter(self) -> None:
        found = find_interpreter(self.process, self.process.maps(), search=not self.busy)
        if isinstance(found, NotSupported):
            if self.busy:  # it may be in a file that has yet to be read
                return
            self._unsupported = found.reason
            if self._interpreter is None and (found.final or not self.settling):
                self._record(found.reason)
            return
        loaded = self._registry.find(self.process, found.module_map)
        slot = slot_of(self._shared, self.process, found, loaded) if loaded is not None else None
        if slot is None:
            return
        self._interpreter = found
        self._record_interpreter(found)
        fill_entry(self._entry, found)
        self._entry.slot = slot
        self._entry.several = self._interpreters.look(self.process.read, found)

    def _record_interpreter(self, found: FoundInterpreter) -> None:
        loaded = self._registry.find(self.process, found.module_map)
        if loaded is not None:
            interpreter = Interpreter(found.version, loaded.module.id, found.evaluator)
            self._record(found.note, interpreter)

    def _record(self, note: str | None, interpreter: Interpreter | None = None) -> None:
        process = Process(
            self.process.pid,
            self.process.command,
            interpreter,
            note,
            self._entry.family,
            self.process.inner_pid,
        )
        if process == self._recorded:
            return
        self._recorded = process
        self._listener.process(process)
        if note is not None:
            outcome = "only native stacks are recorded"
            if interpreter is not None:
                outcome = "its frames may be wrong"
            self._listener.note(process.pid, f"process {process.pid}: {note}; {outcome}")

    def _publish(self, lines: tuple[MapLine, ...]) -> None:
        """Write a new list of mappings, then switch the probe over to it."""
        mappings: list[Mapping] = []
        entries = bytearray()
        stub = self._interpreter.trampoline if self._interpreter is not None else None
        for line in lines:
            for mapping, entry in self._describer.describe(
                self.process, line, stub, self.jit.tables
            ):
                mappings.append(mapping)
                entries += bytes(entry)
        del mappings[MAPPINGS_MAX:], entries[MAPPINGS_MAX * ENTRY_SIZE :]
        self._lines = lines
        space, before = self._shared.mapping_space, self._range
        now = time.monotonic()
        placed = space.place(entries, now)
        if placed is None:
            self._listener.no_room(self.process.pid)
        self._range = placed or _NO_RANGE
        self._entry.first_mapping, self._entry.mappings = self._range
        self._entry.flags &= ~wire.ProcessFlag.UNKNOWN
        self._probe.set_process(self.process.pid, self._entry)
        space.release(before, now)
        self._end_gap()
        self._mappings = tuple(mappings)
        self._starts = [m.start for m in mappings]
        if not self.busy:  # else the same mappings are told again, with their modules
            self._write_mappings()

    def _write_mappings(self) -> None:
        """What the process has had since it began, or has become."""
        time_ns = self.since_ns if self.since_ns is not None else time.monotonic_ns()
        self.since_ns = None
        self._listener.mappings(MappingSnapshot(self.process.pid, time_ns, self._mappings))

    def _end_gap(self) -> None:
        """From now on samples are taken; say so if they were not for a while."""
        if self._unwatched_since is None:
            return
        gap = time.monotonic() - self._unwatched_since
        self._unwatched_since = None
        if gap >= _GAP_WORTH_SAYING_S:
            self._listener.note(
                self.process.pid,
                f"the first {gap:.1f} s of {self.process.command[0]} were not recorded: its unwind"
                " tables had to be compiled",
            )
