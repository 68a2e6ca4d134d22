"""The recording itself, once the probe is loaded: follow, drain, write, until something ends it."""

from __future__ import annotations

import os
import platform
import select
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from typing import Final, NamedTuple

import mixstack
from mixstack.bpf.perf import Event, online_cpus
from mixstack.bpf.probe import Probe
from mixstack.bpf.ring import Drained
from mixstack.bpf.wire import EVERYONE_ELSE, CodeRecord, Counter, ProcessEntry, ProcessFlag
from mixstack.capture.writer import CaptureWriter
from mixstack.errors import TargetError
from mixstack.model import Code, Footer, Losses, Recording
from mixstack.privileges.capabilities import FOR_RECORDING, keep_only
from mixstack.record.addresses import KERNEL_UNNAMED, AddressBook
from mixstack.record.children import descendants
from mixstack.record.codes import decode_code
from mixstack.record.cputime import cpu_seconds
from mixstack.record.describe import Describer
from mixstack.record.file_queue import Reader
from mixstack.record.follow import Follower
from mixstack.record.interruption import Interruption
from mixstack.record.launch import Launched
from mixstack.record.mapping_space import MappingSpace
from mixstack.record.modules import ModuleRegistry
from mixstack.record.options import TARGET_ENDED, Progress, RecordOptions, RecordResult
from mixstack.record.processes import Processes
from mixstack.record.shared import Listener, Shared
from mixstack.record.tables import TableSpace
from mixstack.target.process import TargetProcess

ALL_PROCESSES: Final = ("[all processes]",)  # Recording.command
_FLUSH_S: Final = 0.7  # who is killed loses this and a wake-up's distance: less than a second
_RATE_NEEDS_S: Final = 0.2  # less CPU time than this says nothing about the rate


class Prepared(NamedTuple):
    """What a recording has before it samples.

    process: the target; pidfd: readable when it ends; None and -1 where all are recorded.
    registry: has read the files of which the probe's tables got their size.
    """

    options: RecordOptions
    launched: Launched | None
    process: TargetProcess | None
    pidfd: int
    registry: ModuleRegistry
    probe: Probe
    event: Event
    interrupted: Interruption


