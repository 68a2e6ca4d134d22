"""The tables at work: stacks of stopped processes, unwound by our rows and by gdb."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mixstack.elf import BadElf, open_elf
from mixstack.model import NativeEnd, NativeFrame, Step
from mixstack.unwind.cfi import compile_table, compile_vdso
from mixstack.unwind.rows import RowKind, UnwindTable, find_row

from .reference import Find, Registers, unwind

STOPS = 30
_QUIET = ["-nx", "-q", "-batch"]
_QUIET += ["-iex", "set auto-load no", "-iex", "set debuginfod enabled off"]
_SCRIPT = Path(__file__).with_name("gdb_stops.py")

_PYTHON = """
import ctypes, json, re, threading, time, zlib
def key(x): return -x
def sort():
    while True: sorted(range(2000), key=key)
def regex():
    while True: re.sub("a+", lambda m: json.dumps({"k": m.group()}), "baab" * 100)
def squeeze():
    while True: zlib.compress(b"abcdefgh" * 20000)
def sleep():
    while True: time.sleep(0.001); time.monotonic()
def qsort():
    libc = ctypes.CDLL(None)
    pointer = ctypes.POINTER(ctypes.c_int)
    kind = ctypes.CFUNCTYPE(ctypes.c_int, pointer, pointer)
    compare = kind(lambda a, b: a[0] - b[0])
    while True: libc.qsort((ctypes.c_int * 50)(*range(50, 0, -1)), 50, 4, compare)
for run in (sort, regex, squeeze, sleep):
    threading.Thread(target=run, daemon=True).start()
