"""The collapsed exporter: its golden file, and the grammar that flame graph tools read."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixstack.export.collapsed import write_collapsed
from mixstack.model import Frame, FrameKind, Profile

from .profiles import LOAD, MODULE, STACKS, TWO_THREADS, profile, thread

GOLDEN = Path(__file__).parent / "golden" / "two_threads_collapsed.txt"


def written(value: Profile) -> str:
    stream = io.StringIO()
    write_collapsed(value, stream)
    return stream.getvalue()


def test_golden() -> None:
    text = written(TWO_THREADS).encode("utf-8", "backslashreplace")
    assert text == GOLDEN.read_bytes()


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        pytest.param(
            Frame(FrameKind.PYTHON, "A.f", "/srv/app.py", 3), "A.f (app.py:3)", id="python"
        ),
        pytest.param(Frame(FrameKind.PYTHON, "f", "<string>", 1), "f (<string>:1)", id="no file"),
        pytest.param(Frame(FrameKind.PYTHON, "f", "/a.py"), "f (a.py)", id="line unknown"),
        pytest.param(Frame(FrameKind.PYTHON, "f"), "f", id="file unknown"),
        pytest.param(Frame(FrameKind.NATIVE, "sort", "/lib/x.so"), "sort", id="native"),
        pytest.param(
            Frame(FrameKind.NATIVE, "sort", "/src/list.c", 9), "sort (list.c:9)", id="native line"
        ),
        pytest.param(
            Frame(FrameKind.NATIVE, "swap", "/src/list.h", 3, inlined=True),
            "swap (list.h:3)_[i]",
            id="inlined",
        ),
        pytest.param(Frame(FrameKind.KERNEL, "ksys_read"), "ksys_read_[k]", id="kernel"),
        pytest.param(Frame(FrameKind.MARK, "[truncated]"), "[truncated]", id="mark"),
        pytest.param(
            Frame(FrameKind.NATIVE, "a;b\nc\rd", "/x.so"), "a:b c d", id="separators in a name"
        ),
        pytest.param(
            Frame(FrameKind.PYTHON, "f", "/x;y\n.py", 1), "f (x:y .py:1)", id="and in a file"
        ),
    ],
)
def test_frame(frame: Frame, expected: str) -> None:
    value = profile(thread(1, "t", 0, [(1, 10)]), stacks=((), (frame,)))
    assert written(value) == f"t;{expected} 1\n"


@pytest.mark.parametrize(("milliseconds", "count"), [(1, 1), (10, 1), (14, 1), (26, 3), (100, 10)])
def test_count_is_in_periods_of_10_ms(milliseconds: int, count: int) -> None:
    assert written(profile(thread(1, "t", 0, [(1, milliseconds)]))).endswith(f" {count}\n")


def test_time_is_added_up_before_it_is_rounded() -> None:
    value = profile(thread(1, "t", 0, [(1, 4), (0, 50)] * 10))
    assert written(value).endswith(" 4\n")
    assert written(value).count("\n") == 1


def test_threads_of_one_name_and_stacks_of_one_text_are_one_line() -> None:
    stacks = ((), (LOAD,), (LOAD._replace(file="/other/store.py"),), (MODULE,))
    value = profile(
        thread(1, "pool", 0, [(1, 10), (3, 10)]), thread(2, "pool", 0, [(2, 20)]), stacks=stacks
    )
    assert written(value) == "pool;<module> (app.py:12) 1\npool;Store.load (store.py:40) 3\n"


def test_nothing_recorded_is_an_empty_file() -> None:
    assert written(profile(thread(1, "t", 0, [(0, 10)]))) == ""


@given(
    st.lists(
        st.tuples(
            st.text(max_size=5),
            st.lists(st.tuples(st.integers(0, len(STACKS) - 1), st.integers(1, 90)), max_size=9),
        ),
        max_size=4,
    )
)
def test_every_line_is_readable_and_no_time_is_lost(
    drawn: list[tuple[str, list[tuple[int, int]]]],
) -> None:
    text = written(profile(*(thread(i, name, 0, line) for i, (name, line) in enumerate(drawn))))
    lines = text.split("\n")[:-1]
    matches = [re.fullmatch(r"([^;\n]*);([^;\n]+(?:;[^;\n]+)*) ([1-9]\d*)", line) for line in lines]
    assert all(matches)
    places = [(match[1], match[2]) for match in matches if match]
    assert places == sorted(set(places))
    counted = sum(int(match[3]) for match in matches if match)
    spent = sum(length for _, line in drawn for stack_id, length in line if stack_id) / 10
    assert spent - 0.5 * len(lines) <= counted <= spent + len(lines)
