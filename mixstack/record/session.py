"""One recording from its start to its end: attach, drain, follow, write."""

from __future__ import annotations

import os
import platform
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import mixstack
from mixstack.bpf.perf import online_cpus
from mixstack.bpf.probe import Probe, Sizes
from mixstack.bpf.ring import Drained
from mixstack.bpf.wire import Counter, SampleFlag
from mixstack.capture.writer import CaptureWriter
from mixstack.errors import NoSuchProcess
from mixstack.model import Footer, Losses, Recording
from mixstack.record.addresses import AddressBook
from mixstack.record.children import ChildWatch
from mixstack.record.codes import decode_code
from mixstack.record.cputime import cpu_seconds
from mixstack.record.follow import MAPPINGS_MAX, Follower, Listener
from mixstack.record.launch import Launched
from mixstack.record.libraries import files_of_command
from mixstack.record.modules import ModuleRegistry
from mixstack.record.options import Progress, RecordOptions, RecordResult
from mixstack.record.tables import TableSpace
from mixstack.target.process import TargetProcess

EVENT: Final = "cpu-clock"
TARGET_ENDED: Final = "target ended"  # Footer.reason
_DRAIN_S: Final = 0.1
_SETTLING_S: Final = 0.01
_FLUSH_S: Final = 0.5
_RATE_NEEDS_S: Final = 0.2  # less CPU time than this says nothing about the rate
_BYTES_PER_SAMPLE: Final = 2048  # generous; most are 500
_RING_SECONDS: Final = 2
_RING_MIN: Final = 1 << 20
_RING_MAX: Final = 1 << 26
# The tables' memory cannot grow once the probe is loaded: room for libraries that come later.
# Of a command that has yet to start, the libraries that it opens by itself are not known.
_SPARE_ROWS: Final = 1 << 20
_SPARE_ROWS_OF_COMMAND: Final = 1 << 22
_ROWS_PER_PAGE: Final = 4  # libraries have 5 and more: the pages do not run out before the rows


