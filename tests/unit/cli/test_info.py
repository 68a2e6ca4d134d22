"""`mixstack info`: the text and the JSON of one capture."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mixstack.cli.summary import summarize
from mixstack.model import Fit

from .conftest import Runner
from .fakes import HOSTILE, QUALITY, RECORDING, FakeCapture

TEXT = """\
file        out.data (312.4 kB, complete)
command     mixstack record -- python 'my app.py'
recorded    2023-11-14T22:13:20Z by mixstack 0.1.0
machine     box, x86_64, 2 CPUs
kernel      6.18.44
duration    12.5 s, ended: target ended
rate        99 Hz, cpu-clock
samples     4
fit         exact 99.2 %, native-only 0.8 %
lost        12 samples (1.0 %)
truncated   3 native stacks, 0 Python stacks
unresolved  7 native frames without a symbol, 1 Python frames without a name
new process 0 samples of only the leaf
tables      24.1 MB of kernel memory, 0 modules without unwind table

processes (2)
  100  CPython 3.12.1  python 'my app.py'
  201  no CPython (no interpreter found)  sh

threads (3)
  100/7              1  worker
  100/101            2  evil\\x1b[2Jname\\u202e
  201/201            1  sh

unwinding stopped (2)
        1,001  [anon]: no unwind table, or not yet; went on further out, frames may be missing
            3  /usr/lib/evil\\x1b[2J.so: the unwind table has no rule there

modules (3)
  aabb    /tmp/evil\\x1b[2Jname\\u202e
  00ffee  /usr/bin/python3.12
  -       /usr/lib/libz.so.1
"""


def test_text(run: Runner, capture: FakeCapture) -> None:
    result = run("info", "out.data")
    assert (result.code, result.err) == (0, "")
    assert result.out == TEXT


def test_json(run: Runner, capture: FakeCapture) -> None:
    result = run("info", "--json", "out.data")
    assert (result.code, result.err) == (0, "")
    assert result.out.isascii()
    value = json.loads(result.out)
    assert value["command"] == ["mixstack", "record", "--", "python", "my app.py"]
    assert (value["complete"], value["problem"], value["end"]) == (True, None, "target ended")
    assert value["duration_s"] == 12.5
    assert value["processes"][1] == {
        "pid": 201,
        "command": ["sh"],
        "python": None,
        "note": "no interpreter found",
    }
    assert value["threads"][1] == {"pid": 100, "tid": 101, "name": HOSTILE, "samples": 2}
    assert value["modules"][2] == {"path": "/usr/lib/libz.so.1", "build_id": None}
    assert value["fit"] == {fit.value: QUALITY.fits.get(fit, 0) for fit in Fit}
    evil = "/usr/lib/evil\x1b[2J.so"
    assert value["stops"] == [
        {"module": "[anon]", "reason": "no_table", "went_on": True, "samples": 1001},
        {"module": evil, "reason": "no_rule", "went_on": False, "samples": 3},
    ]
    others = ("code_unreadable", "tables_missing", "throttled", "process_unknown")
    assert value["lost"] == {"samples": 12, **dict.fromkeys(others, 0)}


def test_cut_off(run: Runner, capture: FakeCapture) -> None:
    capture.problem, capture.footer = "no footer\x07", None
    result = run("info")
    assert "(312.4 kB, cut off: no footer\\x07)" in result.out
    assert "duration    1.2 s\n" in result.out, "it lasted at least to its last sample"
    assert json.loads(run("info", "--json").out)["complete"] is False


@pytest.mark.parametrize(
    ("unix_ns", "shown"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_763_769_599_999_999_999, "2025-11-21T23:59:59Z"),
        (2**63 * 1000, f"@{2**63 * 1000}"),
    ],
)
def test_start(unix_ns: int, shown: str) -> None:
    capture = FakeCapture(recording=replace(RECORDING, start_unix_ns=unix_ns))
    assert summarize(capture, (), QUALITY).started == shown  # type: ignore[arg-type]