print("ready", flush=True)
qsort()
"""

_C = r"""
#include <alloca.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static volatile int sink;
static void handler(int signal) { (void)signal; puts("ready"); fflush(stdout); for (;;) sink++; }
/* Over-aligned, of variable size, with arguments on the stack: gcc realigns by r10. */
__attribute__((noinline)) static void realigned(int n, int a, int b, int c, int d, int e,
		int f, int g)
{
	_Alignas(64) volatile char aligned[64];
	volatile char *free_size = alloca(n);
	aligned[0] = free_size[0] = (char)(a + b + c + d + e + f + g);
	raise(SIGUSR1);
	sink = aligned[0] + free_size[0];
}
static int compare(const void *a, const void *b)
{
	realigned(100 + sink, 1, 2, 3, 4, 5, 6, 7);
	return *(const int *)a - *(const int *)b;
}
int main(int argc, char **argv)
{
	int numbers[3] = {3, 1, 2};
	stack_t other = {.ss_sp = malloc(65536), .ss_size = 65536};
	struct sigaction action = {.sa_handler = handler};
	(void)argv;
	if (argc > 1) {
		action.sa_flags = SA_ONSTACK;
		sigaltstack(&other, 0);
	}
	sigaction(SIGUSR1, &action, 0);
	qsort(numbers, 3, sizeof *numbers, compare);
	return 0;
}
"""


class Mapped(NamedTuple):
    start: int
    end: int
    bias: int
    table: UnwindTable


class Stop(NamedTuple):
    """A thread at the moment of a stop: what gdb says of it."""

    registers: Registers
    frames: list[tuple[int, int | None]]  # pc, CFA (None at the outer end)
    memory: list[tuple[int, bytes]]

    def read(self, address: int, size: int) -> bytes | None:
        for start, data in self.memory:
            if start <= address and address + size <= start + len(data):
                return data[address - start : address - start + size]
        return None


def mapped_tables(pid: int) -> list[Mapped]:
    tables: dict[str, UnwindTable] = {}
    found = []
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        span, mode, offset, _, _, *path = line.split(maxsplit=5)
        start, end = (int(part, 16) for part in span.split("-"))
        if "x" not in mode or not path:
            continue
        if path[0] == "[vdso]":
            with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
                memory.seek(start)
                found.append(Mapped(start, end, start, compile_vdso(memory.read(end - start))))
        elif path[0].startswith("/"):
            try:
                with open_elf(path[0]) as elf:
                    if path[0] not in tables:
                        tables[path[0]] = compile_table(elf)
                    vaddr = elf.vaddr_of_offset(int(offset, 16))
            except (BadElf, OSError):
                continue
            assert vaddr is not None
            found.append(Mapped(start, end, start - vaddr, tables[path[0]]))
    return found


def stops_of(command: list[str], count: int, out: Path) -> tuple[list[Mapped], list[Stop]]:
    """Start the program, wait until it says "ready", and have gdb stop it `count` times."""
    gdb = shutil.which("gdb")
    if gdb is None:
        pytest.skip("gdb is not installed")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as target:
        try:
            assert target.stdout is not None
            assert target.stdout.readline() == "ready\n"
            tables = mapped_tables(target.pid)
            done = subprocess.run(
                [gdb, *_QUIET, "-p", str(target.pid), "-x", str(_SCRIPT)],
                env={**os.environ, "MIXSTACK_STOPS": str(count), "MIXSTACK_OUT": str(out)},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=60,
            )
        finally:
            target.kill()
    if "Operation not permitted" in done.stderr:
        pytest.skip("this user may not trace processes")
    assert out.exists(), done.stderr
    return tables, [_stop(json.loads(line)) for line in out.read_text().splitlines()]


def _stop(seen: dict[str, Any]) -> Stop:
    r = seen["registers"]
    return Stop(
        Registers(r["rip"], r["rsp"], r["rbp"], dict(enumerate(seen["others"]))),
        [(pc, cfa) for pc, cfa in seen["frames"]],
        [(start, bytes.fromhex(data)) for start, data in seen["memory"]],
    )


def finder(tables: list[Mapped]) -> Find:
    return lambda pc: next(((m.table, m.bias) for m in tables if m.start <= pc < m.end), None)


def kind_at(tables: list[Mapped], frame: NativeFrame) -> RowKind | None:
    assert frame.lookup_pc is not None
    found = finder(tables)(frame.lookup_pc)
    row = found and find_row(found[0], frame.lookup_pc - found[1])
    return row.kind if row else None


def differences(tables: list[Mapped], stops: list[Stop]) -> Iterator[str]:
    """Where our rows and gdb disagree, or the walk does not reach the thread's root."""

    for number, stop in enumerate(stops):
        frames, end = unwind(stop.registers, finder(tables), stop.read)
        ours = [(frame.pc, frame.cfa) for frame in frames]
        theirs = [(pc, ours[i][1] if cfa is None and i < len(ours) else cfa)
                  for i, (pc, cfa) in enumerate(stop.frames)]  # fmt: skip
        if end is not NativeEnd.ROOT or ours != theirs:
            show = [" ".join(hex(n or 0) for n in pair) for pair in (*ours, (0, 0), *theirs)]
            yield f"{number}: {end.name}\n" + "\n".join(show)


def _target_python() -> str:
    versions = sorted((Path.home() / ".pyenv" / "versions").glob("3.12.*/bin/python3"))
    return str(versions[0]) if versions else sys.executable


def test_threads_of_python_at_random_moments(tmp_path: Path) -> None:
    tables, stops = stops_of([_target_python(), "-c", _PYTHON], STOPS, tmp_path / "stops")
    assert len(stops) >= 5 * STOPS
    assert len({stop.registers.pc for stop in stops}) > 20  # they did run in between
    assert list(differences(tables, stops)) == []


@pytest.mark.parametrize("options", [[], ["alternate"]], ids=["one stack", "a signal stack"])
def test_through_a_signal_and_a_realigned_frame(tmp_path: Path, options: list[str]) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    (tmp_path / "case.c").write_text(_C)
    program = str(tmp_path / "case")
    subprocess.run(
        ["gcc", "-O2", "-o", program, str(tmp_path / "case.c")], check=True, capture_output=True
    )
    tables, stops = stops_of([program, *options], 3, tmp_path / "stops")
    assert list(differences(tables, stops)) == []
    frames, _ = unwind(stops[0].registers, finder(tables), stops[0].read)
    assert Step.SIGNAL in {frame.step for frame in frames}
    kinds = {kind_at(tables, frame) for frame in frames}
    assert {RowKind.SIGNAL, RowKind.RBP_DEREF, RowKind.ROOT} <= kinds
