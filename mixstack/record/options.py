"""What a recording is asked for, what it says on the way, and what it says at its end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from mixstack.errors import UsageProblem

if TYPE_CHECKING:
    from mixstack.model import Footer
    from mixstack.privileges.user import User

DEFAULT_OUTPUT: Final = "out.data"
STDOUT: Final = "-"
TARGET_ENDED: Final = "target ended"  # Footer.reason
DEFAULT_RATE_HZ: Final = 99  # not 100: a rate in step with the target's own timers sees one phase
MIN_RATE_HZ: Final = 1
MAX_RATE_HZ: Final = 9999
EVENTS: Final = ("cycles", "cpu-clock")
LOADERS: Final = ("auto", "libbpf", "bcc")
MAX_BUFFER_MB: Final = 1024
DEFAULT_TABLE_MEMORY_MB: Final = 512  # torch, numpy and pandas together take 60
MAX_TABLE_MEMORY_MB: Final = 8192


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """A recording that can be: one target, a rate in range; raises `UsageProblem` otherwise.

    Exactly one of `pid` (attach), `command` (start; not empty) and `everything` names the target.
    `duration_s`: seconds, None until the target ends or Ctrl-C. `rate_hz`: per CPU.
    `lines`: look up source lines and inlined calls of native code at the end.
    event: one of EVENTS; None: cycles where there is a PMU, else cpu-clock. buffer_mb: of records
    that wait to be read, in MiB; None: by rate and CPUs.
    loader: one of LOADERS, of the probe.
    user: on whose behalf root records: the command runs as this user, and the output is this
    user's where the user may write; None: as we are. environment: the command's; None: ours.
    sheds_privileges: this process may give up for good what it does not need any more.
    `children`: record what the target starts as well.
    `table_memory_mb`: the most that unwind tables may take of the kernel's memory, in 2**20 bytes.
    """

    pid: int | None
    command: tuple[str, ...]
    output: str = DEFAULT_OUTPUT
    duration_s: float | None = None
    rate_hz: int = DEFAULT_RATE_HZ
    lines: bool = True
    event: str | None = None
    buffer_mb: int | None = None
    loader: str = "auto"
    user: User | None = None
    environment: Mapping[str, str] | None = None
    sheds_privileges: bool = False
    children: bool = True
    everything: bool = False
    table_memory_mb: int = DEFAULT_TABLE_MEMORY_MB

    def __post_init__(self) -> None:
        if self.everything and (self.pid is not None or self.command):
            raise UsageProblem(
                "-a records all processes: it takes neither a process nor a command",
                "leave -a out to record only that one and what it starts",
            )
        if self.pid is None and not self.command and not self.everything:
            raise UsageProblem(
                "there is nothing to record: give a process or a command",
                "mixstack record -p PID   or   mixstack record -- python app.py   or   -a for all",
            )
        if self.pid is not None and self.command:
            raise UsageProblem(
                f"both a process (-p {self.pid}) and a command ({self.command[0]}) were given",
                "give one of the two; options of mixstack stand before the command",
            )
        if self.pid is not None and self.pid < 1:
            raise UsageProblem(f"{self.pid} is no process id", "list them with: pgrep -a python")
        if not MIN_RATE_HZ <= self.rate_hz <= MAX_RATE_HZ:
            raise UsageProblem(
                f"the rate must be {MIN_RATE_HZ} to {MAX_RATE_HZ} samples per second, "
                f"not {self.rate_hz}",
                f"leave -r out for {DEFAULT_RATE_HZ} Hz",
            )
        if not 1 <= self.table_memory_mb <= MAX_TABLE_MEMORY_MB:
            raise UsageProblem(
                f"the tables' memory must be 1 to {MAX_TABLE_MEMORY_MB} MB, "
                f"not {self.table_memory_mb}",
                f"leave --table-memory out for {DEFAULT_TABLE_MEMORY_MB} MB",
            )
        if self.duration_s is not None and not (
            math.isfinite(self.duration_s) and self.duration_s > 0
        ):
            raise UsageProblem(
                f"the duration must be more than 0 seconds, not {self.duration_s:g}",
                "leave -d out to record until Ctrl-C or the target's end",
            )
        if self.buffer_mb is not None and not 1 <= self.buffer_mb <= MAX_BUFFER_MB:
            raise UsageProblem(
                f"the buffer must be 1 to {MAX_BUFFER_MB} MiB, not {self.buffer_mb}",
                "leave --buffer out: its size follows the rate and the CPUs",
            )
        if not self.output:
            raise UsageProblem(
                "the name of the output file is empty", f"leave -o out for {DEFAULT_OUTPUT}"
            )


class Progress(NamedTuple):
    """Where a recording stands; `samples` and `lost` count from its start.

    `note`: a sentence for the user, shown once however often it is repeated. `lines`: how many of
    how many native addresses were looked up, once sampling is over; None before.
    """

    elapsed_s: float
    samples: int
    lost: int
    note: str | None = None
    lines: tuple[int, int] | None = None
    throttled: int = 0


class RecordResult(NamedTuple):
    """How a recording ended; `file_size` in bytes.

    exit_status: the started command's, as `subprocess` has it (-N: ended by signal N); None for an
    attached process. rate_achieved_hz: samples per second of CPU time; None where it is not known.
    event: one of EVENTS.
    """

    footer: Footer
    notes: tuple[str, ...]
    file_size: int
    exit_status: int | None
    rate_achieved_hz: float | None
    event: str
