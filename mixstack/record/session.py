"""One recording from its start to its end: attach, drain, follow, write."""

from __future__ import annotations

import os
import platform
import resource
import select
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Final

import mixstack
from mixstack.bpf.perf import Event, best_event, online_cpus
from mixstack.bpf.probe import Probe
from mixstack.bpf.ring import Drained
from mixstack.bpf.wire import EVERYONE_ELSE, CodeRecord, Counter, ProcessEntry, ProcessFlag
from mixstack.capture.writer import CaptureWriter
from mixstack.errors import NoSuchProcess, OutputError, TargetError
from mixstack.model import Code, Footer, Losses, Recording
from mixstack.privileges.capabilities import FOR_RECORDING, FOR_SETTING_UP, keep_only
from mixstack.privileges.user import User, become, home_of_process, writer_of
from mixstack.record.addresses import KERNEL_UNNAMED, AddressBook
from mixstack.record.children import descendants
from mixstack.record.codes import decode_code
from mixstack.record.cputime import cpu_seconds
from mixstack.record.describe import Describer
from mixstack.record.follow import Follower
from mixstack.record.interruption import Interruption, interruptible
from mixstack.record.launch import Launched
from mixstack.record.libraries import files_of_command
from mixstack.record.mapping_space import MappingSpace
from mixstack.record.modules import ModuleRegistry
from mixstack.record.options import STDOUT, Progress, RecordOptions, RecordResult
from mixstack.record.processes import Processes
from mixstack.record.shared import Listener, Shared
from mixstack.record.sizing import sizes_for
from mixstack.record.tables import TableSpace
from mixstack.target.interpreter import read_ahead
from mixstack.target.process import TargetProcess, check_proc_is_ours

_STDERR: Final = 2
ALL_PROCESSES: Final = ("[all processes]",)  # Recording.command
TARGET_ENDED: Final = "target ended"  # Footer.reason
_FLUSH_S: Final = 0.5
_RATE_NEEDS_S: Final = 0.2  # less CPU time than this says nothing about the rate


def record(options: RecordOptions, on_progress: Callable[[Progress], None]) -> RecordResult:
    """Record until the target ends, the time is over, or SIGINT, SIGTERM or SIGHUP arrives.

    All three leave a complete capture. A started command then goes on, and its end is waited for.
    Raises the errors of errors.py; an earlier capture is set aside only once recording can begin.
    """
    begin = time.monotonic()
    check_proc_is_ours()
    with ExitStack() as stack:
        launched = _launch(options) if options.command else None
        if launched is not None:
            stack.callback(launched.cancel)
        owner = writer_of(options.output, options.user)
        if owner is not None:
            become(owner, FOR_SETTING_UP)
        interrupted = stack.enter_context(interruptible())
        try:
            result = _Session(options, launched, interrupted, on_progress, stack).run()
        except OutputError as error:
            if launched is not None and launched.started:
                stack.close()
                what = f"{error.message}; waiting for {options.command[0]} to end"
                on_progress(Progress(time.monotonic() - begin, 0, 0, what))
                launched.wait()
            raise
    if launched is None:
        return result
    if result.footer.reason != TARGET_ENDED:
        waiting = f"the recording is complete; waiting for {options.command[0]} to end"
        footer = result.footer
        elapsed_s = time.monotonic() - begin
        on_progress(Progress(elapsed_s, footer.samples, footer.losses.ring_full, waiting))
    return RecordResult(
        result.footer,
        result.notes,
        result.file_size,
        launched.wait(),
        result.rate_achieved_hz,
        result.event,
    )


class _Session:
    """The parts of a recording. What must be undone at its end is pushed on `stack`."""

    def __init__(
        self,
        options: RecordOptions,
        launched: Launched | None,
        interrupted: Interruption,
        on_progress: Callable[[Progress], None],
        stack: ExitStack,
    ) -> None:
        self._options = options
        self._launched = launched
        self._interrupted = interrupted
        self._on_progress = on_progress
        self._stack = stack
        self._notes: list[str] = []
        self._samples = 0
        self._unreadable = 0
        self._cpu_s = 0.0  # of the target, as read last
        self._cpu_samples = 0  # of it, taken until then
        self._target_samples = 0

        pid = launched.pid if launched is not None else options.pid
        process = TargetProcess.open(pid) if pid is not None else None
        self._pidfd = -1  # there is no end to wait for
        if pid is not None:
            self._pidfd = _pidfd(pid)
            stack.callback(os.close, self._pidfd)
        _allow_many_files()
        self._registry = ModuleRegistry(cache_folder(options.user))
        stack.callback(self._registry.close)
        sizes = sizes_for(options, process, self._registry)
        self._event = Event(options.event) if options.event is not None else best_event()
        self._probe = Probe(sizes, options.loader)
        stack.callback(self._probe.close)
        if launched is not None:
            for path in files_of_command(options.command[0], options.user):
                layout = read_ahead(path)
                if layout is not None:
                    self._probe.expect(layout.chain_kind)
        self._start_ns = time.monotonic_ns()
        self._writer = CaptureWriter(options.output, self._describe(process))
        stack.callback(self._writer.abandon)
        self._addresses = AddressBook(self._writer)
        stack.callback(self._addresses.close)
        self._space = TableSpace(self._probe.rows, self._probe.pages)
        reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="files")
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
            reader=reader,
        )
        stack.callback(reader.shutdown, cancel_futures=True)
        self._processes = Processes(self._shared, self._before_change)
        stack.callback(self._processes.close)
        self._target: Follower | None = None
        if process is not None:
            flags = 0 if options.children else ProcessFlag.ALONE
            self._target = Follower(process, self._shared, flags)
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
            self._on_progress(
                Progress(
                    now - begin,
                    self._samples,
                    self._probe.total(Counter.LOST),
                    self._notes[-1] if self._notes else None,
                    throttled=self._probe.throttled,
                )
            )
            if self._pidfd in ready:
                return TARGET_ENDED
            if self._interrupted.fd in ready:
                return "interrupted"
            if end is not None and now >= end:
                return "duration"

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


def _launch(options: RecordOptions) -> Launched:
    stdout = _STDERR if options.output == STDOUT else None  # the recording's alone
    return Launched(options.command, options.user, options.environment, stdout)


def cache_folder(user: User | None = None) -> str | None:
    """Where compiled unwind tables are kept; None if the user has no home.

    user: root acts for someone: the environment may be either's then, and is not asked.
    """
    if user is not None:
        base = os.path.join(home_of_process() or "", ".cache")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(base, "mixstack", "unwind") if os.path.isabs(base) else None


def _allow_many_files() -> None:
    """The files of the recorded programs stay open: their names may be gone when they are read."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _pidfd(pid: int) -> int:
    """A descriptor that becomes readable when the process ends."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError as e:
        raise NoSuchProcess(f"process {pid} has just ended") from e
