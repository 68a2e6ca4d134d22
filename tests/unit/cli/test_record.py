"""`mixstack record`: what is asked of the session, and what is said at the end."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mixstack.cli import load, record
from mixstack.errors import DamagedCapture, NoSuchProcess, UsageProblem
from mixstack.record.options import Progress, RecordOptions

from .conftest import Runner
from .fakes import FakeCapture, FakeSession

UseSession = Callable[[FakeSession], FakeSession]


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        pytest.param(["-p", "7"], RecordOptions(7, ()), id="attach, all defaults"),
        pytest.param(
            ["-p", "7", "-o", "x.data", "-d", "0.5", "-r", "9999"],
            RecordOptions(7, (), "x.data", 0.5, 9999),
            id="attach, all options",
        ),
        pytest.param(
            ["-p", "7", "-e", "cpu-clock", "--buffer", "8"],
            RecordOptions(7, (), event="cpu-clock", buffer_mb=8),
            id="clock and buffer",
        ),
        pytest.param(
            ["--pid=7", "--output=x", "--duration=3", "--rate=1"],
            RecordOptions(7, (), "x", 3.0, 1),
            id="long options",
        ),
        pytest.param(["-p", "7", "--no-lines"], RecordOptions(7, (), lines=False), id="no lines"),
        pytest.param(
            ["--", "python", "-X", "dev", "a.py", "-p", "3"],
            RecordOptions(None, ("python", "-X", "dev", "a.py", "-p", "3")),
            id="a command keeps its own options",
        ),
        pytest.param(
            ["-r", "49", "python", "a.py", "--", "-d"],
            RecordOptions(None, ("python", "a.py", "--", "-d"), rate_hz=49),
            id="a command without the dashes",
        ),
    ],
)
def test_options(
    arguments: list[str],
    options: RecordOptions,
    run: Runner,
    capture: FakeCapture,
    use_session: UseSession,
) -> None:
    session = use_session(FakeSession())
    assert run("record", *arguments).code == 0
    assert session.asked == [replace(options, sheds_privileges=True)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param([], "nothing to record", id="no target"),
        pytest.param(["-d", "3", "--"], "nothing to record", id="an empty command"),
        pytest.param(["-p", "1", "--", "ls"], "both a process (-p 1) and a command (ls)", id="two"),
        pytest.param(["-p", "0"], "0 is no process id", id="pid 0"),
        pytest.param(["-p", "-4"], "-4 is no process id", id="negative pid"),
        pytest.param(["-p", "1", "-r", "0"], "1 to 9999 samples per second, not 0", id="rate 0"),
        pytest.param(["-p", "1", "-r", "10000"], "1 to 9999", id="rate too high"),
        pytest.param(["-p", "1", "-r", "-5"], "not -5", id="negative rate"),
        pytest.param(["-p", "1", "-d", "0"], "more than 0 seconds, not 0", id="no duration"),
        pytest.param(["-p", "1", "-d", "-1"], "not -1", id="negative duration"),
        pytest.param(["-p", "1", "-d", "nan"], "not nan", id="duration nan"),
        pytest.param(["-p", "1", "-d", "inf"], "not inf", id="duration inf"),
        pytest.param(["-p", "1", "-o", ""], "empty", id="empty output"),
        pytest.param(["-p", "1", "--buffer", "0"], "1 to 1024 MiB, not 0", id="no buffer"),
        pytest.param(["-p", "1", "--buffer", "1025"], "not 1025", id="too large a buffer"),
    ],
)
def test_what_cannot_be_recorded(
    arguments: list[str], said: str, run: Runner, use_session: UseSession
) -> None:
    session = use_session(FakeSession())
    result = run("record", *arguments)
    assert result.code == UsageProblem.exit_code
    assert said in result.err
    assert "hint: " in result.err
    assert session.asked == []


def test_the_footer(run: Runner, capture: FakeCapture, use_session: UseSession) -> None:
    use_session(FakeSession())
    result = run("record", "-o", "my data", "-p", "7")
    assert result.out == ""
    assert result.err.splitlines() == [
        "recorded my data (target ended)",
        "  samples     1,200",
        "  rate        98.7 Hz (asked for 99 Hz, by cpu-clock)",
        "  lost        12 (1.0 %)",
        "  fit         exact 99.2 %, native-only 0.8 %",
        "  truncated   3 native stacks, 0 Python stacks",
        "  unresolved  7 native frames without a symbol, 1 Python frames without a name",
        "  file        312.4 kB, 260 B per sample",
        "next: mixstack merge 'my data'",
    ]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        pytest.param(None, 0, id="attached"),
        pytest.param(0, 0, id="ended well"),
        pytest.param(3, 3, id="exit code 3"),
        pytest.param(255, 255, id="exit code 255"),
        pytest.param(-15, 143, id="SIGTERM"),
        pytest.param(-9, 137, id="SIGKILL"),
    ],
)
def test_exit_code_of_the_command(
    status: int | None,
    code: int,
    run: Runner,
    capture: FakeCapture,
    use_session: UseSession,
) -> None:
    use_session(FakeSession(exit_status=status))
    assert run("record", "ls").code == code


def test_failure_of_the_session(run: Runner, use_session: UseSession) -> None:
    use_session(FakeSession(failure=NoSuchProcess("there is no process 7")))
    result = run("record", "-p", "7")
    assert result.code == 3
    assert result.err.startswith("mixstack: there is no process 7\nhint: ")


def test_notes_are_shown_once_and_the_status_line_not_in_a_pipe(
    run: Runner, capture: FakeCapture, use_session: UseSession
) -> None:
    note = "process 7 is no Python: native stacks only"
    use_session(
        FakeSession(
            progress=(Progress(0.1, 0, 0, note), Progress(0.2, 5, 0), Progress(0.3, 9, 0, note)),
            notes=(note, "one more\x1b[2J"),
        )
    )
    lines = run("record", "-p", "7").err.splitlines()
    assert lines[:3] == [
        f"mixstack: {note}",
        "mixstack: one more\\x1b[2J",
        "recorded out.data (target ended)",
    ]


def test_the_command_counts_even_if_the_recording_cannot_be_read_back(
    run: Runner, use_session: UseSession, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    def damaged(path: str) -> None:
        raise DamagedCapture(f"{path} is damaged")

    monkeypatch.setattr(load, "load_capture", damaged)
    use_session(FakeSession(exit_status=5))
    result = run("record", "ls")
    assert result.code == 5
    assert "mixstack: out.data is damaged" in result.err
    assert "fit" not in result.err


def test_the_status_line_of_a_terminal(
    monkeypatch: pytest.MonkeyPatch,
    run: Runner,
    capture: FakeCapture,
    use_session: UseSession,
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    use_session(FakeSession(progress=(Progress(2.25, 1234, 2),)))
    assert run("record", "ls").code == 0
    text = terminal.getvalue()
    assert "\r\x1b[Krecording: 2.2 s, 1,234 samples, 2 lost\r\x1b[K" in text
    assert text.endswith("next: mixstack merge out.data\n")


def test_the_status_line_while_lines_are_read() -> None:
    progress = Progress(3.0, 1234, 2, lines=(1500, 20_000))
    assert record.status_text(progress) == "reading line tables: 1,500 of 20,000 addresses"


def test_exit_code_rule_is_the_shells() -> None:
    assert [record.exit_code(status) for status in (None, 0, 7, -1, -2)] == [0, 0, 7, 129, 130]


def test_through_sudo_the_user_is_told_to_the_session(
    run: Runner,
    capture: FakeCapture,
    use_session: UseSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setenv("SUDO_UID", "65534")
    monkeypatch.setenv("SUDO_GID", "65534")
    session = use_session(FakeSession())
    assert run("record", "--", "ls").code == 0
    assert run("record", "--as-root", "--", "ls").code == 0
    theirs, ours = session.asked
    assert theirs.user is not None
    assert theirs.user.uid == 65534
    assert theirs.environment is not None
    assert "SUDO_UID" not in theirs.environment
    assert (ours.user, ours.environment) == (None, None)


def test_a_recording_is_not_poured_into_a_terminal(
    run: Runner, use_session: UseSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    session = use_session(FakeSession())
    assert run("record", "-o", "-", "-p", "7").code == UsageProblem.exit_code
    assert session.asked == []


def test_a_recording_to_stdout_leaves_it_alone(run: Runner, use_session: UseSession) -> None:
    use_session(FakeSession())
    result = run("record", "-o", "-", "-p", "7")
    assert (result.code, result.out) == (0, "")
    assert "recorded to standard output" in result.err
    assert "next:" not in result.err


@pytest.mark.parametrize(
    ("throttled", "said"),
    [(0, "0 lost"), (1, "0 lost, throttled 1 time by the kernel"), (7, "throttled 7 times")],
)
def test_pauses_of_the_kernel_are_shown_while_recording(throttled: int, said: str) -> None:
    text = record.status_text(Progress(2.0, 5, 0, throttled=throttled))
    assert said in text
    assert ("throttled" in text) == bool(throttled)
