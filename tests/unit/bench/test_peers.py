"""What the tools write, read into frames; and how it is judged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.merging import COLLAPSE, Measured
from tests.bench.peers import _FRAME, Counted, Frame, Kind, Tool, collapsed_stacks, perf_stacks
from tests.bench.truth import judge

PY, NATIVE, NAMELESS = Kind.PYTHON, Kind.NATIVE, Kind.NAMELESS

PERF = """\
python 23786
\tffffffff821f8054 __schedule ([kernel.kallsyms])
\t           cf545 __GI___clock_nanosleep (inlined)
\t          3239c9 time_sleep (/lib/libpython3.13.so.1.0)
\t    7f93ee697a45 py::main:/app/a b.py (/tmp/perf-23786.map)
\t    7f93ee697a46 [unknown] (/lib/libc.so.6)

my thread 23787
\t           1 run(int, char const*) (/lib/lib.so)

python 23786

"""


def test_perf_script_is_read_from_the_root_without_kernel_and_inlined_calls() -> None:
    assert list(perf_stacks(iter(PERF.splitlines(keepends=True)))) == [
        (Frame(NAMELESS, "[unknown]"), Frame(PY, "main"), Frame(NATIVE, "time_sleep")),
        (Frame(NATIVE, "run(int, char const*)"),),
        (),
    ]


def test_a_last_stack_without_an_empty_line_counts() -> None:
    text = PERF.rstrip("\n") + "\n\t  1 f (/x)\n"
    assert list(perf_stacks(iter(text.splitlines(keepends=True))))[-1] == (Frame(NATIVE, "f"),)


@pytest.mark.parametrize(
    ("tool", "word", "frame"),
    [
        (Tool.MIXSTACK, "Class.main (app.py:12)", Frame(PY, "Class.main")),
        (Tool.MIXSTACK, "run_path (<frozen runpy>:287)", Frame(PY, "run_path")),
        (Tool.MIXSTACK, "list_sort (list.c.h:257)", Frame(NATIVE, "list_sort (list.c.h:257)")),
        (Tool.MIXSTACK, "libffi.so.8.1.2+0x70c8", Frame(NAMELESS, "libffi.so.8.1.2+0x70c8")),
        (Tool.MIXSTACK, "os_stat_impl (posixmodule.c:3124)_[i]", None),
        (Tool.MIXSTACK, "do_exit_[k]", None),
        (Tool.MIXSTACK, "[exiting]", None),
        (Tool.PY_SPY_NATIVE, "main (tests/app.py:12)", Frame(PY, "main")),
        (Tool.PY_SPY_NATIVE, "fstatat64 (libc.so.6)", Frame(NATIVE, "fstatat64 (libc.so.6)")),
        (Tool.PY_SPY_NATIVE, "0x7f28 (libc.so.6)", Frame(NAMELESS, "0x7f28 (libc.so.6)")),
        (Tool.SAMPLING, "app.py:Class.main:12", Frame(PY, "Class.main")),
        (Tool.SAMPLING, "<frozen runpy>:run_path:292", Frame(PY, "run_path")),
        (Tool.SAMPLING, "<native>", Frame(NAMELESS, "<native>")),
        (Tool.SAMPLING, "tid:24031", None),
    ],
)  # fmt: skip
def test_a_word_of_a_collapsed_stack(tool: Tool, word: str, frame: Frame | None) -> None:
    found = list(collapsed_stacks(f"{word} 7\n", _FRAME[tool]))
    assert found == [Counted((frame,) if frame else (), 7)]


def stack(*names: str, samples: int) -> Counted:
    return Counted(tuple(Frame(PY, name) for name in names), samples)


def test_shares_are_compared_with_the_truth_and_idle_threads_are_no_part_of_them() -> None:
    found = judge(
        [
            stack("main", "a", samples=70),
            stack("main", "a", "b", samples=20),  # the innermost part counts
            stack("idle_in_lock", samples=500),
            stack("main", samples=5),
            Counted((Frame(NATIVE, "f"), Frame(NAMELESS, "0x1"), Frame(PY, "b")), 10),
        ],
        {"a": 0.6, "b": 0.4},
        rate_hz=200,
    )
    assert found.error == pytest.approx(10.0)
    assert (found.due, found.busy, found.idle) == (200, 100, 500)
    assert found.lost == pytest.approx(50.0)
    assert found.native == pytest.approx(20 / 105)
    assert found.named == 0.5


def test_a_tool_without_python_names_is_judged_by_its_number_of_samples_alone() -> None:
    found = judge([Counted((Frame(NATIVE, "f"),), 90)], {"a": 1.0}, rate_hz=100)
    assert (found.error, found.busy) == (None, 90)
    assert found.lost == pytest.approx(10.0)


def test_the_collapsing_script_counts_equal_stacks(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(COLLAPSE)],
        input=PERF + PERF,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "my thread;run(int, char const*) 2",
        "python 2",
        "python;[unknown];py::main:/app/a b.py;time_sleep;__GI___clock_nanosleep;__schedule 2",
    ]


def test_growth_is_told_for_as_many_times_the_samples() -> None:
    small, large = Measured(10, 2.0, 2.0, 50.0, 1), Measured(100, 30.0, 30.0, 75.0, 1)
    assert large.growth(small) == "×15.0, ×1.5 for ×10.0"
    assert small.growth(None) == ""
