"""Numbers and how they are shown: a median with its spread, a table, what misses its goal."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import NamedTuple


class Spread(NamedTuple):
    """A median, and the smallest and largest value that was seen."""

    median: float
    low: float
    high: float

    def show(self, unit: str = "", digits: int = 2) -> str:
        median, low, high = (f"{value:.{digits}f}" for value in self)
        return f"{median}{unit} ({low}–{high})"


def spread(values: Iterable[float]) -> Spread:
    """Of at least one value."""
    ordered = sorted(values)
    return Spread(statistics.median(ordered), ordered[0], ordered[-1])


def calibration_ms() -> float:
    """CPU time of a fixed loop now: how fast this machine is at the moment."""

    def loop() -> float:
        start = time.process_time()
        sum(number * number for number in range(300_000))
        return (time.process_time() - start) * 1000

    return statistics.median(loop() for _ in range(7))


@dataclass
class Section:
    """A table of results. missed: a sentence for each goal that was not reached.

    loop_ms: `calibration_ms` when it was begun; a busy machine's numbers are higher than they are.
    """

    title: str
    header: tuple[str, ...]
    note: str = ""
    rows: list[tuple[str, ...]] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    loop_ms: float = field(default_factory=calibration_ms)

    def add(self, *cells: str) -> None:
        assert len(cells) == len(self.header)
        self.rows.append(cells)

    def goal(self, what: str, value: float, limit: float, unit: str, digits: int = 2) -> str:
        """The goal as a cell; if it is missed, that is noted."""
        reached = value <= limit
        if not reached:
            self.missed.append(f"{what}: {value:.{digits}f}{unit}, the goal is ≤ {limit:g}{unit}")
        return f"≤ {limit:g}{unit}" + ("" if reached else " **missed**")

    def markdown(self) -> str:
        lines = [f"## {self.title}", ""]
        if self.note:
            lines += [self.note, ""]
        lines += [f"Speed of the machine, before: a fixed loop took {self.loop_ms:.0f} ms.", ""]
        lines += [_line(self.header), _line(["---"] * len(self.header))]
        lines += [_line(row) for row in self.rows]
        return "\n".join(lines) + "\n"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def as_json(head: str, sections: list[Section]) -> str:
    """The same as one JSON object, for comparisons over time."""
    value = {"head": head.strip().splitlines(), "sections": [asdict(each) for each in sections]}
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def document(head: str, sections: list[Section]) -> str:
    """The whole page."""
    missed = [sentence for section in sections for sentence in section.missed]
    verdict = "\n".join(f"- {sentence}" for sentence in missed) or "All goals are reached."
    parts = [head, "## Goals that are missed\n\n" + verdict + "\n"]
    return "\n".join([*parts, *(section.markdown() for section in sections)])