def record(options: RecordOptions, on_progress: Callable[[Progress], None]) -> RecordResult:
    """Record until the target ends, the time is over, or SIGINT, SIGTERM or SIGHUP arrives.

    All three leave a complete capture. A started command then goes on, and its end is waited for.
    Raises the errors of errors.py; an earlier capture is set aside only once recording can begin.
    """
    begin = time.monotonic()
    with ExitStack() as stack:
        launched = Launched(options.command) if options.command else None
        if launched is not None:
            stack.callback(launched.cancel)
        interrupted = stack.enter_context(_interruptible())
        result = _Session(options, launched, interrupted, on_progress, stack).run()
    if launched is None:
        return result
    if result.footer.reason != TARGET_ENDED:
        waiting = f"the recording is complete; waiting for {options.command[0]} to end"
        footer = result.footer
        elapsed_s = time.monotonic() - begin
        on_progress(Progress(elapsed_s, footer.samples, footer.losses.ring_full, waiting))
    return RecordResult(
        result.footer, result.notes, result.file_size, launched.wait(), result.rate_achieved_hz
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
        self._notes: list[str] = []
        self._samples = 0
        self._unreadable = 0
        self._cpu_s = 0.0  # of the target, as read last
        self._cpu_samples = 0  # taken until then
        self._children = ChildWatch(self._notes.append)

        pid = launched.pid if launched is not None else options.pid
        assert pid is not None  # RecordOptions sees to it
        process = TargetProcess.open(pid)
        self._pidfd = _pidfd(pid)
        stack.callback(os.close, self._pidfd)
        self._registry = ModuleRegistry(cache_folder())
        sizes = self._measure(process)
        self._probe = Probe(sizes)
        stack.callback(self._probe.close)
        self._start_ns = time.monotonic_ns()
        self._writer = CaptureWriter(options.output, self._describe(process))
        stack.callback(self._writer.abandon)
        self._addresses = AddressBook(self._writer)
        self._follower = Follower(
            process,
            self._probe,
            self._registry,
            TableSpace(self._probe.rows, self._probe.pages),
            Listener(
                process=lambda found: self._writer.add_processes([found]),
                mappings=self._writer.add_mappings,
                note=self._notes.append,
            ),
        )

    def run(self) -> RecordResult:
        """From the first sample to the footer."""
        if self._launched is not None:
            self._launched.go()
        self._follower.refresh(asked=True)
        pid = self._follower.process.pid
        cpu_before = cpu_seconds(pid) or 0.0
        self._probe.start(self._options.rate_hz)
        reason = self._loop()
        self._probe.stop()
        self._drain()
        self._follower.finish()
        self._flush(last=True)
        cpu_s = self._cpu_s - cpu_before
        footer = Footer(
            end_ns=time.monotonic_ns(),
            samples=self._samples,
            losses=Losses(
                ring_full=self._probe.total(Counter.LOST),
                code_unreadable=self._unreadable,
                tables_missing=self._registry.without_table,
            ),
            reason=reason,
        )
        self._writer.close(footer)
        return RecordResult(
            footer,
            tuple(self._notes),
            self._writer.size,
            None,
            self._cpu_samples / cpu_s if cpu_s >= _RATE_NEEDS_S else None,
        )

    def _loop(self) -> str:
        """Drain until something ends it; says what."""
        duration = self._options.duration_s
        begin = time.monotonic()
        end = begin + duration if duration is not None else None
        flushed = begin
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        poll.register(self._interrupted.fd, select.POLLIN)
        while True:
            wait = _SETTLING_S if self._follower.settling else _DRAIN_S
            if self._follower.busy:
                wait = 0.0
            now = time.monotonic()
            if end is not None:
                wait = min(wait, max(0.0, end - now))
            ready = [fd for fd, _ in poll.poll(wait * 1000)]
            drained = self._drain()
            self._follower.refresh(asked=bool(drained.flags & SampleFlag.NEW_MAPPING))
            self._follower.read_next(drained.without_table)
            now = time.monotonic()
            self._children.look(self._follower.process.pid, now)
            if now - flushed >= _FLUSH_S or ready:
                self._flush()
                flushed = now
            self._on_progress(
                Progress(
                    now - begin,
                    self._samples,
                    self._probe.total(Counter.LOST),
                    self._notes[-1] if self._notes else None,
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
            self._writer.add_samples(drained.samples)
            self._addresses.collect(drained.samples)
        layout, version = self._follower.layout, self._follower.version
        for record_bytes in drained.codes:
            code = None
            if layout is not None:
                code = decode_code(record_bytes, layout, self._follower.process.read, version)
            if code is not None:
                self._writer.add_codes([code])
            else:
                self._unreadable += 1
        return drained

    def _flush(self, *, last: bool = False) -> None:
        cpu_s = cpu_seconds(self._follower.process.pid)
        if cpu_s is not None:  # else the process is gone; samples after this reading do not count
            self._cpu_s, self._cpu_samples = cpu_s, self._samples
        self._addresses.write_new(self._follower, last=last)
        self._writer.add_modules(self._registry.take_new())
        self._writer.flush()

    def _measure(self, process: TargetProcess) -> Sizes:
        """Read the target's files; how large the probe's tables must be."""
        if self._launched is not None:
            for path in files_of_command(self._options.command[0]):
                self._registry.preload(path)
        else:
            for line in process.executable_maps():
                self._registry.find(process, line)
        rows, pages = self._registry.table_sizes()
        wanted = self._options.rate_hz * len(online_cpus()) * _BYTES_PER_SAMPLE * _RING_SECONDS
        ring = 1 << (wanted - 1).bit_length()
        spare = _SPARE_ROWS if self._launched is None else _SPARE_ROWS_OF_COMMAND
        return Sizes(
            mappings=2 * MAPPINGS_MAX,
            pages=pages + spare // _ROWS_PER_PAGE,
            rows=rows + spare,
            ring_bytes=max(_RING_MIN, min(_RING_MAX, ring)),
        )

    def _describe(self, process: TargetProcess) -> Recording:
        return Recording(
            mixstack_version=mixstack.__version__,
            command=self._options.command or process.command,
            rate_hz=self._options.rate_hz,
            event=EVENT,
            start_ns=self._start_ns,
            start_unix_ns=time.time_ns(),
            hostname=platform.node(),
            kernel=platform.release(),
            machine=platform.machine(),
            cpus=len(online_cpus()),
        )


def cache_folder() -> str | None:
    """Where compiled unwind tables are kept; None if the user has no home."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(base, "mixstack", "unwind") if os.path.isabs(base) else None


class Interruption:
    """A descriptor that becomes readable when a signal asks for the recording's end."""

    def __init__(self, fd: int) -> None:
        self.fd = fd


@contextmanager
def _interruptible() -> Iterator[Interruption]:
    """While it lasts, SIGINT, SIGTERM and SIGHUP make the descriptor readable, and nothing else."""
    read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    wakeup = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    try:
        yield Interruption(read)
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(read)
        os.close(write)


def _pidfd(pid: int) -> int:
    """A descriptor that becomes readable when the process ends."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError as e:
        raise NoSuchProcess(f"process {pid} has just ended") from e
