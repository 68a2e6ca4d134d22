"""`_Py_DebugOffsets`: laws. That the numbers are right is shown against headers in test_layouts."""

from __future__ import annotations

import dataclasses
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixstack.target.debug_offsets import (
    MAX_SIZE,
    DebugOffsets,
    layout_from_debug_offsets,
    parse_debug_offsets,
)
from mixstack.target.layouts import SUPPLEMENTS

FIELDS = 70  # of 3.13, behind the cookie, the version and the flag
VERSION = 0x030D05F0


def table(
    cookie: bytes = b"xdebugpy",
    version: int = VERSION,
    free_threaded: int = 0,
    values: tuple[int, ...] = tuple(range(FIELDS)),
) -> bytes:
    return cookie + struct.pack(f"<{2 + len(values)}Q", version, free_threaded, *values)


def test_a_table_is_73_numbers_in_the_order_of_the_header() -> None:
    parsed = parse_debug_offsets(table())
    assert parsed is not None
    assert parsed.version_hex == VERSION
    assert not parsed.free_threaded
    assert list(parsed.offsets.values()) == list(range(FIELDS))
    assert list(parsed.offsets)[:3] == [
        "runtime_state.size",
        "runtime_state.finalizing",
        "runtime_state.interpreters_head",
    ]
    assert list(parsed.offsets)[-1] == "gc.collecting"
    assert len(table()) == MAX_SIZE == 73 * 8


def test_what_follows_the_table_does_not_matter() -> None:
    assert parse_debug_offsets(table() + b"\xff" * 100) == parse_debug_offsets(table())


def test_a_free_threaded_build_says_so() -> None:
    parsed = parse_debug_offsets(table(free_threaded=1))
    assert parsed is not None
    assert parsed.free_threaded


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"xdebugpy", id="only the cookie"),
        pytest.param(table(cookie=b"xdebugpx"), id="another cookie"),
        pytest.param(table(version=0x030C01F0), id="3.12, which has no table"),
        pytest.param(table(version=0x031900F0), id="a version of the future"),
        pytest.param(table(version=VERSION | 1 << 40), id="a version beyond 32 bits"),
        pytest.param(table(free_threaded=2), id="a flag that is neither yes nor no"),
        pytest.param(table()[:-1], id="one byte short"),
        pytest.param(table(values=(*range(FIELDS - 1), 1 << 24)), id="too large for an offset"),
    ],
)
def test_no_table(data: bytes) -> None:
    assert parse_debug_offsets(data) is None


@given(st.binary(max_size=1000))
def test_any_bytes_are_read_without_an_error(data: bytes) -> None:
    assert parse_debug_offsets(data) is None or data.startswith(b"xdebugpy")


@given(st.lists(st.integers(0, 2**64 - 1), min_size=FIELDS, max_size=FIELDS), st.integers(0, 600))
def test_any_numbers_behind_a_good_head_are_read_without_an_error(
    values: list[int], size: int
) -> None:
    parsed = parse_debug_offsets(table(values=tuple(values))[:size])
    if parsed is not None:
        assert list(parsed.offsets.values()) == values


def test_a_supplement_of_another_build_is_not_used() -> None:
    parsed = parse_debug_offsets(table())
    assert isinstance(parsed, DebugOffsets)
    row = SUPPLEMENTS[3, 13]
    here = parsed.offsets["code_object.co_code_adaptive"]
    assert layout_from_debug_offsets(parsed, row) is None
    assert layout_from_debug_offsets(parsed, dataclasses.replace(row, code_adaptive=here))
