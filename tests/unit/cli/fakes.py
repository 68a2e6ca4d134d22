"""A capture, a profile and a recording session without a file, a probe or a target."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from mixstack.errors import MixstackError
from mixstack.model import (
    ChainEnd,
    Fit,
    Footer,
    Interpreter,
    Losses,
    Module,
    NativeEnd,
    Process,
    Quality,
    RawStack,
    Recording,
    Sample,
    Stop,
)
from mixstack.record.options import Progress, RecordOptions, RecordResult

NOTHING_SEEN = RawStack((), (), NativeEnd.ROOT, (), ChainEnd.ROOT, None, False, None)
HOSTILE = "evil\x1b[2Jname\u202e"

RECORDING = Recording(
    mixstack_version="0.1.0",
    command=("mixstack", "record", "--", "python", "my app.py"),
    rate_hz=99,
    event="cpu-clock",
    start_ns=5_000_000_000,
    start_unix_ns=1_700_000_000_000_000_000,
    hostname="box",
    kernel="6.18.44",
    machine="x86_64",
    cpus=2,
)
QUALITY = Quality(
    samples=1200,
    fits={Fit.EXACT: 1190, Fit.NATIVE_ONLY: 10},
    native_truncated=3,
    unresolved_frames=7,
    unnamed_codes=1,
    stops={
        Stop("/usr/lib/evil\x1b[2J.so", NativeEnd.NO_RULE, False): 3,
        Stop("[anon]", NativeEnd.NO_TABLE, True): 1001,
    },
    losses=Losses(ring_full=12),
)
FOOTER = Footer(
    end_ns=17_500_000_000,
    samples=1200,
    losses=Losses(ring_full=12),
    reason="target ended",
    table_bytes=24_100_000,
)


def sample(time_ns: int, pid: int, tid: int, name: str) -> Sample:
    return Sample(time_ns, pid, tid, 0, name, NOTHING_SEEN)


@dataclass
class FakeCapture:
    """The fields of `mixstack.capture.reader.Capture` that the commands read."""

    path: str = "out.data"
    recording: Recording = RECORDING
    footer: Footer | None = FOOTER
    problem: str | None = None
    file_size: int = 312_400
    modules: dict[int, Module] = field(
        default_factory=lambda: {
            2: Module(2, "/usr/lib/libz.so.1", None),
            0: Module(0, "/usr/bin/python3.12", "00ffee"),
            1: Module(1, "/tmp/" + HOSTILE, "aabb"),
        }
    )
    processes: dict[int, Process] = field(
        default_factory=lambda: {
            201: Process(201, ("sh",), None, "no interpreter found"),
            100: Process(100, ("python", "my app.py"), Interpreter((3, 12, 1), 0, None)),
        }
    )

    @property
    def complete(self) -> bool:
        return self.problem is None

    @property
    def sample_count(self) -> int:
        return 4

    def samples(self) -> Iterator[Sample]:
        yield sample(6_000_000_000, 201, 201, "sh")
        yield sample(6_100_000_000, 100, 101, "python")
        yield sample(6_200_000_000, 100, 101, HOSTILE)
        yield sample(6_250_000_000, 100, 7, "worker")


class FakeSession:
    """Stands in for `mixstack.record.session`: says `progress`, then ends or fails."""

    def __init__(
        self,
        exit_status: int | None = None,
        failure: BaseException | MixstackError | None = None,
        progress: tuple[Progress, ...] = (),
        notes: tuple[str, ...] = (),
    ) -> None:
        self.asked: list[RecordOptions] = []
        self._failure = failure
        self._progress = progress
        self._result = RecordResult(
            footer=FOOTER,
            notes=notes,
            file_size=312_400,
            exit_status=exit_status,
            rate_achieved_hz=98.7,
            event="cpu-clock",
        )

    def record(
        self, options: RecordOptions, on_progress: Callable[[Progress], None]
    ) -> RecordResult:
        self.asked.append(options)
        for progress in self._progress:
            on_progress(progress)
        if self._failure is not None:
            raise self._failure
        return self._result
