"""Functions by the unwind index; the oracles are readelf and the symbols of real libraries."""

from __future__ import annotations

import contextlib
import random
import re
import shutil
import subprocess
from bisect import bisect_right
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixstack.elf import BadElf, Elf, open_elf
from mixstack.symbolize.functions import FunctionRanges
from tests.interpreters import all_builds

_FDE = re.compile(r"FDE cie=\S+ pc=([0-9a-f]+)\.\.([0-9a-f]+)")
_FUNCTION = re.compile(r"^\s*\d+: ([0-9a-f]+)\s+(\d+) FUNC\s+\S+\s+\S+\s+\d+ ")


def _library(name: str) -> str | None:
    for folder in ("/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"):
        found = sorted(Path(folder).glob(name))
        if found:
            return str(found[-1].resolve())
    return None


def _libraries() -> dict[str, str]:
    found = {"libz": _library("libz.so.1*"), "libcrypto": _library("libcrypto.so.3*")}
    for build in all_builds():
        if build.minor >= (3, 11):
            shared = sorted(
                (Path(build.executable).parent.parent / "lib").glob("libpython3.*.so.1*")
            )
            found["libpython"] = build.host_executable if build.static else str(shared[-1])
    return {name: path for name, path in found.items() if path is not None}


LIBRARIES = _libraries()
libraries = pytest.mark.parametrize("path", LIBRARIES.values(), ids=LIBRARIES)


@cache
def listing(path: str, *options: str) -> str:
    if shutil.which("readelf") is None:
        pytest.skip("readelf is not installed")
    return subprocess.run(["readelf", "-W", *options, path], capture_output=True, text=True).stdout


@cache
def entries(path: str) -> list[tuple[int, int]]:
    """`[start, end)` of every FDE in `.eh_frame`, sorted."""
    text = listing(path, "--debug-dump=frames").partition("Contents of the .debug_frame")[0]
    return sorted((int(a, 16), int(b, 16)) for a, b in _FDE.findall(text))


@libraries
def test_every_entry_is_found_from_its_first_to_its_last_byte(path: str) -> None:
    with open_elf(path) as elf:
        ranges = FunctionRanges(elf)
        expected = entries(path)
        assert len(expected) > 50
        for start, end in expected:
            for address in {start, (start + end) // 2, end - 1}:
                assert ranges.find(address) == (start, end), f"{address:#x}"


@libraries
def test_functions_with_a_symbol_are_as_long_as_it_says(path: str) -> None:
    listed = (_FUNCTION.match(line) for line in listing(path, "--symbols").splitlines())
    symbols = {int(m[1], 16): int(m[2]) for m in listed if m is not None and int(m[2])}
    known = dict(entries(path))
    with open_elf(path) as elf:
        ranges = FunctionRanges(elf)
        both = [start for start in symbols if start in known]
        assert len(both) > 50
        same = sum(ranges.find(start) == (start, start + symbols[start]) for start in both)
    # Hand-written assembler may set the size of a symbol apart from its CFI.
    assert same >= 0.99 * len(both)


@libraries
def test_any_address(path: str) -> None:
    expected = entries(path)
    starts = [start for start, _ in expected]
    chance = random.Random(7)
    with open_elf(path) as elf:
        ranges = FunctionRanges(elf)
        for _ in range(5000):
            address = chance.randrange(starts[0] - 4096, expected[-1][1] + 4096)
            at = bisect_right(starts, address) - 1
            covered = at >= 0 and address < expected[at][1]
            assert ranges.find(address) == (expected[at] if covered else None), f"{address:#x}"


@cache
def _small() -> tuple[bytes, int, int, int]:
    """The bytes of libz, offset and size of its index in the file, and a known address."""
    path = LIBRARIES.get("libz")
    if path is None:
        pytest.skip("libz is not installed")
    data = Path(path).read_bytes()
    section = Elf(memoryview(data), path).section(".eh_frame_hdr")
    assert section is not None
    offset = data.index(bytes(section.data))
    return data, offset, len(section.data), entries(path)[10][0]


@given(
    changes=st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=4)), max_size=6),
    addresses=st.lists(st.integers(-(1 << 62), 1 << 62), max_size=5),
)
def test_a_corrupt_index_never_raises(
    changes: list[tuple[int, bytes]], addresses: list[int]
) -> None:
    data, offset, _, known = _small()
    image = bytearray(data)
    for at, change in changes:
        image[offset + at : offset + at + len(change)] = change
    with _elf(image) as elf:
        ranges = FunctionRanges(elf)
        for address in (known, *addresses):
            found = ranges.find(address)
            assert found is None or found[0] <= address < found[1]


@given(cut=st.integers(0, 600))
def test_a_cut_file_never_raises(cut: int) -> None:
    data, offset, size, known = _small()
    with contextlib.suppress(BadElf), _elf(bytearray(data[: offset + min(cut, size)])) as elf:
        found = FunctionRanges(elf).find(known)
        assert found is None or found[0] <= known < found[1]


@pytest.mark.parametrize(
    ("at", "value"),
    [
        pytest.param(0, 2, id="another version"),
        pytest.param(2, 0xFF, id="no count"),
        pytest.param(3, 0x1B, id="another encoding of the table"),
    ],
)
def test_an_index_of_another_form_says_nothing(at: int, value: int) -> None:
    data, offset, _, known = _small()
    image = bytearray(data)
    with _elf(image) as elf:
        assert FunctionRanges(elf).find(known) is not None
    image[offset + at] = value
    with _elf(image) as elf:
        assert FunctionRanges(elf).find(known) is None


@contextlib.contextmanager
def _elf(image: bytearray) -> Iterator[Elf]:
    yield Elf(memoryview(bytes(image)), "image")
