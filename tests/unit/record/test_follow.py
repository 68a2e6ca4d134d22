"""A real process followed with a probe that only remembers what it is told."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, cast

import pytest

from mixstack.bpf.probe import Probe
from mixstack.bpf.wire import (
    ChainKind,
    Learned,
    MappingEntry,
    MappingKind,
    ProcessEntry,
    ProcessFlag,
)
from mixstack.model import MappingSnapshot, Process, ThreadName
from mixstack.record import exec_watch, follow
from mixstack.record.children import child_pids
from mixstack.record.describe import ANONYMOUS, TRAMPOLINE, Describer
from mixstack.record.follow import MAPPINGS_MAX, Follower
from mixstack.record.mapping_space import MappingSpace
from mixstack.record.modules import VDSO, ModuleRegistry
from mixstack.record.shared import Listener, Shared
from mixstack.record.tables import TableSpace
from mixstack.target.interpreter import FoundInterpreter, find_interpreter
from mixstack.target.maps import MapLine
from mixstack.target.process import TargetProcess
from tests.interpreters import SUPPORTED, Build, all_builds, supported

ENTRY = ctypes.sizeof(MappingEntry)
OBEY = """
import ctypes, mmap, os, sys
print("ready", flush=True)
for line in sys.stdin:
    exec(line)
    print("done", flush=True)
"""
ALL = supported(lambda b: True)
# Here _json and the like are libraries; in Debian's executables they are built in.
WITH_LIBRARIES = supported(lambda b: b.tree is None and not b.static)
KINDS = {
    (3, 8): ChainKind.FRAME,
    (3, 9): ChainKind.FRAME,
    (3, 10): ChainKind.FRAME_CFRAME,
    (3, 11): ChainKind.CFRAME,
    (3, 12): ChainKind.CFRAME_SHIM,
}


class Told(NamedTuple):
    """One call of the probe: the entry's bytes, or None for a removal."""

    pid: int
    entry: bytes | None


class FakeProbe:
    """The tables' memory, and what was told in order."""

    def __init__(self) -> None:
        self.mappings = memoryview(bytearray(2 * MAPPINGS_MAX * ENTRY))
        self.pages = memoryview(bytearray(8 << 18))
        self.rows = memoryview(bytearray(8 << 20))
        self.told: list[Told] = []
        self.taught: dict[int, Learned] = {}

    def set_process(self, pid: int, entry: ProcessEntry) -> None:
        self.told.append(Told(pid, bytes(entry)))

    def teach(self, slot: int, learned: Learned) -> None:
        assert slot not in self.taught, "what the probe has learned meanwhile would be lost"
        self.taught[slot] = learned

    def remove_process(self, pid: int) -> None:
        self.told.append(Told(pid, None))

    @property
    def entry(self) -> ProcessEntry:
        """The last one that was set."""
        data = self.told[-1].entry
        assert data is not None
        return ProcessEntry.from_buffer_copy(data)

    @property
    def entries(self) -> list[MappingEntry]:
        """The mappings that the probe searches now."""
        first, count = self.entry.first_mapping, self.entry.mappings
        data = self.mappings[first * ENTRY : (first + count) * ENTRY]
        return [MappingEntry.from_buffer_copy(data, i * ENTRY) for i in range(count)]


class Case:
    """A follower of a process, and all that it said."""

    def __init__(self, pid: int) -> None:
        self.probe = FakeProbe()
        self.processes: list[Process] = []
        self.snapshots: list[MappingSnapshot] = []
        self.notes: list[str] = []
        self.names: list[ThreadName] = []
        registry = ModuleRegistry()
        self.shared = Shared(
            cast(Probe, self.probe),
            registry,
            Describer(registry, TableSpace(self.probe.rows, self.probe.pages)),
            MappingSpace(self.probe.mappings),
            Listener(
                self.processes.append,
                self.snapshots.append,
                lambda _pid, note: self.notes.append(note),
                self.names.append,
                lambda _pid: self.notes.append("no room"),
            ),
        )
        self.follower = Follower(TargetProcess.open(pid), self.shared)

    def look_after_exec(self) -> None:
        """Its files are read one after the other, and the interpreter is found when they are.

        The kernel's word of the exec does not come here, and is not waited for any more.
        """
        self.follower.refresh(asked=True)
        time.sleep(exec_watch._WORD_S)
        self.follower.refresh(asked=True)
        while self.follower.busy:
            self.follower.read_next()
        self.follower.refresh(asked=True)

    def labels(self) -> list[str | None]:
        return [m.label for m in self.snapshots[-1].mappings]


