"""The probe in the real kernel, without an interpreter: it loads, samples, counts, and leaves."""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from mixstack.bpf import perf, wire
from mixstack.bpf.bcc import BccObject
from mixstack.bpf.kernel_types import kernel_config
from mixstack.bpf.libbpf import BpfObject, Libbpf
from mixstack.bpf.perf import cpus_in, online_cpus, possible_cpus
from mixstack.bpf.probe import BY_LOOP, Probe, Sizes
from mixstack.bpf.wire import Counter, Record, SampleHead
from mixstack.errors import NoHardwareClock, ProbeRejected
from mixstack.privileges.capabilities import effective_capabilities, missing_capabilities

SIZES = Sizes(mappings=64, pages=1 << 12, rows=1 << 12, ring_bytes=1 << 20)
RATE_HZ = 499
LOADER = os.environ.get("MIXSTACK_LOADER", "auto")


@pytest.mark.parametrize(
    ("listing", "cpus"),
    [
        ("0", [0]),
        ("0\n", [0]),
        ("0-3", [0, 1, 2, 3]),
        ("0-1,4-5\n", [0, 1, 4, 5]),
        ("3,7,9-10", [3, 7, 9, 10]),
        ("\n", []),
    ],
)
def test_a_cpu_list(listing: str, cpus: list[int]) -> None:
    assert cpus_in(listing) == cpus


def test_the_cpus_of_this_machine() -> None:
    assert len(online_cpus()) == os.sysconf("SC_NPROCESSORS_ONLN")
    assert possible_cpus() >= os.sysconf("SC_NPROCESSORS_CONF")


@pytest.mark.parametrize(
    ("rate_hz", "period_ns"), [(1, 1_000_000_000), (99, 10_101_010), (999, 1_001_001)]
)
def test_the_period(rate_hz: int, period_ns: int) -> None:
    assert perf.period_ns(rate_hz) == period_ns


def _permitted() -> None:
    missing = missing_capabilities(effective_capabilities())
    if missing and not os.environ.get("MIXSTACK_REQUIRE_ALL"):
        pytest.skip(f"loading BPF programs needs {' and '.join(c.name for c in missing)}")


@pytest.fixture
def probe() -> Iterator[Probe]:
    _permitted()
    loaded = Probe(SIZES, LOADER)
    yield loaded
    loaded.close()


@pytest.fixture
def busy() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) as child:
        yield child
        child.kill()


@pytest.mark.live
def test_the_tables_are_as_large_as_asked_and_writable(probe: Probe) -> None:
    assert len(probe.mappings) == SIZES.mappings * ctypes.sizeof(wire.MappingEntry)
    assert len(probe.pages) == SIZES.pages * ctypes.sizeof(wire.PageEntry)
    assert len(probe.rows) == SIZES.rows * 8
    probe.rows[-8:] = b"12345678"
    fd = probe._object.map_fd("ms_rows")
    with mmap.mmap(fd, SIZES.rows * 8, mmap.MAP_SHARED, mmap.PROT_READ) as rows:
        assert rows[-8:] == b"12345678"


@pytest.mark.live
def test_a_busy_process_is_sampled_at_the_rate(probe: Probe, busy: subprocess.Popen[bytes]) -> None:
    probe.set_process(busy.pid, wire.ProcessEntry())
    probe.start(RATE_HZ)
    before = _cpu_s(busy.pid)
    samples = b""
    while _cpu_s(busy.pid) - before < 0.4:
        time.sleep(0.05)
        samples += probe.drain().samples
    used = _cpu_s(busy.pid) - before
    probe.stop()
    samples += probe.drain().samples
    heads = list(_heads(samples))
    assert len(heads) == probe.total(Counter.SAMPLES)
    assert probe.total(Counter.LOST) == 0
    # A clock tick is 10 ms: the CPU time is known to about 5 %.
    assert len(heads) == pytest.approx(used * RATE_HZ, rel=0.2)
    for head in heads:
        assert (head.pid, head.tid) == (busy.pid, busy.pid)
        assert head.chain_end == 1  # NOT_PYTHON: no layout was given
        assert head.n_native <= 1  # no mapping was given
    times = [head.time_ns for head in heads]
    assert times == sorted(times)
    assert abs(times[-1] - time.monotonic_ns()) < 10**9


@pytest.mark.live
def test_only_processes_that_are_set_are_sampled(
    probe: Probe, busy: subprocess.Popen[bytes]
) -> None:
    probe.start(RATE_HZ)
    probe.set_process(busy.pid, wire.ProcessEntry())
    _until(lambda: probe.total(Counter.SAMPLES) > 0)
    probe.remove_process(busy.pid)
    probe.remove_process(busy.pid)  # a second time is no error
    time.sleep(0.02)
    count = probe.total(Counter.SAMPLES)
    time.sleep(0.1)
    assert probe.total(Counter.SAMPLES) == count


@pytest.mark.live
def test_a_full_ring_is_counted(busy: subprocess.Popen[bytes]) -> None:
    _permitted()
    probe = Probe(Sizes(64, 64, 64, ring_bytes=4096), LOADER)
    try:
        probe.set_process(busy.pid, wire.ProcessEntry())
        probe.start(4999)
        _until(lambda: probe.total(Counter.LOST) > 10)
        probe.stop()
        kept = len(list(_heads(probe.drain().samples)))
        assert kept > 0
        assert kept + probe.total(Counter.LOST) == probe.total(Counter.SAMPLES)
    finally:
        probe.close()


