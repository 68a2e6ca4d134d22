"""Samples in order of time, whichever way they came and wherever they were kept."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixstack.capture import runs
from mixstack.capture.runs import SampleRuns


def filled(times_ns: list[int]) -> SampleRuns:
    """One sample after the other; which it is stands in each of the other columns."""
    samples = SampleRuns()
    for number, time_ns in enumerate(times_ns):
        run = samples.open_run()
        run.times_ns.append(time_ns)
        run.threads.append(number)
        run.cpus.append(number + 1)
        run.sights.append(number + 2)
    return samples


def read(samples: SampleRuns) -> list[tuple[int, ...]]:
    return [row for run in samples.in_time_order() for row in zip(*run, strict=True)]


def expected(times_ns: list[int]) -> list[tuple[int, ...]]:
    rows = [(time_ns, i, i + 1, i + 2) for i, time_ns in enumerate(times_ns)]
    return sorted(rows, key=lambda row: row[0])  # stable: as they came


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    times_ns=st.lists(st.integers(0, 12), max_size=30),
    length=st.integers(1, 5),
    in_memory=st.integers(0, 3),
)
def test_all_come_back_in_order(
    monkeypatch: pytest.MonkeyPatch, times_ns: list[int], length: int, in_memory: int
) -> None:
    monkeypatch.setattr(runs, "_RUN", length)
    monkeypatch.setattr(runs, "_IN_MEMORY", in_memory)
    samples = filled(times_ns)
    assert len(samples) == len(times_ns)
    assert read(samples) == expected(times_ns)
    assert read(samples) == expected(times_ns), "a second time"


def test_what_is_read_at_once_does_not_grow_with_the_recording(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runs, "_RUN", 10)
    monkeypatch.setattr(runs, "_IN_MEMORY", 2)
    times_ns = [i + 15 * (i % 7 == 0) for i in range(1000)]  # one in seven comes too early
    samples = filled(times_ns)
    assert read(samples) == expected(times_ns)
    assert max(len(run.times_ns) for run in samples.in_time_order()) < 40


@pytest.mark.parametrize("fails", ["no room", "a part of it", "no folder"])
def test_without_room_on_disk_they_stay_in_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fails: str
) -> None:
    def pwrite(_fd: int, data: bytes, _offset: int) -> int:
        if fails == "no room":
            raise OSError("no space left on device")
        return len(data) - 1

    monkeypatch.setattr(runs, "_RUN", 2)
    monkeypatch.setattr(runs, "_IN_MEMORY", 0)
    if fails == "no folder":
        import tempfile

        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    else:
        monkeypatch.setattr(runs.os, "pwrite", pwrite)
    times_ns = [3, 1, 2, 5, 4]
    assert read(filled(times_ns)) == expected(times_ns)


def test_the_most_are_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_RUN", 2)
    monkeypatch.setattr(runs, "_IN_MEMORY", 1)
    written: list[int] = []
    real = runs.os.pwrite

    def pwrite(fd: int, data: Any, offset: int) -> int:
        written.append(len(data))
        return real(fd, data, offset)

    monkeypatch.setattr(runs.os, "pwrite", pwrite)
    assert read(filled(list(range(9)))) == expected(list(range(9)))
    size = 2 * sum(array(code).itemsize for code in "QIII")
    assert written == [size] * 3  # of five runs one is in memory, and one is open