class Obedient(NamedTuple):
    """A Python that does what it is told, line by line."""

    child: subprocess.Popen[str]

    def do(self, statement: str) -> None:
        self.tell(statement)
        assert self.child.stdout is not None
        assert self.child.stdout.readline() == "done\n"

    def tell(self, statement: str) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write(statement + "\n")
        self.child.stdin.flush()


@contextmanager
def obedient(build: Build, *options: str) -> Iterator[Obedient]:
    with subprocess.Popen(
        build.command("-S", *options, "-c", OBEY),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            yield Obedient(child)
        finally:
            child.kill()


def executable_lines(pid: int) -> list[tuple[int, int]]:
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    ranges = (line.split()[0].split("-") for line in lines if "x" in line.split()[1])
    return [(int(start, 16), int(end, 16)) for start, end in ranges]


@pytest.mark.parametrize("build", SUPPORTED)
def test_the_first_look(build: Build) -> None:
    with obedient(build) as target:
        pid = target.child.pid
        case = Case(pid)
        case.follower.refresh(asked=True)
        assert [told.pid for told in case.probe.told] == [pid]
        entries = case.probe.entries
        assert [(e.start, e.end) for e in entries] == executable_lines(pid)
        (snapshot,) = case.snapshots
        assert [(m.start, m.end) for m in snapshot.mappings] == executable_lines(pid)
        assert abs(snapshot.time_ns - time.monotonic_ns()) < 10 * 10**9
        with_table = [e.kind == MappingKind.TABLE for e in entries]
        assert with_table == [m.module_id is not None for m in snapshot.mappings]
        assert VDSO in case.labels()
        (process,) = case.processes
        assert process.interpreter is not None
        assert process.interpreter.version == build.version
        assert case.probe.entry.layout.chain_kind == KINDS.get(build.minor, ChainKind.SHIM)
        assert case.notes == []
        _text_is_the_evaluators(case)
        _the_probe_was_taught(case, build)


def _text_is_the_evaluators(case: Case) -> None:
    """The interpreter's text is one that is mapped, and the evaluator is in it."""
    entry = case.probe.entry
    interpreter = case.processes[-1].interpreter
    assert interpreter is not None
    (mapping,) = [
        m
        for m in case.snapshots[-1].mappings
        if m.start <= entry.code_start and entry.code_end <= m.end
    ]
    assert mapping.module_id == interpreter.module_id
    if interpreter.evaluator is not None:
        start, end = (at + mapping.load_bias for at in interpreter.evaluator)
        assert (entry.evaluator_start, entry.evaluator_end) == (start, end)
        assert entry.code_start <= start < end <= entry.code_end


def _the_probe_was_taught(case: Case, build: Build) -> None:
    """Where the evaluator links a shim in its prologue, the probe knows the distance beforehand."""
    taught = case.probe.taught
    if build.minor < (3, 12):
        assert taught == {}
        return
    assert set(taught) == {case.probe.entry.slot}
    learned = taught[case.probe.entry.slot]
    assert learned.cfa_from_marker % 16 == 0
    assert 0 < learned.cfa_from_marker < 1024
    assert -64 <= learned.rbp_from_cfa <= -16
    # What cannot be read from the code is left to the probe.
    assert (learned.marker_from_cframe, learned.slots, learned.slot, learned.seen) == (0, 0, 0, 0)


@pytest.mark.parametrize("build", ALL[-1:])
def test_nothing_new_is_not_published_again(build: Build) -> None:
    with obedient(build) as target:
        case = Case(target.child.pid)
        for _ in range(3):
            case.follower.refresh(asked=True)
        assert len(case.probe.told) == len(case.snapshots) == len(case.processes) == 1


@pytest.mark.parametrize("build", ALL[-1:])
def test_a_library_that_is_loaded_later(build: Build) -> None:
    with obedient(build) as target:
        case = Case(target.child.pid)
        case.follower.refresh(asked=True)
        before = case.probe.entry
        half = bytes(case.probe.mappings[before.first_mapping * ENTRY :][: before.mappings * ENTRY])
        target.do("ctypes.CDLL('libutil.so.1'); import _json; print(end='')")
        case.follower.refresh(asked=True)
        entry = case.probe.entry
        assert entry.mappings > before.mappings
        # The probe searches the old half until the entry is switched: it must not change.
        assert entry.first_mapping != before.first_mapping
        first = before.first_mapping * ENTRY
        assert bytes(case.probe.mappings[first : first + len(half)]) == half
        assert [(e.start, e.end) for e in case.probe.entries] == executable_lines(target.child.pid)
        assert len(case.processes) == 1


@pytest.mark.parametrize("build", WITH_LIBRARIES[-1:])
def test_the_files_of_late_libraries_are_read_one_at_a_time(build: Build) -> None:
    with obedient(build) as target:
        case = Case(target.child.pid)
        case.follower.refresh(asked=True)
        before = len(case.probe.entries)
        target.do("import _json, _bisect, _heapq, _struct")
        case.follower.refresh(asked=True)
        new = _without_table(case.probe.entries)
        assert len(case.probe.entries) - before == len(new) > 2
        assert case.follower.busy
        assert len(case.snapshots) == 1  # told once, when their modules are known
        wanted = new[1]
        case.follower.read_next([wanted.start + 8])
        left = _without_table(case.probe.entries)
        assert [e.start for e in left] == [e.start for e in new if e.start != wanted.start]
        while case.follower.busy:
            case.follower.read_next()
            now = _without_table(case.probe.entries)
            assert len(now) == len(left) - 1
            left = now
        assert left == []
        assert len(case.snapshots) == 2
        case.follower.read_next()
        assert len(case.snapshots) == 2


@pytest.mark.parametrize("build", WITH_LIBRARIES[-1:])
def test_unread_files_are_read_at_the_end(build: Build) -> None:
    with obedient(build) as target:
        case = Case(target.child.pid)
        case.follower.refresh(asked=True)
        target.do("import _json, _bisect")
        case.follower.refresh(asked=True)
        assert case.follower.busy
        case.follower.finish()
        assert not case.follower.busy
        assert _without_table(case.probe.entries) == []
        paths = [m.module_id for m in case.snapshots[-1].mappings if m.label is None]
        assert None not in paths


def _without_table(entries: list[MappingEntry]) -> list[MappingEntry]:
    """Those of user space: the last page of the address space is the kernel's [vsyscall]."""
    return [e for e in entries if e.kind == MappingKind.NO_TABLE and e.start < 1 << 47]


@pytest.mark.parametrize("build", ALL[-1:])
def test_the_tables_lie_where_the_mappings_say(build: Build) -> None:
    with obedient(build) as target:
        case = Case(target.child.pid)
        case.follower.refresh(asked=True)
        with_table = [e for e in case.probe.entries if e.kind == MappingKind.TABLE]
        assert len(with_table) > 3
        for entry in with_table:
            loaded = case.follower.module_at(entry.start)
            assert loaded is not None
            table = loaded[0].table
            assert table is not None
            assert entry.pages == len(table.pages) // 8
            first_row = int.from_bytes(case.probe.pages[entry.first_page * 8 :][:4], "little")
            rows = case.probe.rows[first_row * 8 :][: len(table.rows)]
            assert bytes(rows) == table.rows
            # The file's own address of the mapping's start, by the probe's base and by ours.
            assert entry.start - entry.base + table.base == loaded[1]


@pytest.mark.parametrize("build", ALL[-1:])
def test_module_at(build: Build) -> None:
    with obedient(build) as target:
        case = Case(target.child.pid)
        assert case.follower.module_at(0x1000) is None
        target.do("kept = mmap.mmap(-1, 4096, 0x22, 7)")
        case.follower.refresh(asked=True)
        for mapping in case.snapshots[-1].mappings:
            for address in (mapping.start, mapping.end - 1):
                found = case.follower.module_at(address)
                if mapping.module_id is None:
                    assert found is None
                else:
                    assert found is not None
                    assert found[0].module.id == mapping.module_id
                    assert found[1] == address - mapping.load_bias
        assert case.follower.module_at(0) is None
        assert case.follower.module_at((1 << 64) - 1) is None


@pytest.mark.parametrize("build", supported(lambda b: b.trampoline))
def test_trampolines_are_told_from_other_anonymous_memory(build: Build) -> None:
    with obedient(build, "-X", "perf") as target:
        try:
            target.do("kept = mmap.mmap(-1, 8192, 0x22, 7)")
            case = Case(target.child.pid)
            case.follower.refresh(asked=True)
            kinds = dict(zip(case.labels(), (e.kind for e in case.probe.entries), strict=True))
            assert kinds[TRAMPOLINE] == MappingKind.TABLE
            assert kinds[ANONYMOUS] == MappingKind.NO_TABLE
        finally:
            Path(f"/tmp/perf-{target.child.pid}.map").unlink(missing_ok=True)


@pytest.mark.parametrize("build", supported(lambda b: b.minor == (3, 12)))
def test_another_interpreter_after_an_exec(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    other = next(b for b in all_builds() if b.minor == (3, 11))
    monkeypatch.setattr(follow, "_GAP_WORTH_SAYING_S", 0.0)
    with obedient(build) as target:
        pid = target.child.pid
        case = Case(pid)
        case.follower.refresh(asked=True)
        slot = case.probe.entry.slot
        target.tell(f"os.execv({other.executable!r}, [{other.executable!r}, '-S', '-c', {OBEY!r}])")
        assert target.child.stdout is not None
        assert target.child.stdout.readline() == "ready\n"
        case.look_after_exec()
        set_first, forgotten, *set_again = case.probe.told
        assert set_first.entry is not None
        assert forgotten == Told(pid, bytes(ProcessEntry(family=pid)))
        assert all(told.entry is not None for told in set_again)
        assert case.probe.entry.layout.chain_kind == ChainKind.CFRAME
        assert case.probe.entry.slot != slot
        assert set(case.probe.taught) == {slot}  # the slot of 3.11 is learned by the probe alone
        assert [p.interpreter and p.interpreter.version for p in case.processes] == [
            build.version,
            other.version,
        ]
        assert "were not recorded" in case.notes[0]
        assert case.follower.layout is not None


@pytest.mark.parametrize("build", ALL[-1:])
def test_a_program_that_is_no_python_after_an_exec(build: Build) -> None:
    with obedient(build) as target:
        case = Case(target.child.pid)
        case.follower.refresh(asked=True)
        target.tell("os.execvp('sleep', ['sleep', '60'])")
        exe = Path(f"/proc/{target.child.pid}/exe")
        _until(lambda: not exe.resolve().name.startswith("python"))
        _until(lambda: len(executable_lines(target.child.pid)) > 2)
        case.look_after_exec()
        assert case.follower.layout is None
        assert case.probe.entry.layout.chain_kind == ChainKind.NONE
        assert case.probe.entry.code_type == 0
        case.follower.finish()
        last = case.processes[-1]
        assert (last.command, last.interpreter) == (("sleep", "60"), None)
        assert last.note
        assert case.notes == [
            f"process {target.child.pid}: {last.note}; only native stacks are recorded"
        ]
        case.follower.finish()
        assert len(case.notes) == 1


@pytest.mark.parametrize("build", ALL[-1:])
def test_a_forked_child_is_known_as_its_parent_is(build: Build) -> None:
    """The probe has copied the parent's entry by itself: it is told nothing until there is news."""
    with obedient(build) as target:
        case = Case(target.child.pid)
        case.follower.refresh(asked=True)
        target.do(
            "child = os.fork()\nif not child: __import__('time').sleep(60)"
        )  # input is the parent's
        (pid,) = child_pids(target.child.pid)
        try:
            child = case.follower.forked(pid, time_ns=5)
            assert len(case.probe.told) == len(case.snapshots) == len(case.processes) == 1
            assert child.family == target.child.pid
            assert child.layout == case.follower.layout
            start = case.snapshots[0].mappings[0].start
            assert child.module_at(start) == case.follower.module_at(start)
            child.announce()
            child.announce()
            parent, announced = case.processes
            assert announced == replace(parent, pid=pid)
            assert case.snapshots[1] == MappingSnapshot(pid, 5, case.snapshots[0].mappings)
            target.do("kept = mmap.mmap(-1, 4096, 0x22, 7)")
            case.follower.refresh(asked=True)
            before = case.probe.entry
            child.forget()
            case.follower.forget()
            assert before.mappings == len(case.probe.entries)
        finally:
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("build", ALL[-1:])
def test_an_exec_of_the_same_program_that_is_seen_before_the_word_of_it(build: Build) -> None:
    """A sample from before the exec is on its way with that word: what it was is not lost."""
    with obedient(build) as target:
        case = Case(target.child.pid)
        case.follower.refresh(asked=True)
        # As subprocess does it: the parent is what the child is, until the exec.
        again = [build.executable, "-S", "-c", "import time; time.sleep(60)"]
        target.do("import subprocess")
        case.follower.refresh(asked=True)
        target.do(f"child = subprocess.Popen({again!r})")
        (pid,) = child_pids(target.child.pid)
        try:
            child = case.follower.forked(pid, time_ns=5)
            parent, before = case.processes[-1], case.snapshots[-1]
            _until(lambda: len(executable_lines(pid)) > 3)
            child.refresh(asked=True)  # it is another already
            assert (case.processes[-1], case.snapshots[-1]) == (parent, before)
            child.announce(reread=False)
            assert case.processes[-1] == replace(parent, pid=pid)
            assert case.snapshots[-1] == MappingSnapshot(pid, 5, before.mappings)
            assert child.become(time_ns=7)
            child.refresh(asked=True)
            assert case.snapshots[-1].time_ns == 7
            assert case.snapshots[-1].mappings != before.mappings
            child.forget()
        finally:
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("build", ALL[-1:])
def test_an_exec_without_a_word(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was lost with a full ring, say; the program is the same one."""
    monkeypatch.setattr(exec_watch, "_WORD_S", 0.05)
    with obedient(build) as target:
        case = Case(target.child.pid)
        case.follower.refresh(asked=True)
        before = len(case.snapshots)
        target.tell(f"os.execv({build.executable!r}, [{build.executable!r}, '-S', '-c', {OBEY!r}])")
        _until_ready(target)
        case.follower.refresh(asked=True)
        assert len(case.snapshots) == before
        time.sleep(0.05)
        case.look_after_exec()
        assert len(case.snapshots) > before
        assert [(m.start, m.end) for m in case.snapshots[-1].mappings] == executable_lines(
            target.child.pid
        )


@pytest.mark.parametrize("build", ALL[-1:])
def test_a_program_that_is_awaited(build: Build) -> None:
    with obedient(build) as target:
        case = Case(target.child.pid)
        case.follower.expect()
        assert case.probe.entry.flags == ProcessFlag.HELD
        assert case.follower.become(time_ns=5)
        assert len(case.probe.told) == 1  # the probe has seen the exec itself
        case.look_after_exec()
        assert case.probe.entry.flags == 0
        assert case.snapshots[0].time_ns == 5
        assert case.probe.entry.layout.chain_kind == ChainKind.SHIM


def _subinterpreter(build: Build) -> str:
    name = "_interpreters" if build.minor >= (3, 13) else "_xxsubinterpreters"
    return f"import {name} as subinterpreters; other = subinterpreters.create()"


@pytest.mark.parametrize("build", SUPPORTED)
def test_a_second_interpreter_is_noticed_without_being_asked(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it shows in the mappings once its library is there."""
    monkeypatch.setattr(follow, "SETTLED_AFTER_S", 0.0)
    monkeypatch.setattr(follow, "_REREAD_S", 1000.0)
    with obedient(build) as target:
        statement, _, create = _subinterpreter(build).partition("; ")
        target.do(statement)
        case = Case(target.child.pid)
        case.follower.refresh(asked=True)
        case.follower.refresh(asked=False)
        before = case.probe.entry
        assert before.several == 0
        assert len(case.probe.told) == 1
        target.do(create)
        case.follower.refresh(asked=False)
        case.follower.refresh(asked=False)
        assert len(case.probe.told) == 2
        before.several = 1
        assert bytes(case.probe.entry) == bytes(before)  # and nothing else
        assert len(case.snapshots) == len(case.processes) == 1


@pytest.mark.parametrize("build", WITH_LIBRARIES[-1:])
def test_the_interpreters_that_were_there_before(build: Build) -> None:
    with obedient(build) as target:
        target.do(_subinterpreter(build))
        case = Case(target.child.pid)
        case.follower.refresh(asked=True)
        assert len(case.probe.told) == 1
        assert case.probe.entry.several == 1
        target.do("import _json, _bisect")  # the entry is written anew
        case.follower.refresh(asked=True)
        assert case.probe.entry.several == 1
        target.tell(f"os.execv({build.executable!r}, [{build.executable!r}, '-S', '-c', {OBEY!r}])")
        assert target.child.stdout is not None
        _until_ready(target)
        case.look_after_exec()
        assert case.probe.entry.several == 0


def _until_ready(target: Obedient) -> None:
    assert target.child.stdout is not None
    while target.child.stdout.readline() != "ready\n":
        pass


@pytest.mark.parametrize("build", ALL[-1:])
def test_an_interpreter_that_may_be_read_wrongly(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer one, or a pre-release: it is sampled, and that is said once."""
    note = "it runs a pre-release of CPython 3.15"

    def doubtful(process: TargetProcess, lines: tuple[MapLine, ...], search: bool) -> object:
        found = find_interpreter(process, lines, search)
        assert isinstance(found, FoundInterpreter)
        return replace(found, note=note)

    monkeypatch.setattr(follow, "find_interpreter", doubtful)
    with obedient(build) as target:
        case = Case(target.child.pid)
        case.follower.refresh(asked=True)
        target.do("kept = mmap.mmap(-1, 4096, 0x22, 7)")
        case.follower.refresh(asked=True)
        assert len(case.snapshots) == 2
        (process,) = case.processes
        assert process.interpreter is not None
        assert process.note == note
        assert case.notes == [f"process {target.child.pid}: {note}; its frames may be wrong"]
        assert case.probe.entry.layout.chain_kind == ChainKind.SHIM


@pytest.mark.parametrize("build", ALL[-1:])
def test_a_settled_process_is_looked_at_only_when_asked(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "SETTLED_AFTER_S", 0.0)
    with obedient(build) as target:
        case = Case(target.child.pid)
        case.follower.refresh(asked=True)
        assert not case.follower.settling
        monkeypatch.setattr(follow, "_REREAD_S", 1000.0)
        target.do("kept = mmap.mmap(-1, 4096, 0x22, 7)")
        case.follower.refresh(asked=False)
        assert len(case.snapshots) == 1
        case.follower.refresh(asked=True)
        assert len(case.snapshots) == 2
        target.do("more = mmap.mmap(-1, 8192, 0x22, 7)")
        monkeypatch.setattr(follow, "_REREAD_S", 0.0)
        case.follower.refresh(asked=False)
        assert len(case.snapshots) == 3


@pytest.mark.parametrize("build", ALL[-1:])
def test_a_process_that_is_gone(build: Build) -> None:
    with obedient(build) as target:
        case = Case(target.child.pid)
        target.child.kill()
        target.child.wait()
        case.follower.refresh(asked=True)
        assert (case.probe.told, case.snapshots, case.processes) == ([], [], [])
        case.follower.finish()
        (process,) = case.processes
        assert process.interpreter is None
        assert process.note == "it ended before its program was known"


@pytest.mark.parametrize("build", ALL[-1:])
def test_more_mappings_than_the_probe_holds(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "MAPPINGS_MAX", 3)
    with obedient(build) as target:
        case = Case(target.child.pid)
        case.follower.refresh(asked=True)
        assert [(e.start, e.end) for e in case.probe.entries] == executable_lines(target.child.pid)[
            :3
        ]


def _until(condition: object) -> None:
    end = time.monotonic() + 10
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
