"""`_Py_DebugOffsets`: laws. That the numbers are right is shown against headers in test_layouts."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixstack.target.debug_offsets import (
    FIELDS,
    MAX_SIZE,
    NEWEST_TABLE,
    DebugOffsets,
    layout_from_debug_offsets,
    parse_debug_offsets,
)
from mixstack.target.layouts import SUPPLEMENTS, Minor

COUNTS = {(3, 13): 70, (3, 14): 92, (3, 15): 108}  # behind the cookie, the version and the flag
VERSION = 0x030D05F0

# A build of 3.13 in which every group that is looked at is as small as it can be.
GOOD_3_13 = {
    **{name: 800 if name.endswith(".size") else 8 for name in FIELDS[3, 13]},
    "pyobject.size": 16,
    "code_object.argcount": 52,
    "code_object.firstlineno": 68,
    "code_object.localsplusnames": 96,
    "code_object.linetable": 136,
    "code_object.co_code_adaptive": 200,
    "unicode_object.asciiobject_size": 40,
    "unicode_object.size": 64,
}


def table(
    cookie: bytes = b"xdebugpy",
    version: int = VERSION,
    free_threaded: int = 0,
    values: tuple[int, ...] = tuple(range(COUNTS[3, 13])),
) -> bytes:
    return cookie + struct.pack(f"<{2 + len(values)}Q", version, free_threaded, *values)


@pytest.mark.parametrize("row", list(COUNTS))
def test_a_table_has_so_many_numbers_in_the_order_of_the_header(row: Minor) -> None:
    values = tuple(range(COUNTS[row]))
    data = table(version=row[0] << 24 | row[1] << 16 | 0x1F0, values=values)
    parsed = parse_debug_offsets(data)
    assert parsed is not None
    assert parsed.row == row
    assert parsed.version_hex >> 16 == row[0] << 8 | row[1]
    assert not parsed.free_threaded
    assert tuple(parsed.offsets.values()) == values
    assert list(parsed.offsets)[:3] == [
        "runtime_state.size",
        "runtime_state.finalizing",
        "runtime_state.interpreters_head",
    ]
    last = "gc.collecting" if row == (3, 13) else "debugger_support.debugger_script_path_size"
    assert list(parsed.offsets)[-1] == last
    assert len(data) <= MAX_SIZE


def test_a_newer_version_is_read_with_the_newest_list() -> None:
    values = tuple(range(COUNTS[NEWEST_TABLE]))
    parsed = parse_debug_offsets(table(version=0x031200F0, values=values))
    assert parsed is not None
    assert parsed.row == NEWEST_TABLE
    assert parsed.version_hex == 0x031200F0


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
        pytest.param(
            table(version=0x040000F0, values=(1,) * 200), id="another major version's table"
        ),
        pytest.param(table(version=VERSION | 1 << 40), id="a version beyond 32 bits"),
        pytest.param(table(free_threaded=2), id="a flag that is neither yes nor no"),
        pytest.param(table()[:-1], id="one byte short"),
        pytest.param(table(version=0x030E00F0), id="3.14, as long as that of 3.13"),
        pytest.param(
            table(values=(*range(COUNTS[3, 13] - 1), 1 << 24)), id="too large for an offset"
        ),
    ],
)
def test_no_table(data: bytes) -> None:
    assert parse_debug_offsets(data) is None


@given(st.binary(max_size=1000))
def test_any_bytes_are_read_without_an_error(data: bytes) -> None:
    assert parse_debug_offsets(data) is None or data.startswith(b"xdebugpy")


@given(
    st.sampled_from(sorted(COUNTS)),
    st.booleans(),
    st.binary(min_size=COUNTS[3, 15] * 2, max_size=COUNTS[3, 15] * 2),
    st.integers(0, 900),
)
def test_any_numbers_behind_a_good_head_are_read_without_an_error(
    row: Minor, free_threaded: bool, numbers: bytes, size: int
) -> None:
    values = struct.unpack(f"<{COUNTS[3, 15]}H", numbers)
    data = table(version=row[0] << 24 | row[1] << 16, free_threaded=free_threaded, values=values)
    parsed = parse_debug_offsets(data[:size])
    if parsed is not None:
        assert tuple(parsed.offsets.values()) == values[: COUNTS[row]]
        layout_from_debug_offsets(parsed, SUPPLEMENTS[row, free_threaded])


def shifted(first: str, by: int) -> dict[str, int]:
    """The code object with `by` more bytes from that field on."""
    order = [name for name in GOOD_3_13 if name.startswith("code_object.")]
    return {n: GOOD_3_13[n] + by for n in order if GOOD_3_13[n] >= GOOD_3_13[first]}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, (48, 92, 184, 56), id="as the headers of 3.13.0 have it"),
        pytest.param({"thread_state.thread_id": 160}, (48, 92, 184, 56), id="another field moved"),
        pytest.param(
            shifted("code_object.linetable", 8),
            (48, 92, 192, 56),
            id="a field between the names and the line table",
        ),
        pytest.param(
            shifted("code_object.co_code_adaptive", 8), None, id="a field near the bytecode"
        ),
        pytest.param(
            shifted("code_object.localsplusnames", 8), None, id="a field near the version"
        ),
        pytest.param(shifted("code_object.argcount", 8), None, id="a field near the flags"),
        pytest.param({"unicode_object.size": 72}, None, id="another str"),
        pytest.param(
            {"thread_state.size": 100, "thread_state.thread_id": 100}, None, id="beyond the end"
        ),
        pytest.param({"gc.size": 0}, (48, 92, 184, 56), id="a group that is not looked at"),
    ],
)
def test_what_the_table_leaves_out_goes_by_its_neighbours(
    changes: dict[str, int], expected: tuple[int, ...] | None
) -> None:
    parsed = parse_debug_offsets(
        table(values=tuple((GOOD_3_13 | changes)[name] for name in FIELDS[3, 13]))
    )
    assert isinstance(parsed, DebugOffsets)
    found = layout_from_debug_offsets(parsed, SUPPLEMENTS[(3, 13), False])
    if expected is None:
        assert found is None
        return
    assert found is not None
    assert expected == (
        found.code_flags,
        found.code_version,
        found.code_first_traceable,
        found.string_compact_data,
    )
    assert found.tstate_thread_id == (GOOD_3_13 | changes)["thread_state.thread_id"]


@pytest.mark.parametrize("group", ["runtime_state", "thread_state", "code_object", "pyobject"])
def test_a_newer_version_with_a_field_more_is_not_mistaken(group: str) -> None:
    """Whatever the newest list reads as the groups behind it is not plausible any more."""
    numbers = dict.fromkeys(FIELDS[3, 15], 8)
    numbers |= {name: value for name, value in GOOD_3_13.items() if name in numbers}
    names = list(FIELDS[3, 15])
    good = tuple(numbers[name] for name in names)
    at = names.index(f"{group}.size") + 1
    for values, usable in ((good, True), ((*good[:at], 8, *good[at:]), False)):
        parsed = parse_debug_offsets(table(version=0x031000F0, values=values))
        assert parsed is not None
        supplement = SUPPLEMENTS[(3, 15), False]._replace(
            first_traceable=SUPPLEMENTS[(3, 13), False].first_traceable
        )
        assert (layout_from_debug_offsets(parsed, supplement) is not None) is usable
