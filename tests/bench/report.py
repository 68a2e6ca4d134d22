"""Numbers and how they are shown: a median with its spread, a table, what misses its goal.

A section is kept with where it comes from, so that one which was not run again keeps its older
numbers, and says so.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final, NamedTuple

QUIET: Final = 0.5  # load average: above it, others were at work on the machine


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


def geometric_mean(values: Sequence[float]) -> float:
    """Of at least one ratio."""
    return math.exp(statistics.mean(map(math.log, values)))


def calibration_ms() -> float:
    """CPU time of a fixed loop now: how fast this machine is at the moment."""

    def loop() -> float:
        start = time.process_time()
        sum(number * number for number in range(300_000))
        return (time.process_time() - start) * 1000

    return statistics.median(loop() for _ in range(7))


@dataclass(frozen=True)
class Origin:
    """What a section was measured with and on.

    date: "2026-01-02 03:04", in UTC, when its run began. versions: of peers and libraries, by name.
    """

    date: str
    commit: str
    machine: str
    versions: Mapping[str, str]
    quick: bool = False

    def show(self) -> str:
        return f"{self.date} UTC, commit {self.commit}" + (", quick" if self.quick else "")


@dataclass
class Section:
    """A table of results. missed: a sentence for each goal that was not reached.

    values: the single measurements behind the cells, for the JSON. load: the machine's load average
    when it was begun; loop_ms: `calibration_ms` then. A busy machine's times are too high.
    """

    title: str
    header: tuple[str, ...]
    note: str = ""
    rows: list[tuple[str, ...]] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=dict)
    load: float = field(default_factory=lambda: os.getloadavg()[0])
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

    def markdown(self, origin: str = "") -> str:
        """origin: where it comes from, if that is not what the page's head says."""
        lines = [f"## {self.title}", ""]
        lines += [self.note, ""] if self.note else []
        lines += [f"From {origin}.", ""] if origin else []
        lines += [self._machine(), ""]
        lines += [_line(self.header), _line(["---"] * len(self.header))]
        lines += [_line(row) for row in self.rows]
        return "\n".join(lines) + "\n"

    def _machine(self) -> str:
        told = f"Before: load average {self.load:.1f}; a fixed loop took {self.loop_ms:.0f} ms."
        if self.load > QUIET:
            told += " **The machine was not quiet**: times are too high, ratios are less certain."
        return told


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


@dataclass
class Results:
    """The sections that were measured, by name, each with where it comes from."""

    sections: dict[str, tuple[Origin, Section]] = field(default_factory=dict)

    def as_json(self) -> str:
        value = {
            name: {"origin": asdict(origin), "section": asdict(section)}
            for name, (origin, section) in self.sections.items()
        }
        return json.dumps(value, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Results:
        found = cls()
        for name, kept in json.loads(text).items():
            section = Section(**kept["section"])
            section.header = tuple(section.header)
            section.rows = [tuple(row) for row in section.rows]
            found.sections[name] = Origin(**kept["origin"]), section
        return found

    def document(self, order: Sequence[str]) -> str:
        """The whole page: the head is of the newest section, the others say where they are from."""
        shown = [self.sections[name] for name in order if name in self.sections]
        newest = max((origin for origin, _ in shown), key=lambda origin: origin.date)
        missed = [sentence for _, section in shown for sentence in section.missed]
        absent = [name for name in order if name not in self.sections]
        parts = [_head(newest), "## Goals that are missed\n"]
        parts.append("\n".join(f"- {each}" for each in missed) or "All goals are reached.")
        parts.append("")
        if absent:
            parts += [f"Not measured yet: {', '.join(absent)}.", ""]
        for origin, section in shown:
            parts.append(section.markdown(_older(origin, newest)))
        return "\n".join(parts)


def _head(origin: Origin) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in origin.versions.items())
    return "\n".join(
        (
            "# Benchmarks",
            "",
            "Written by `make bench` from the newest file in `bench/results`; do not edit. A value "
            "is a median, with the smallest and the largest in brackets. Peers are measured in the "
            "same run.",
            "",
            f"- machine: {origin.machine}",
            f"- versions: {versions}",
            f"- {origin.show()}",
            "",
        )
    )


def _older(origin: Origin, newest: Origin) -> str:
    if origin == newest:
        return ""
    told = origin.show()
    if origin.machine != newest.machine:
        told += f", on {origin.machine}"
    changed = (f"{n} {v}" for n, v in origin.versions.items() if newest.versions.get(n) != v)
    return "; ".join((told, *changed))
