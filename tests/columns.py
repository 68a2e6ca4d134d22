"""Samples as the columns that a capture gives."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from mixstack.columns import SampleColumns
from mixstack.model import Sample


def columns(samples: Sequence[Sample]) -> SampleColumns:
    """Samples in order of time; stacks that are one object have one sight."""
    threads: dict[tuple[int, int], int] = {}
    sights: dict[tuple[str, int], int] = {}
    out = SampleColumns(array("Q"), array("I"), array("I"), [], [])
    seen = []
    for s in samples:
        out.times_ns.append(s.time_ns)
        out.threads.append(threads.setdefault((s.pid, s.tid), len(threads)))
        out.sights.append(sights.setdefault((s.thread_name, id(s.stack)), len(sights)))
        if len(sights) > len(seen):
            seen.append((s.thread_name, s.stack))
    return out._replace(thread_ids=list(threads), seen=seen)
