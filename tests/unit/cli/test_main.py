"""Every outcome of a command: its exit code, what stderr says, and what it never says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from mixstack import __version__, errors
from mixstack.cli import load

from .conftest import Runner
from .fakes import FakeCapture

HEAVY = (
    "traceback",
    "elftools",
    "zstandard",
    "json",
    "mixstack.capture",
    "mixstack.merge",
    "mixstack.bpf",
)

OUTPUT_OF_A_FAKE = """
import sys
from mixstack.cli import load, main
from tests.unit.cli.fakes import FakeCapture
from tests.unit.export.profiles import TWO_THREADS, thread, profile
load.load_capture = lambda path, **_: FakeCapture()
big = profile(thread(1, "t", 0, [(1, 5), (2, 5)] * 50_000))
load.load_profile = lambda *a, **k: big
sys.argv[1:] = {arguments!r}
main.entry()
"""


def raise_in_load(error: BaseException) -> Callable[..., FakeCapture]:
    def failing(_: str, **__: object) -> FakeCapture:
        raise error

    return failing


def subclasses(root: type[errors.MixstackError]) -> list[type[errors.MixstackError]]:
    return [c for child in root.__subclasses__() for c in [child, *subclasses(child)]]


@pytest.mark.parametrize("kind", subclasses(errors.MixstackError), ids=lambda kind: kind.__name__)
def test_each_error_is_shown_once_with_its_hint_and_exit_code(
    kind: type[errors.MixstackError], run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "load_capture", raise_in_load(kind("it broke", "mend it")))
    result = run("info", "x.data")
    assert (result.code, result.out) == (kind.exit_code, "")
    assert result.err == "mixstack: it broke\nhint: mend it\n"


def test_a_name_in_an_error_cannot_steer_the_terminal(
    run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = errors.NoCapture("no \x1b]0;owned\x07 here")
    monkeypatch.setattr(load, "load_capture", raise_in_load(error))
    assert run("info").err.startswith("mixstack: no \\x1b]0;owned\\x07 here\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["frobnicate"], "frobnicate", id="unknown command"),
        pytest.param(["merge", "--frobnicate"], "--frobnicate", id="unknown option"),
        pytest.param(["merge", "-f", "svg"], "svg", id="unknown format"),
        pytest.param(["merge", "a", "b"], "unexpected extra argument", id="too many arguments"),
        pytest.param(["record", "-p", "abc"], "abc", id="a pid that is no number"),
        pytest.param(["record", "-d", "soon", "-p", "1"], "soon", id="a duration that is none"),
        pytest.param(["record", "-r", "1.5", "-p", "1"], "1.5", id="a rate that is no integer"),
        pytest.param(["record", "-o"], "requires an argument", id="an option without its value"),
    ],
)
def test_usage_errors_exit_with_2(arguments: list[str], said: str, run: Runner) -> None:
    result = run(*arguments)
    assert result.code == 2
    first, hint, end = result.err.split("\n")
    assert first.startswith("mixstack: ")
    assert said in first
    assert hint.startswith("hint: see: mixstack")
    assert end == ""


def test_an_interrupt_is_a_clean_line(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "load_capture", raise_in_load(KeyboardInterrupt()))
    result = run("merge")
    assert (result.code, result.err) == (130, "\nmixstack: interrupted\n")


@pytest.mark.parametrize("debug", [False, True], ids=["for users", "for developers"])
def test_a_bug_is_called_one(debug: bool, run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    if debug:
        monkeypatch.setenv("MIXSTACK_DEBUG", "1")
    monkeypatch.setattr(load, "load_capture", raise_in_load(ZeroDivisionError("oh")))
    result = run("merge")
    assert result.code == 70
    assert "internal error: ZeroDivisionError: oh" in result.err
    assert "please report" in result.err
    assert ("Traceback" in result.err) is debug


def test_without_a_command_the_help_is_shown(run: Runner) -> None:
    assert run() == run("--help")


def test_version(run: Runner) -> None:
    assert (run("--version").code, run("--version").out) == (
        0,
        f"mixstack, version {__version__}\n",
    )


def entry(arguments: list[str], **options: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", OUTPUT_OF_A_FAKE.format(arguments=arguments)],
        stderr=subprocess.PIPE,
        **options,  # type: ignore[call-overload]
    )


@pytest.mark.parametrize("arguments", [["merge", "-o", "-"], ["merge", "-o", "/dev/stdout"]])
def test_a_closed_pipe_is_no_failure_to_talk_about(arguments: list[str]) -> None:
    process = entry(arguments, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141
    process.stderr.close()


@pytest.mark.parametrize(
    "arguments", [["merge", "-o", "-"], ["info"], ["merge", "-o", "/dev/full"]]
)
def test_a_full_disk_behind_stdout_is_an_output_error(arguments: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        process = entry(arguments, stdout=full)
    _, error = process.communicate()
    assert process.returncode == errors.OutputError.exit_code
    assert b"No space left on device" in error
    assert b"Traceback" not in error
    assert b"Exception ignored" not in error


def test_help_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "from mixstack.cli.main import entry; entry()"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Usage: mixstack" in done.stdout
    imported = {line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "mixstack.cli.main" in imported, "the list of imports was not understood"
    assert [name for name in imported if name.startswith(HEAVY)] == []