class Sampling:
    """The parts of a recording. What must be undone at its end is pushed on `stack`."""

    def __init__(
        self, ready: Prepared, on_progress: Callable[[Progress], None], stack: ExitStack
    ) -> None:
        self._options = ready.options
        self._launched = ready.launched
        self._pidfd = ready.pidfd
        self._registry = ready.registry
        self._probe = ready.probe
        self._event = ready.event
        self._interrupted = ready.interrupted
        self._on_progress = on_progress
        self._stack = stack
        self._notes: list[str] = []
        self._samples = 0
        self._unreadable = 0
        self._cpu_s = 0.0  # of the target, as read last
        self._cpu_samples = 0  # of it, taken until then
        self._target_samples = 0
        self._start_ns = time.monotonic_ns()
        self._writer = CaptureWriter(self._options.output, self._describe(ready.process))
        stack.callback(self._writer.abandon)
        self._addresses = AddressBook(self._writer)
        stack.callback(self._addresses.close)
        self._space = TableSpace(self._probe.rows, self._probe.pages)
        self._files_read = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        stack.callback(os.close, self._files_read)
        executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="files")
        self._shared = Shared(
            self._probe,
            self._registry,
            Describer(self._registry, self._space),
            MappingSpace(self._probe.mappings),
            Listener(
                process=lambda found: self._writer.add_processes([found]),
                mappings=self._writer.add_mappings,
                note=self._note,
                thread_name=self._writer.add_thread_name,
                no_room=self._no_room,
            ),
            reader=Reader(executor, partial(os.eventfd_write, self._files_read, 1)),
        )
        stack.callback(executor.shutdown, cancel_futures=True)
        self._processes = Processes(self._shared, self._before_change)
        stack.callback(self._processes.close)
        self._target: Follower | None = None
        if ready.process is not None:
            flags = 0 if self._options.children else ProcessFlag.ALONE
            self._target = Follower(ready.process, self._shared, flags)
            self._processes.add(self._target)

    def run(self) -> RecordResult:
        """From the first sample to the footer."""
        target = self._target
        if target is None:
            own = os.getpid()
            self._probe.set_process(own, ProcessEntry(family=own, flags=ProcessFlag.HIDDEN))
            self._probe.set_process(EVERYONE_ELSE, ProcessEntry(flags=ProcessFlag.UNKNOWN))
        elif self._launched is not None:
            target.expect()
        else:
            target.refresh(asked=True)
        self._probe.watch_lives()
        if target is not None and self._launched is None and self._options.children:
            self._find_descendants(target.process.pid)
        cpu_before = self._cpu_seconds() or 0.0
        self._probe.start(self._options.rate_hz, self._event)
        if self._options.sheds_privileges:
            keep_only(FOR_RECORDING)
        if self._launched is not None:
            self._launched.go()
        reason = self._loop()
        self._probe.stop()
        self._processes.attend(self._drain())
        for follower in self._processes:
            follower.finish()
        self._flush(at_end=True)
        end_ns = time.monotonic_ns()
        cpu_s = self._cpu_s - cpu_before
        if self._addresses.kernel_unnamed:
            self._notes.append(KERNEL_UNNAMED)
        if self._options.lines:
            self._look_up_lines()
        footer = Footer(
            end_ns=end_ns,
            samples=self._samples,
            losses=Losses(
                ring_full=self._probe.total(Counter.LOST),
                code_unreadable=self._unreadable,
                tables_missing=self._registry.without_table,
                throttled=self._probe.throttled,
                process_unknown=self._probe.total(Counter.UNKNOWN),
            ),
            reason=reason,
            table_bytes=self._space.used_bytes,
        )
        self._writer.close(footer)
        return RecordResult(
            footer,
            tuple(self._notes),
            self._writer.size,
            None,
            self._cpu_samples / cpu_s if cpu_s >= _RATE_NEEDS_S else None,
            self._event.value,
        )

    def _loop(self) -> str:
        """Drain until something ends it; says what."""
        duration = self._options.duration_s
        begin = time.monotonic()
        end = begin + duration if duration is not None else None
        flushed = begin
        poll = self._stack.enter_context(select.epoll())
        if self._pidfd >= 0:
            poll.register(self._pidfd, select.EPOLLIN)
        poll.register(self._interrupted.fd, select.EPOLLIN)
        # By the edge: what is in the ring can wait, unless the probe says that it should not.
        poll.register(self._probe.wake_fd, select.EPOLLIN | select.EPOLLET)
        poll.register(self._files_read, select.EPOLLIN | select.EPOLLET)
        while True:
            wait = self._processes.patience_s
            now = time.monotonic()
            if end is not None:
                wait = min(wait, max(0.0, end - now))
            ready = {fd for fd, _ in poll.poll(wait)}
            self._processes.attend(self._drain())
            self._mend_walks()
            now = time.monotonic()
            if now - flushed >= _FLUSH_S or ready & {self._pidfd, self._interrupted.fd}:
                self._flush()
                flushed = now
                self._say_progress(now - begin)
            if self._pidfd in ready:
                return TARGET_ENDED
            if self._interrupted.fd in ready:
                return "interrupted"
            if end is not None and now >= end:
                return "duration"

    def _say_progress(self, elapsed_s: float) -> None:
        self._on_progress(
            Progress(
                elapsed_s,
                self._samples,
                self._probe.total(Counter.LOST),
                self._notes[-1] if self._notes else None,
                throttled=self._probe.throttled,
            )
        )

    def _drain(self) -> Drained:
        """Move what the probe has into the capture."""
        drained = self._probe.drain()
        if drained.samples:
            self._samples += drained.sample_count
            if self._target is not None:
                self._target_samples += drained.counts.get(self._target.process.pid, 0)
            self._writer.add_samples(drained.samples)
            self._addresses.collect(drained.samples)
        for record_bytes in drained.codes:
            code = self._decode(record_bytes)
            if code is not None:
                self._writer.add_codes([code])
            else:
                self._unreadable += 1
        return drained

    def _mend_walks(self) -> None:
        """Find rules for code in which walks died: each moment without them costs samples."""
        for pid in self._addresses.stopped():
            follower = self._processes.get(pid)
            self._processes.stir()  # what is asked for now is known in a moment
            if follower is not None:
                follower.add_stops(*self._addresses.stops(follower))

    def _decode(self, record: bytes) -> Code | None:
        head = CodeRecord.from_buffer_copy(record)
        interpreter = self._processes.interpreter(head.pid, head.family)
        if interpreter is None:
            return None
        layout, version = interpreter
        return decode_code(record, layout, TargetProcess(head.pid, None, ()).read, version)

    def _before_change(self, follower: Follower) -> None:
        """Its addresses will mean something else, or nothing."""
        self._addresses.write_process(follower, last=True)
        self._addresses.forget(follower.process.pid)

    def _find_descendants(self, target: int) -> None:
        """The processes that the target has started by now."""
        for pid in descendants(target):
            with suppress(TargetError):
                follower = Follower(TargetProcess.open(pid), self._shared)
                follower.refresh(asked=True)
                self._processes.add(follower)

    def _note(self, pid: int, note: str) -> None:
        """Of the target; what is to be said of the others stands in the capture."""
        if self._target is not None and pid == self._target.process.pid:
            self._notes.append(note)

    def _no_room(self, pid: int) -> None:
        self._notes.append("too many processes at once: some have no native stacks")

    def _cpu_seconds(self) -> float | None:
        return cpu_seconds(self._target.process.pid) if self._target is not None else None

    def _flush(self, at_end: bool = False) -> None:
        cpu_s = self._cpu_seconds()
        if cpu_s is not None:  # else the process is gone; samples after this reading do not count
            self._cpu_s, self._cpu_samples = cpu_s, self._target_samples
        for follower in self._processes:
            self._addresses.write_process(follower, last=at_end)
        self._processes.drop_ended()
        self._addresses.write_kernel()
        self._addresses.write_found(wait=at_end)
        self._writer.add_modules(self._registry.take_new())
        self._writer.flush()

    def _look_up_lines(self) -> None:
        """Source lines of what was sampled; a further signal ends it, and what was found stays."""
        self._interrupted.forget()
        begin, lost = time.monotonic(), self._probe.total(Counter.LOST)

        def go_on(done: int, total: int) -> bool:
            elapsed_s = time.monotonic() - begin
            self._on_progress(Progress(elapsed_s, self._samples, lost, lines=(done, total)))
            return not self._interrupted.pending

        self._addresses.sources.write(self._writer, go_on, self._notes.append)

    def _describe(self, process: TargetProcess | None) -> Recording:
        return Recording(
            mixstack_version=mixstack.__version__,
            command=self._options.command or (process.command if process else ALL_PROCESSES),
            rate_hz=self._options.rate_hz,
            event=self._event.value,
            start_ns=self._start_ns,
            start_unix_ns=time.time_ns(),
            hostname=platform.node(),
            kernel=platform.release(),
            machine=platform.machine(),
            cpus=len(online_cpus()),
        )
