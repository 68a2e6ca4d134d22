"""The line right of the recorder, nothing replaced: a capture file in, what a user sees out."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from mixstack.bpf.wire import NativeEntry, Record, SampleHead
from mixstack.capture.layout import VERSION, pack_file_head
from mixstack.capture.writer import CaptureWriter
from mixstack.elf import open_elf
from mixstack.model import (
    ChainEnd,
    Footer,
    Losses,
    Mapping,
    MappingSnapshot,
    Module,
    NativeEnd,
    Process,
    Step,
    Symbol,
)

from .conftest import Runner
from .fakes import RECORDING

MS = 1_000_000
START_NS = RECORDING.start_ns
PID, TID = 100, 101
BIAS = 0x5000_0000_0000
ROOT, LEAF = 0x1000, 0x2000  # as the file counts them
PERIOD_NS = round(1e9 / RECORDING.rate_hz)


def sample_record(time_ns: int, leaf: int, name: bytes = b"native pool") -> bytes:
    """A native thread two calls deep, as the probe sends it: innermost first."""
    head = SampleHead(
        record=Record.SAMPLE,
        time_ns=time_ns,
        pid=PID,
        tid=TID,
        n_native=2,
        native_end=NativeEnd.ROOT,
        chain_end=ChainEnd.NO_THREAD_STATE,
        sp=0x7FFF_0000,
        comm=name,
    )
    frames = (
        NativeEntry(pc=BIAS + leaf | Step.LEAF << 56, cfa=0x7FFF_0100),
        NativeEntry(pc=BIAS + ROOT + 5 | Step.CALLER << 56, cfa=0x7FFF_0200),
    )
    return b"".join(map(bytes, (head, *frames)))


@pytest.fixture
def out_data(folder: Path) -> Path:
    """100 samples of a native thread, 10 ms apart: 60 in a named function, 40 beyond all names."""
    writer = CaptureWriter("out.data", RECORDING)
    writer.add_modules([Module(0, "/opt/pool.so", "00ffee")])
    writer.add_processes([Process(PID, ("pool",), None, "no CPython in it")])
    writer.add_mappings(
        MappingSnapshot(
            PID, START_NS, (Mapping(BIAS, BIAS + 0x10000, BIAS, module_id=0, label=None),)
        )
    )
    writer.add_symbols([Symbol(0, ROOT, ROOT + 64, "start"), Symbol(0, LEAF, LEAF + 64, "spin")])
    writer.flush()
    for number in range(100):
        leaf = LEAF + 3 if number < 60 else 0x3333
        writer.add_samples(sample_record(START_NS + (number + 1) * PERIOD_NS, leaf))
        if number == 79:
            writer.flush()
    writer.close(Footer(START_NS + 101 * PERIOD_NS, 100, Losses(ring_full=2), "interrupted"))
    return folder / "out.data"


def test_merge_to_collapsed(out_data: Path, run: Runner) -> None:
    result = run("merge", "-f", "collapsed", "-o", "-")
    assert result.code == 0
    assert sorted(result.out.splitlines()) == [
        "native pool;start;pool.so+0x3333 40",
        "native pool;start;spin 60",
    ]
    assert result.err == ("fit: native-only 100 %; lost 2, truncated 0, unresolved frames 40\n")


def test_merge_to_speedscope(out_data: Path, run: Runner) -> None:
    assert run("merge").code == 0
    file = json.loads((out_data.parent / "out.speedscope.json").read_text())
    assert [entry["name"] for entry in file["profiles"]] == ["all threads", "native pool (101)"]
    assert {"name": "spin", "file": "/opt/pool.so"} in file["shared"]["frames"]
    busy = sum(file["profiles"][0]["weights"])
    assert abs(busy - 100 * PERIOD_NS) <= PERIOD_NS


def test_the_same_capture_gives_the_same_bytes(out_data: Path, run: Runner) -> None:
    for command in (["merge", "-o", "-"], ["info"], ["info", "--json"]):
        assert run(*command).out == run(*command).out


def test_info(out_data: Path, run: Runner) -> None:
    value = json.loads(run("info", "--json", "out.data").out)
    assert value["complete"] is True
    assert value["samples"] == 100
    assert value["threads"] == [
        {"pid": PID, "tid": TID, "name": "native pool", "python_name": None, "samples": 100}
    ]
    assert value["modules"] == [{"path": "/opt/pool.so", "build_id": "00ffee"}]
    assert value["fit"]["native-only"] == 100
    assert value["lost"]["samples"] == 2
    assert "no CPython (no CPython in it)  pool\n" in run("info").out


def test_a_capture_cut_in_the_middle_gives_what_is_there(out_data: Path, run: Runner) -> None:
    whole = out_data.read_bytes()
    out_data.write_bytes(whole[: len(whole) * 9 // 10])
    result = run("merge", "-f", "collapsed", "-o", "-")
    assert result.code == 0
    assert "native pool;start;spin 60" in result.out
    assert result.err.startswith("mixstack: out.data is cut off")
    assert json.loads(run("info", "--json").out)["complete"] is False


def test_symbols_of_a_killed_recorder_come_from_this_machine(folder: Path, run: Runner) -> None:
    with open("/proc/self/maps") as maps:
        libc = next(line.split()[-1] for line in maps if "/libc.so.6" in line)
    listed = subprocess.run(["nm", "-D", libc], capture_output=True, text=True, check=True).stdout
    address = next(int(line.split()[0], 16) for line in listed.splitlines() if " T qsort@" in line)
    with open_elf(libc) as elf:
        module = Module(0, libc, elf.build_id)
    writer = CaptureWriter("out.data", RECORDING)
    writer.add_modules([module])
    writer.add_mappings(
        MappingSnapshot(PID, START_NS, (Mapping(BIAS, BIAS + 2**24, BIAS, 0, None),))
    )
    writer.add_samples(sample_record(START_NS + PERIOD_NS, address + 1))
    writer.flush()
    writer.abandon()  # as after kill -9: no symbols, no footer

    result = run("merge", "-f", "collapsed", "-o", "-")
    # With its line, where the debug file of libc is installed.
    assert re.search(r";qsort( \(\w+\.c:\d+\))? 1$", result.out)
    assert "is cut off" in result.err


@pytest.mark.parametrize(
    ("content", "code"),
    [
        pytest.param(None, 30, id="no such file"),
        pytest.param(b"", 31, id="empty"),
        pytest.param(b'{"$schema": "no capture"}' * 9, 32, id="something else"),
        pytest.param(pack_file_head(VERSION + 1), 33, id="from the future"),
    ],
)
@pytest.mark.parametrize("command", ["merge", "info"])
def test_what_is_no_capture(
    command: str, content: bytes | None, code: int, run: Runner, folder: Path
) -> None:
    if content is not None:
        (folder / "x.data").write_bytes(content)
    result = run(command, "x.data")
    assert (result.code, result.out) == (code, "")
    assert result.err.startswith("mixstack: ")
    assert "\nhint: " in result.err
    assert not (folder / "x.speedscope.json").exists()


@pytest.mark.parametrize("command", ["merge", "info"])
def test_a_folder_is_no_capture(command: str, run: Runner, folder: Path) -> None:
    assert run(command, ".").code == 30