MAX_RATE = Path("/proc/sys/kernel/perf_event_max_sample_rate")


@pytest.mark.live
def test_pauses_of_the_kernel_are_counted(probe: Probe, busy: subprocess.Popen[bytes]) -> None:
    before = MAX_RATE.read_text()
    probe.set_process(busy.pid, wire.ProcessEntry())
    try:
        MAX_RATE.write_text("500")  # two in a tick of 4 ms; asked for are twenty
        probe.start(4999)
        _until(lambda: probe.throttled > 10)
    finally:
        MAX_RATE.write_text(before)
    probe.stop()
    counted = probe.throttled
    assert counted > 10
    probe.start(RATE_HZ)
    time.sleep(0.2)
    assert probe.throttled == counted


@pytest.mark.live
def test_stopped_and_started_again(probe: Probe, busy: subprocess.Popen[bytes]) -> None:
    probe.set_process(busy.pid, wire.ProcessEntry())
    for _ in range(2):
        before = probe.total(Counter.SAMPLES)
        probe.start(RATE_HZ)
        _until(lambda before=before: probe.total(Counter.SAMPLES) > before)  # type: ignore[misc]
        probe.stop()
    stopped = probe.total(Counter.SAMPLES)
    time.sleep(0.05)
    assert probe.total(Counter.SAMPLES) == stopped


def _entry(chain_kind: wire.ChainKind, *, tss_slot: int = 8, several: int = 0) -> wire.ProcessEntry:
    layout = wire.Layout(chain_kind=chain_kind)
    return wire.ProcessEntry(tss_slot=tss_slot, several=several, layout=layout)


LISTS = {"find_thread"}
CALLER = {"find_caller"}
FRAME_OBJECTS = {"walk_frames", "find_markers", "learn_markers"}


@pytest.mark.live
@pytest.mark.parametrize(
    ("entry", "needed"),
    [
        pytest.param(wire.ProcessEntry(), set(), id="no Python"),
        pytest.param(_entry(wire.ChainKind.SHIM), set(), id="3.13"),
        pytest.param(_entry(wire.ChainKind.SHIM, tss_slot=0), LISTS, id="no slot known"),
        pytest.param(_entry(wire.ChainKind.SHIM, several=1), LISTS, id="sub-interpreters"),
        pytest.param(_entry(wire.ChainKind.CFRAME), set(), id="3.11"),
        pytest.param(_entry(wire.ChainKind.CFRAME_SHIM), CALLER, id="3.12"),
        pytest.param(_entry(wire.ChainKind.FRAME), FRAME_OBJECTS, id="3.8"),
        pytest.param(
            _entry(wire.ChainKind.FRAME_CFRAME, several=1), FRAME_OBJECTS | LISTS, id="all"
        ),
    ],
)
def test_programs_are_loaded_when_a_process_needs_them_and_once(
    entry: wire.ProcessEntry, needed: set[str], probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    kind = BccObject if LOADER == "bcc" else BpfObject
    load_more: Any = kind.load_more

    def spy(part: Any, names: Collection[str]) -> None:
        loaded.extend(name.removesuffix(BY_LOOP) for name in names)
        load_more(part, names)

    monkeypatch.setattr(kind, "load_more", spy)
    for _ in range(2):
        probe.set_process(os.getpid(), entry)
    assert sorted(loaded) == sorted(needed)


@pytest.mark.live
def test_close_leaves_no_descriptor() -> None:
    _permitted()
    before = set(os.listdir("/proc/self/fd"))
    probe = Probe(SIZES, LOADER)
    probe.start(RATE_HZ)
    assert set(os.listdir("/proc/self/fd")) - before
    probe.close()
    assert set(os.listdir("/proc/self/fd")) - before == set()


@pytest.mark.live
def test_the_kernels_offsets_are_plausible() -> None:
    _permitted()
    config = kernel_config(Libbpf())
    assert 0 < config.task_stack < 16384
    assert 0 < config.task_fsbase < 32768
    assert config.task_stack % 8 == config.task_fsbase % 8 == 0


@pytest.mark.live
def test_the_events_of_this_machine(probe: Probe) -> None:
    """Cycles where there is a PMU; else they are refused, and the other clock is chosen."""
    if perf.best_event() is perf.Event.CYCLES:
        probe.start(RATE_HZ, perf.Event.CYCLES)
    else:
        with pytest.raises(NoHardwareClock, match="no PMU"):
            probe.start(RATE_HZ, perf.Event.CYCLES)
    probe.stop()


def test_bytes_that_are_no_object_are_rejected() -> None:
    with pytest.raises(ProbeRejected):
        BpfObject(Libbpf(), b"no object file")


def _heads(samples: bytes) -> Iterator[SampleHead]:
    at = 0
    while at < len(samples):
        head = SampleHead.from_buffer_copy(samples, at)
        assert head.record == Record.SAMPLE
        yield head
        at += ctypes.sizeof(head) + 8 * head.n_kernel + 16 * (head.n_chain + head.n_native)


def _cpu_s(pid: int) -> float:
    with open(f"/proc/{pid}/schedstat") as file:
        return int(file.read().split()[0]) / 1e9


def _until(condition: object) -> None:
    end = time.monotonic() + 5
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)
