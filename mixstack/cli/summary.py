"""What `mixstack info` says of a capture, as values: the JSON of `--json` is these fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from mixstack.model import Fit, Quality, Sample

if TYPE_CHECKING:
    from mixstack.capture.reader import Capture


@dataclass(frozen=True, slots=True)
class ProcessSummary:
    """`python`: "3.12.1", None where no supported CPython was found; `note` says why."""

    pid: int
    command: tuple[str, ...]
    python: str | None
    note: str | None


@dataclass(frozen=True, slots=True)
class ThreadSummary:
    """`name`: the last that the thread had."""

    pid: int
    tid: int
    name: str
    samples: int


@dataclass(frozen=True, slots=True)
class ModuleSummary:
    path: str
    build_id: str | None


@dataclass(frozen=True, slots=True)
class LossSummary:
    """`samples`: found the ring buffer full; the others as in `mixstack.model.Losses`."""

    samples: int
    code_unreadable: int
    tables_missing: int
    throttled: int
    process_unknown: int


@dataclass(frozen=True, slots=True)
class StopSummary:
    """Where native walks died, why, and in how many samples.

    reason: None in recordings that do not say. went_on: they started again further out.
    """

    module: str
    reason: str | None
    went_on: bool
    samples: int


@dataclass(frozen=True, slots=True)
class Summary:
    """A capture in brief. Sorted: processes by pid, threads by (pid, tid), modules by path.

    started: ISO 8601, UTC. duration_s: to the recorder's end, or to the last sample of a capture
    that was cut off. fit: samples by `Fit`, each of them present. truncated_*: stacks.
    stops: the most frequent first.
    """

    file: str
    file_size: int
    complete: bool
    problem: str | None
    mixstack_version: str
    command: tuple[str, ...]
    started: str
    duration_s: float
    end: str | None
    exit_status: int | None
    rate_hz: int
    event: str
    hostname: str
    kernel: str
    machine: str
    cpus: int
    samples: int
    processes: tuple[ProcessSummary, ...]
    threads: tuple[ThreadSummary, ...]
    modules: tuple[ModuleSummary, ...]
    fit: dict[str, int]
    lost: LossSummary
    truncated_native: int
    truncated_python: int
    unresolved_frames: int
    unnamed_codes: int
    stops: tuple[StopSummary, ...]
    table_bytes: int | None


def summarize(capture: Capture, samples: Iterable[Sample], quality: Quality) -> Summary:
    """Put together what `capture` says of itself, its `samples` (read once) and its `quality`."""
    recording, footer = capture.recording, capture.footer
    counts: Counter[tuple[int, int]] = Counter()
    names: dict[tuple[int, int], str] = {}
    last_ns = recording.start_ns
    for sample in samples:
        thread = sample.pid, sample.tid
        counts[thread] += 1
        names[thread] = sample.thread_name
        last_ns = sample.time_ns
    end_ns = last_ns if footer is None else footer.end_ns
    losses = quality.losses
    return Summary(
        file=capture.path,
        file_size=capture.file_size,
        complete=capture.complete,
        problem=capture.problem,
        mixstack_version=recording.mixstack_version,
        command=recording.command,
        started=_iso_time(recording.start_unix_ns),
        duration_s=max(0, end_ns - recording.start_ns) / 1e9,
        end=None if footer is None else footer.reason,
        exit_status=None if footer is None else footer.exit_status,
        rate_hz=recording.rate_hz,
        event=recording.event,
        hostname=recording.hostname,
        kernel=recording.kernel,
        machine=recording.machine,
        cpus=recording.cpus,
        samples=counts.total(),
        processes=_processes(capture),
        threads=tuple(
            ThreadSummary(pid, tid, names[pid, tid], count)
            for (pid, tid), count in sorted(counts.items())
        ),
        modules=tuple(
            ModuleSummary(path, build_id or None)
            for path, build_id in sorted(
                {(module.path, module.build_id or "") for module in capture.modules.values()}
            )
        ),
        fit={fit.value: quality.fits.get(fit, 0) for fit in Fit},
        lost=LossSummary(
            losses.ring_full,
            losses.code_unreadable,
            losses.tables_missing,
            losses.throttled,
            losses.process_unknown,
        ),
        truncated_native=quality.native_truncated,
        truncated_python=quality.python_truncated,
        unresolved_frames=quality.unresolved_frames,
        unnamed_codes=quality.unnamed_codes,
        stops=_stops(quality),
        table_bytes=None if footer is None else footer.table_bytes,
    )


def _stops(quality: Quality) -> tuple[StopSummary, ...]:
    stops = [
        StopSummary(place, None if reason is None else reason.name.lower(), went_on, samples)
        for (place, reason, went_on), samples in quality.stops.items()
    ]
    return tuple(sorted(stops, key=lambda s: (-s.samples, s.module, s.reason or "", s.went_on)))


def _processes(capture: Capture) -> tuple[ProcessSummary, ...]:
    summaries: list[ProcessSummary] = []
    for _, process in sorted(capture.processes.items()):
        interpreter = process.interpreter
        python = None if interpreter is None else ".".join(map(str, interpreter.version))
        summaries.append(ProcessSummary(process.pid, process.command, python, process.note))
    return tuple(summaries)


def _iso_time(unix_ns: int) -> str:
    try:
        moment = datetime.fromtimestamp(unix_ns // 1_000_000_000, timezone.utc)
    except (OverflowError, ValueError, OSError):  # a crafted head; the number is still true
        return f"@{unix_ns}"
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
