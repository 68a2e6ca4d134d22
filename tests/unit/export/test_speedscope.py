"""The speedscope exporter: the format's schema, its own golden file, and what always holds."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixstack.export.speedscope import write_speedscope
from mixstack.model import Frame, FrameKind, Profile

from .profiles import MS, STACKS, TWO_THREADS, profile, thread

GOLDEN = Path(__file__).parent / "golden" / "two_threads_speedscope.json"


def written(value: Profile) -> str:
    stream = io.StringIO()
    write_speedscope(value, stream)
    return stream.getvalue()


def parsed(value: Profile) -> Any:
    return json.loads(written(value))


def total(entry: Any) -> int:
    return sum(entry["weights"])


def test_golden() -> None:
    assert written(TWO_THREADS) == GOLDEN.read_text(encoding="ascii")


def test_schema_of_the_application(speedscope_schema: Any) -> None:
    validator = jsonschema.Draft7Validator(
        {**speedscope_schema, "$ref": "#/definitions/FileFormat.File"}
    )
    validator.validate(parsed(TWO_THREADS))
    validator.validate(parsed(profile()))
    broken = parsed(TWO_THREADS)
    broken["shared"]["frames"][0]["line"] = None
    assert not validator.is_valid(broken), "the schema would let anything pass"


def test_threads_follow_one_profile_of_all() -> None:
    file = parsed(TWO_THREADS)
    assert [entry["name"] for entry in file["profiles"]] == [
        "all threads",
        "MainThread (101)",
        "worker; one\n (102)",
    ]
    assert file["activeProfileIndex"] == 0
    assert file["name"] == "python app.py"
    assert file["exporter"] == "mixstack@0.1.0"


def test_the_title_says_that_time_lines_were_thinned() -> None:
    thinned = replace(TWO_THREADS, thinned_ns=2_560_000_000)
    title = "python app.py [too long to show in full: no order within 2.56 s]"
    assert parsed(thinned) == {**parsed(TWO_THREADS), "name": title}


def test_process_is_named_when_there_are_several() -> None:
    file = parsed(
        profile(
            thread(7, "w", 0, [(1, 1)], pid=200),
            thread(9, "w", 0, [(1, 1)], pid=3),
            thread(5, "w", 0, [(1, 1)], pid=200),
        )
    )
    assert [entry["name"] for entry in file["profiles"][1:]] == [
        "w (3/9)",
        "w (200/5)",
        "w (200/7)",
    ]


def test_thread_without_a_name_is_its_number() -> None:
    assert parsed(profile(thread(5, "", 0, [(1, 1)])))["profiles"][1]["name"] == "(5)"


def test_all_threads_are_interleaved_by_time_without_the_time_off_cpu() -> None:
    file = parsed(TWO_THREADS)
    frames = file["shared"]["frames"]
    leaves = [frames[stack[-1]]["name"] for stack in file["profiles"][0]["samples"]]
    assert leaves == [
        "Store.load",  # 1000 ms, MainThread
        "libz.so.1+0x3a10",  # 1015 ms, worker
        "Store.load",  # 1050 ms
        "<lambda>",  # 1060 ms
        "libz.so.1+0x3a10",  # 1065 ms, worker
        "naïve \u2028 \udcff",  # 1075 ms, worker
        "ext4_file_read_iter",  # 1084 ms
        "Store.load",  # 1094 ms
    ]
    assert total(file["profiles"][0]) == (98 - 20 + 70 - 30) * MS


def test_time_off_cpu_is_an_empty_stack_with_weight() -> None:
    main = parsed(TWO_THREADS)["profiles"][1]
    assert (main["samples"][1], main["weights"][1]) == ([], 20 * MS)


def test_times_count_from_the_earliest_thread() -> None:
    entries = parsed(TWO_THREADS)["profiles"]
    assert [(entry["startValue"], entry["endValue"]) for entry in entries[1:]] == [
        (0, 98 * MS),
        (15 * MS, 85 * MS),
    ]
    assert {entry["unit"] for entry in entries} == {"nanoseconds"}


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        pytest.param(
            Frame(FrameKind.PYTHON, "f", "/a.py", 3),
            {"name": "f", "file": "/a.py", "line": 3},
            id="python: function, file, line",
        ),
        pytest.param(
            Frame(FrameKind.NATIVE, "sort", "/lib/x.so"),
            {"name": "sort", "file": "/lib/x.so"},
            id="native: module as file",
        ),
        pytest.param(
            Frame(FrameKind.KERNEL, "read"),
            {"name": "read", "file": "[kernel]"},
            id="kernel proper",
        ),
        pytest.param(
            Frame(FrameKind.KERNEL, "read", "ext4"),
            {"name": "read", "file": "ext4"},
            id="kernel module",
        ),
        pytest.param(
            Frame(FrameKind.MARK, "[truncated]"), {"name": "[truncated]"}, id="unknown is left out"
        ),
        pytest.param(
            Frame(FrameKind.PYTHON, "f", "/a.py", 0),
            {"name": "f", "file": "/a.py", "line": 0},
            id="line 0 is a line",
        ),
    ],
)
def test_frame(frame: Frame, expected: dict[str, object]) -> None:
    file = parsed(profile(thread(1, "t", 0, [(1, 1)]), stacks=((), (frame,))))
    assert file["shared"]["frames"] == [expected]


def test_frames_that_look_the_same_are_one() -> None:
    plain = Frame(FrameKind.NATIVE, "f", "/x.so")
    twin = plain._replace(plumbing=True, resolved=False)
    file = parsed(profile(thread(1, "t", 0, [(1, 1)]), stacks=((), (plain, twin, plain))))
    assert file["profiles"][1]["samples"] == [[0, 0, 0]]


def test_output_is_streamed() -> None:
    """No write may hold a whole profile."""
    sizes: list[int] = []

    class Measured(io.StringIO):
        def write(self, text: str) -> int:
            sizes.append(len(text))
            return super().write(text)

    write_speedscope(profile(thread(1, "t", 0, [(1, 1), (2, 1)] * 50_000)), Measured())
    assert max(sizes) < sum(sizes) / 10


timelines = st.lists(
    st.tuples(st.integers(0, len(STACKS) - 1), st.integers(1, 50)), min_size=0, max_size=20
)


@given(st.lists(st.tuples(st.integers(0, 100), timelines), max_size=4))
def test_nothing_is_lost(drawn: list[tuple[int, list[tuple[int, int]]]]) -> None:
    threads = [thread(tid, "t", start, line) for tid, (start, line) in enumerate(drawn)]
    file = parsed(profile(*threads))
    frames = [(f["name"], f.get("file"), f.get("line")) for f in file["shared"]["frames"]]
    assert frames == sorted(set(frames), key=lambda f: (f[0], f[1] or "", f[2] or -1))
    everything, *each = file["profiles"]
    for entry in file["profiles"]:
        assert len(entry["samples"]) == len(entry["weights"])
        assert total(entry) == entry["endValue"] - entry["startValue"]
        assert all(0 <= i < len(frames) for stack in entry["samples"] for i in stack)
    for entry, (_, line) in zip(each, drawn, strict=True):
        assert entry["weights"] == [length * MS for _, length in line]
        assert [[frames[i][0] for i in stack] for stack in entry["samples"]] == [
            [frame.name for frame in STACKS[stack_id]] for stack_id, _ in line
        ]
    busy = [pair for _, line in drawn for pair in line if pair[0]]
    assert sorted(everything["weights"]) == sorted(length * MS for _, length in busy)
    starts = [
        start + sum(length for _, length in line[:i])
        for start, line in drawn
        for i, (stack_id, _) in enumerate(line)
        if stack_id
    ]
    leaves = [STACKS[stack_id][-1].name for stack_id, _ in busy]
    by_time = [leaf for _, leaf in sorted(zip(starts, leaves, strict=True), key=lambda p: p[0])]
    assert [frames[stack[-1]][0] for stack in everything["samples"]] == by_time
