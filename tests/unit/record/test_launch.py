"""A command that waits for its go: how it starts, fails to start, is called off, and ends."""

from __future__ import annotations

import os
import signal
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mixstack.errors import CommandNotFound, CommandNotRunnable, MixstackError
from mixstack.record.launch import Launched


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No descriptor stays open, and no child unwaited for."""
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert set(os.listdir("/proc/self/fd")) - before == set()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.parametrize(
    ("script", "status"),
    [
        pytest.param("exit 0", 0, id="success"),
        pytest.param("exit 7", 7, id="an exit code"),
        pytest.param("exit 255", 255, id="the largest exit code"),
        pytest.param("kill -TERM $$", -signal.SIGTERM, id="ended by a signal"),
        pytest.param("kill -PIPE $$", -signal.SIGPIPE, id="SIGPIPE is not ignored"),
        pytest.param("kill -XFSZ $$", -signal.SIGXFSZ, id="SIGXFSZ is not ignored"),
    ],
)
def test_the_status_is_the_programs(script: str, status: int) -> None:
    launched = Launched(("sh", "-c", script))
    launched.go()
    assert launched.wait() == status
    assert launched.wait() == status  # however often it is asked


def test_nothing_runs_before_go(tmp_path: Path) -> None:
    made = tmp_path / "made"
    launched = Launched(("touch", str(made)))
    time.sleep(0.1)
    assert not made.exists()
    launched.go()
    assert launched.wait() == 0
    assert made.exists()


def test_what_is_called_off_never_runs(tmp_path: Path) -> None:
    made = tmp_path / "made"
    launched = Launched(("touch", str(made)))
    launched.cancel()
    launched.cancel()  # a second time is no error
    assert not made.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(launched.pid, 0)


def test_cancel_after_go_does_nothing() -> None:
    launched = Launched(("sh", "-c", "sleep 0.1; exit 3"))
    launched.go()
    launched.cancel()
    assert launched.wait() == 3


def test_the_pid_is_the_programs(tmp_path: Path) -> None:
    told = tmp_path / "told"
    launched = Launched(("sh", "-c", f"echo $$ > {told}"))
    launched.go()
    launched.wait()
    assert int(told.read_text()) == launched.pid


def no_program(folder: Path, name: str, mode: int, text: str) -> str:
    path = folder / name
    path.write_text(text)
    path.chmod(mode)
    return str(path)


PLAIN, EXECUTABLE = stat.S_IRUSR | stat.S_IWUSR, stat.S_IRWXU


@pytest.mark.parametrize(
    ("case", "error", "code"),
    [
        pytest.param("no-such-command-anywhere", CommandNotFound, 127, id="not in $PATH"),
        pytest.param("/no/such/folder/program", CommandNotFound, 127, id="no such folder"),
        pytest.param("{plain}/program", CommandNotFound, 127, id="a file taken for a folder"),
        pytest.param("{plain}", CommandNotRunnable, 126, id="not executable"),
        pytest.param("{folder}", CommandNotRunnable, 126, id="a folder"),
        pytest.param("{garbage}", CommandNotRunnable, 126, id="no program at all"),
        pytest.param("", CommandNotRunnable, 126, id="an empty name"),
        pytest.param("sh\0", CommandNotRunnable, 126, id="a NUL byte in the name"),
    ],
)
def test_a_command_that_cannot_start(
    tmp_path: Path, case: str, error: type[MixstackError], code: int
) -> None:
    command = case.format(
        folder=tmp_path,
        plain=no_program(tmp_path, "plain", PLAIN, "#!/bin/sh\n"),
        garbage=no_program(tmp_path, "garbage", EXECUTABLE, "\x01\x02"),
    )
    launched = Launched((command,))
    with pytest.raises(error) as caught:
        launched.go()
    assert caught.value.exit_code == code
    assert caught.value.hint
    launched.cancel()


def test_the_program_inherits_no_descriptor_of_ours(tmp_path: Path) -> None:
    told = tmp_path / "told"
    given = {fd for fd in map(int, os.listdir("/proc/self/fd")) if _is_inherited(fd)}
    script = (
        "import os, sys\n"
        "found = [n for n in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + n)]\n"
        "open(sys.argv[1], 'w').write(' '.join(found))"
    )
    launched = Launched((sys.executable, "-S", "-c", script, str(told)))
    launched.go()
    assert launched.wait() == 0
    assert set(map(int, told.read_text().split())) == given


def _is_inherited(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:  # the one that listed the folder
        return False
