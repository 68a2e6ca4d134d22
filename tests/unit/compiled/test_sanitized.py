"""The library under the address and undefined-behaviour sanitizers, over input that is no good."""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mixstack.model import Sample
from tests.columns import raw
from tests.encode import encode_sample
from tests.unit.merge.truth import true_stack
from tests.unit.symbolize.images import FUNC, GLOBAL, LOCAL, NOTYPE, WEAK
from tests.unit.unwind.images import CODE_AT, cie, fde

LIBRARY = Path(__file__).parents[3] / "mixstack" / "compiled"
FRAMES, SYMBOLS, ASTRAY, SAMPLES, STACK = range(5)
CASES = 3000  # of each
SECTION_AT = 0x8000
CODE_SIZE = 0x1000
# What compilers write, and what they hardly ever do: expressions, states, registers, long numbers.
INSTRUCTIONS = (
    b"\x44\x0e\x10\x86\x02\x43\x0d\x06\x5a\x0c\x07\x08",
    b"\x0a\x41\x0e\x18\x0b",
    b"\x0c\x03\x18",  # the CFA counts from rbx
    b"\x41\x0e\x10\x83\x02",  # rbx is saved
    b"\x0f\x03\x76\x78\x06\x10\x06\x02\x76\x00",
    b"\x0f\x0b\x77\x08\x80\x00\x3f\x1a\x3b\x2a\x33\x24\x22",
    b"\x02\x10\x03\x00\x01\x04\x10\x00\x00\x00\x12\x06\x7e\x13\x7d\x2e\x10\x16\x06\x02\x76\x08",
    b"\x05\x06\x03\x11\x06\x7d\x2f\x06\x03\x06\x06\x08\x06\x07\x10",
)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    program = tmp_path_factory.mktemp("driver") / "driver"
    checks = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-strict-aliasing")
    sources = [Path(__file__).with_name("driver.c"), *sorted(LIBRARY.glob("*.c"))]
    subprocess.run(["gcc", "-O1", "-g", *checks, "-fwrapv", "-o", program, *sources], check=True)
    return program


def run(driver: Path, cases: Iterator[tuple[int, bytes, bytes, bytes]], folder: Path) -> int:
    """How many of the cases had anything in them that was understood."""
    path = folder / "cases"
    with path.open("wb") as file:
        for kind, *pieces in cases:
            file.write(struct.pack("<4I", kind, *map(len, pieces)) + b"".join(pieces))
    done = subprocess.run([driver, path], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return int(done.stdout)


def damaged(chance: random.Random, data: bytes, most: int = 4) -> bytes:
    """With some bytes changed, taken out or doubled."""
    image = bytearray(data)
    for _ in range(chance.randrange(most)):
        at = chance.randrange(len(image))
        image[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    if chance.random() < 0.1:
        del image[chance.randrange(len(image)) :]
    return bytes(image)


def section(chance: random.Random, debug: bool) -> bytes:
    head = cie(chance.choice((b"\x0c\x07\x08\x90\x01", b"\x0c\x07\x08\x90\x01\x0a")))
    if debug:
        head = struct.pack("<II", len(head) - 4, 0xFFFFFFFF) + b"\x04\0\x08\0" + head[16:]
    data = head
    for _ in range(chance.randrange(12)):
        start = CODE_AT + 16 * chance.randrange(CODE_SIZE // 16)
        code = b"".join(chance.choices(INSTRUCTIONS, k=chance.randrange(4)))
        data += fde(len(data), start, chance.choice((1, 16, 64, 5000)), code, SECTION_AT)
    return damaged(chance, data)


def frames(seed: int) -> Iterator[tuple[int, bytes, bytes, bytes]]:
    for number in range(CASES):
        chance = random.Random(seed + number)
        code = bytearray(chance.randbytes(CODE_SIZE))
        for _ in range(200):  # calls of what may be functions
            at = chance.randrange(CODE_SIZE - 5)
            target = 16 * chance.randrange(CODE_SIZE // 16) - at - 5
            code[at : at + 5] = b"\xe8" + struct.pack("<i", target)
        cut = chance.choice((0, 3, CODE_SIZE))
        yield FRAMES, section(chance, False), section(chance, True), bytes(code[:cut])


def symbols(seed: int) -> Iterator[tuple[int, bytes, bytes, bytes]]:
    strings = b"\0f\0__f\0g\0\0" + b"long" * 2000 + b"\0_end"
    for number in range(CASES):
        chance = random.Random(seed + number)
        table = b""
        for _ in range(chance.randrange(30)):
            info = chance.choice((GLOBAL, LOCAL, WEAK, 10)) << 4 | chance.choice((FUNC, NOTYPE, 10))
            start = CODE_AT + 32 * chance.randrange(8)
            size = chance.choice((0, 1, 32, 40, 5000, 1 << 63))
            name = chance.choice((0, 1, 3, 7, 10, len(strings) - 4, len(strings), 1 << 31))
            table += struct.pack("<IBBHQQ", name, info, 0, chance.randrange(4), start, size)
        bounds = struct.pack("<8Q", 0, 0, CODE_AT, CODE_AT + 64, CODE_AT, CODE_AT + 4096, 9, 1)
        yield SYMBOLS, damaged(chance, table or b"\0", 8), strings, bounds


def sampled(seed: int) -> Iterator[tuple[int, bytes, bytes, bytes]]:
    for number in range(CASES):
        chance = random.Random(seed + number)
        samples = [
            Sample(i, 1, chance.randrange(3), 0, chance.choice("ab"), true_stack(chance).raw)
            for i in range(chance.randrange(1, 4))
        ]
        block = b"".join(map(encode_sample, [*samples, *samples]))
        yield SAMPLES, damaged(chance, block), b"", b""


def stacks(seed: int) -> Iterator[tuple[int, bytes, bytes, bytes]]:
    for number in range(CASES):
        chance = random.Random(seed + number)
        yield STACK, damaged(chance, raw(true_stack(chance, resync=False).raw), 3), b"", b""


def test_samples(driver: Path, tmp_path: Path) -> None:
    assert run(driver, sampled(1), tmp_path) > CASES // 2


def test_stacks(driver: Path, tmp_path: Path) -> None:
    assert run(driver, stacks(1), tmp_path) > CASES // 20


def test_call_frame_information(driver: Path, tmp_path: Path) -> None:
    assert run(driver, frames(1), tmp_path) > CASES // 2


def test_symbol_tables(driver: Path, tmp_path: Path) -> None:
    assert run(driver, symbols(1), tmp_path) > CASES // 2


def test_the_sanitizer_would_see_it(driver: Path, tmp_path: Path) -> None:
    """A section that is said to be a byte larger than it is, and its last FDE too."""
    data = cie() + fde(len(cie()), CODE_AT, 16, b"", SECTION_AT)
    longer = data[: len(cie())] + struct.pack("<I", len(data) - len(cie()) - 3) + data[-16:]
    path = tmp_path / "cases"
    path.write_bytes(struct.pack("<4I", ASTRAY, len(longer), 0, 0) + longer)
    done = subprocess.run([driver, path], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr
