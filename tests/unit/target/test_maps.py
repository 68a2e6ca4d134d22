"""Lines of /proc/PID/maps: a table of odd ones, laws, and the arithmetic of load biases."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixstack.target.maps import MapLine, load_bias, parse_executable_maps, parse_maps

ORDINARY = b"7f00-8f00 r-xp 00001000 fd:01 1234                       /usr/lib/libc.so.6"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param(
            ORDINARY,
            MapLine(
                0x7F00, 0x8F00, "r-xp", 0x1000, os.makedev(0xFD, 1), 1234, "/usr/lib/libc.so.6"
            ),
            id="an ordinary file",
        ),
        pytest.param(
            b"1000-2000 rw-p 00000000 00:00 0 ",
            MapLine(0x1000, 0x2000, "rw-p", 0, 0, 0, ""),
            id="anonymous memory",
        ),
        pytest.param(
            b"1000-2000 r-xp 00000000 00:00 0                  [vdso]",
            MapLine(0x1000, 0x2000, "r-xp", 0, 0, 0, "[vdso]"),
            id="the vDSO",
        ),
        pytest.param(
            b"1000-2000 rw-p 00000000 00:00 0                  [anon:glibc: malloc arena]",
            MapLine(0x1000, 0x2000, "rw-p", 0, 0, 0, "[anon:glibc: malloc arena]"),
            id="a name with blanks that is no file",
        ),
        pytest.param(
            b"1000-2000 r-xp 00000000 08:01 7       /opt/my app/a  b.so ",
            MapLine(0x1000, 0x2000, "r-xp", 0, os.makedev(8, 1), 7, "/opt/my app/a  b.so "),
            id="blanks inside and at the end of a path",
        ),
        pytest.param(
            rb"1000-2000 r-xp 00000000 08:01 7       /opt/two\012lines.so",
            MapLine(0x1000, 0x2000, "r-xp", 0, os.makedev(8, 1), 7, "/opt/two\nlines.so"),
            id="a newline in a path",
        ),
        pytest.param(
            b"1000-2000 r-xp 00000000 08:01 7       /opt/gone.so (deleted)",
            MapLine(0x1000, 0x2000, "r-xp", 0, os.makedev(8, 1), 7, "/opt/gone.so (deleted)"),
            id="a deleted file",
        ),
        pytest.param(
            b"1000-2000 r-xp 00000000 08:01 7       /opt/\xff.so",
            MapLine(0x1000, 0x2000, "r-xp", 0, os.makedev(8, 1), 7, "/opt/\udcff.so"),
            id="a path that is not UTF-8",
        ),
        pytest.param(
            b"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0    [vsyscall]",
            MapLine(0xFFFFFFFFFF600000, 0xFFFFFFFFFF601000, "--xp", 0, 0, 0, "[vsyscall]"),
            id="the upper half of the address space",
        ),
        pytest.param(
            b"1000-2000 r--s 00000000 103:00002 18446744073709551615 /x",
            MapLine(0x1000, 0x2000, "r--s", 0, os.makedev(0x103, 2), 2**64 - 1, "/x"),
            id="large device and inode numbers",
        ),
    ],
)
def test_a_line(line: bytes, expected: MapLine) -> None:
    assert parse_maps(line + b"\n") == (expected,)


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(ORDINARY[:20], id="cut off"),
        pytest.param(ORDINARY.replace(b"7f00", b"7g00"), id="not hexadecimal"),
        pytest.param(ORDINARY.replace(b"-8f00", b""), id="one address"),
        pytest.param(ORDINARY.replace(b"fd:01", b"fd"), id="half a device"),
        pytest.param(ORDINARY.replace(b"r-xp", b"r-x\xff"), id="permissions that are not text"),
        pytest.param(ORDINARY.replace(b"fd:01", b"fffffffffffff:01"), id="no such device"),
    ],
)
def test_a_broken_line_is_left_out_and_the_rest_is_read(broken: bytes) -> None:
    assert len(parse_maps(ORDINARY + b"\n" + broken + b"\n" + ORDINARY)) == 2


@pytest.mark.parametrize(
    ("path", "inode", "expected"),
    [
        ("/usr/bin/x", 5, "/usr/bin/x"),
        ("/usr/bin/x (deleted)", 5, "/usr/bin/x"),
        ("/memfd:jit (deleted)", 5, "/memfd:jit"),
        ("[vdso]", 0, None),
        ("", 0, None),
        ("anon_inode:[perf_event]", 9, None),
    ],
)
def test_file_path(path: str, inode: int, expected: str | None) -> None:
    assert MapLine(0, 1, "r-xp", 0, 0, inode, path).file_path == expected


@given(st.binary())
def test_any_bytes_are_read_without_an_error(text: bytes) -> None:
    parse_maps(text)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**47),
            st.integers(1, 2**30),
            st.sampled_from(["r-xp", "rw-s", "---p"]),
            st.integers(0, 2**40),
            st.integers(0, 0xFFF),
            st.integers(0, 0xFFFFF),
            st.integers(0, 2**64 - 1),
            st.text(st.characters(codec="utf-8", exclude_characters="\n\\"), max_size=20),
        )
    )
)
def test_what_the_kernel_would_print_is_read_back(
    rows: list[tuple[int, int, str, int, int, int, int, str]],
) -> None:
    expected = tuple(
        MapLine(start, start + size, perms, offset, os.makedev(major, minor), inode, "/" + name)
        for start, size, perms, offset, major, minor, inode, name in rows
    )
    text = "".join(
        f"{line.start:x}-{line.end:x} {line.permissions} {line.offset:08x}"
        f" {os.major(line.device):02x}:{os.minor(line.device):02x} {line.inode}"
        f"                     {line.path}\n"
        for line in expected
    )
    assert parse_maps(text.encode()) == expected


@pytest.mark.parametrize(
    ("segments", "offset", "expected"),
    [
        pytest.param([(0x1000, 0x1000, 0x500)], 0x1000, 0x100000 - 0x1000, id="offset is vaddr"),
        pytest.param([(0x401000, 0x1000, 0x500)], 0x1000, 0x100000 - 0x401000, id="fixed address"),
        pytest.param(
            [(0x2A40, 0x1A40, 0x500)], 0x1000, 0x100000 - 0x2000, id="segment begins inside a page"
        ),
        pytest.param(
            [(0x1000, 0x1000, 0x9000)], 0x3000, 0x100000 - 0x3000, id="a later part of the segment"
        ),
        pytest.param(
            [(0, 0, 0x1000), (0x5000, 0x4000, 0x1000)], 0x4000, 0x100000 - 0x5000, id="the second"
        ),
        pytest.param([(0x1000, 0x1000, 0x500)], 0x2000, None, id="behind the segment"),
        pytest.param([], 0, None, id="no segment"),
    ],
)
def test_load_bias(segments: list[tuple[int, int, int]], offset: int, expected: int | None) -> None:
    line = MapLine(0x100000, 0x200000, "r-xp", offset, 1, 1, "/x")
    assert load_bias(segments, line) == expected


@given(
    lines=st.lists(
        st.sampled_from(
            [
                ORDINARY,
                b"1000-2000 rw-p 00000000 00:00 0 ",
                b"3000-4000 r--p 00000000 08:01 7       /opt/r-xp 1000-2000 r-xp x",
                b"5000-6000 rwxp 00000000 00:00 0 ",
                b"7000-8000 --xs 00000000 08:01 7       /opt/my app/a  b.so ",
                b"9000-a000 r-xp 0000",
                b"",
            ]
        )
    )
)
def test_only_the_executable_ones(lines: list[bytes]) -> None:
    text = b"\n".join(lines)
    expected = tuple(line for line in parse_maps(text) if line.executable)
    assert parse_executable_maps(text) == expected
