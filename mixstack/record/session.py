"""One recording: find out about the target, load the probe, sample until the end."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from mixstack.beside import Beside
from mixstack.bpf.perf import Event, best_event
from mixstack.bpf.probe import Probe
from mixstack.collector import paused_collector
from mixstack.compiled.library import library
from mixstack.errors import NoSuchProcess, OutputError
from mixstack.privileges.capabilities import FOR_SETTING_UP
from mixstack.privileges.user import become, writer_of
from mixstack.record.interruption import Interruption, interruptible
from mixstack.record.options import (
    STDOUT,
    TARGET_ENDED,
    Progress,
    RecordOptions,
    RecordResult,
)
from mixstack.record.sizing import mapped_files, sizes_for
from mixstack.target.process import TargetProcess, check_proc_is_ours, running_processes

if TYPE_CHECKING:
    from mixstack.record.launch import Launched

_STDERR = 2


def record(options: RecordOptions, on_progress: Callable[[Progress], None]) -> RecordResult:
    """Record until the target ends, the time is over, or SIGINT, SIGTERM or SIGHUP arrives.

    All three leave a complete capture. A started command then goes on, and its end is waited for.
    Raises the errors of errors.py; an earlier capture is set aside only once recording can begin.
    """
    begin = time.monotonic()
    check_proc_is_ours()
    library()  # before files of the target are mapped: it is ready for their being cut short
    with ExitStack() as stack:
        launched = _launch(options) if options.command else None
        if launched is not None:
            stack.callback(launched.cancel)
        owner = writer_of(options.output, options.user)
        if owner is not None:
            become(owner, FOR_SETTING_UP)
        interrupted = stack.enter_context(interruptible())
        try:
            result = _record(options, launched, interrupted, on_progress, stack)
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


def _record(
    options: RecordOptions,
    launched: Launched | None,
    interrupted: Interruption,
    on_progress: Callable[[Progress], None],
    stack: ExitStack,
) -> RecordResult:
    """What must be undone at its end is pushed on `stack`."""
    pid = launched.pid if launched is not None else options.pid
    process = TargetProcess.open(pid) if pid is not None else None
    pidfd = -1  # there is no end to wait for
    if pid is not None:
        pidfd = _pidfd(pid)
        stack.callback(os.close, pidfd)
    _allow_many_files()
    processes = [process] if process is not None else list(running_processes())
    files = _files_of(options) if options.command else list(mapped_files(processes))
    sizes = sizes_for(options, files)
    event = Event(options.event) if options.event is not None else best_event()
    with paused_collector(), Beside(partial(Probe, sizes, options.loader)) as loading:
        # The kernel's verifier takes its time; meanwhile there are modules to import, of which the
        # probe needs none, and the tables to read.
        from mixstack.record.modules import ModuleRegistry
        from mixstack.record.sampling import Prepared, Sampling
        from mixstack.target.interpreter import likely_interpreters, read_ahead

        registry = ModuleRegistry()
        stack.callback(registry.close)
        if options.command:
            for path in files:
                registry.preload(path)
        else:
            for each in processes:
                for line in each.executable_maps():
                    registry.find(each, line)
        if launched is None and process is not None:
            likely = likely_interpreters(process, process.executable_maps())
            files = [process.open_path(line) for line in likely]
        layouts = [read_ahead(path) for path in files] if process is not None else []
        probe = loading.result()
    stack.callback(probe.close)
    for layout in layouts:
        if layout is not None:
            probe.expect(layout.chain_kind)
    ready = Prepared(options, launched, process, pidfd, registry, probe, event, interrupted)
    return Sampling(ready, on_progress, stack).run()


def _files_of(options: RecordOptions) -> list[str]:
    """What the command will map when it starts."""
    from mixstack.record.libraries import files_of_command  # starts a program: not with -p

    return files_of_command(options.command[0], options.user)


def _launch(options: RecordOptions) -> Launched:
    from mixstack.record.launch import Launched  # not with -p

    stdout = _STDERR if options.output == STDOUT else None  # the recording's alone
    return Launched(options.command, options.user, options.environment, stdout)


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
