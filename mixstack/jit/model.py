"""What a JIT compiler says of its code, as it passes from the recorder to the names."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple


class JitSource(enum.Enum):
    """Where a JIT compiler says what it made; in the order in which they are believed."""

    DEBUGGER = "debugger"  # GDB's JIT interface: registered while it is there
    DUMP = "jitdump"  # a jitdump file: with times
    MAP = "perf map"  # a perf map file: only the order is known


class JitLine(NamedTuple):
    """From `address` on, machine code comes from `line` of `file`."""

    address: int
    line: int
    file: str


@dataclass(frozen=True, slots=True)
class JitSymbol:
    """What a JIT compiler says of its code at `[start, end)` of a process.

    name: None where from then on nothing is known of that range. order: of the same source, what
    was said later is higher. It was said after `after_ns` and not after `by_ns` (CLOCK_MONOTONIC).
    lines: sorted by address.
    """

    pid: int
    source: JitSource
    order: int
    start: int
    end: int
    name: str | None
    after_ns: int
    by_ns: int
    lines: tuple[JitLine, ...] = ()
