"""Tables are written through windows; here into a file, which is mapped as a map is."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixstack.bpf import memory
from mixstack.bpf.memory import KernelMemory

SIZE = 5 * mmap.PAGESIZE - 100


def made(size: int = SIZE) -> tuple[int, KernelMemory]:
    fd = os.memfd_create("map")
    os.ftruncate(fd, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE)
    return fd, KernelMemory(fd, size)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ends=st.tuples(st.integers(0, SIZE), st.integers(0, SIZE)), window=st.integers(1, 3))
def test_a_slice_is_written_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, ends: tuple[int, int], window: int
) -> None:
    monkeypatch.setattr(memory, "_WINDOW", window * mmap.PAGESIZE)
    start, stop = sorted(ends)
    fd, tables = made()
    data = os.urandom(stop - start)
    tables[start:stop] = data
    assert os.pread(fd, 1 << 20, 0) == data.rjust(stop, b"\0").ljust(5 * mmap.PAGESIZE, b"\0")
    os.close(fd)


def test_from_the_end() -> None:
    fd, tables = made()
    assert len(tables) == SIZE
    tables[-4:] = b"1234"
    assert os.pread(fd, 4, SIZE - 4) == b"1234"
    os.close(fd)


def test_data_that_do_not_fit_are_refused() -> None:
    fd, tables = made()
    for where in (slice(0, 3), slice(SIZE - 2, SIZE + 2)):
        with pytest.raises(ValueError, match="in place of"):
            tables[where] = b"1234"
    assert os.pread(fd, 8, 0) == bytes(8)
    os.close(fd)


def test_nothing_stays_mapped() -> None:
    fd, tables = made()
    tables[:10] = b"0123456789"
    assert "memfd:map" not in Path("/proc/self/maps").read_text()
    os.close(fd)
