"""What cannot be recorded gets one sentence, a hint and its own exit code; nothing is left behind.

What a machine lacks is hidden from the recorder alone: in a mount namespace, or by dropping its
capabilities.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from mixstack.capture.reader import read_capture
from mixstack.errors import (
    MissingPrivilege,
    NoKernelTypes,
    NoLibbpf,
    NoSuchProcess,
    NotPermitted,
    OutputError,
    UsageProblem,
)

from .harness import (
    MIXSTACK,
    Target,
    as_nobody,
    environment,
    run_mixstack,
    running,
    spinning,
    until,
)

pytestmark = pytest.mark.live

PRIVILEGES = ("cap_sys_admin", "cap_bpf", "cap_perfmon", "cap_sys_ptrace")
# Root without any capability: an ordinary user, who can still read this interpreter.
UNPRIVILEGED = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
# Where libbpf looks for the kernel's types.
KERNEL_TYPES = ("/sys/kernel/btf", "/boot", "/lib/modules", "/usr/lib/modules", "/usr/lib/debug")


@pytest.fixture
def target() -> Iterator[Target]:
    with running(spinning()) as spinner:
        yield spinner


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
        check=False,
    )


def _run_where(
    setup: Sequence[str], *command: str | Path, after: str = ""
) -> subprocess.CompletedProcess[str]:
    """A command in a mount namespace of its own, between lines of shell; with its exit code."""
    script = "\n".join(["set -e", *setup, 'code=0; "$@" || code=$?', after, "exit $code"])
    return _run("unshare", "--mount", "sh", "-c", script, "sh", *command)


def _mount(*words: str | Path) -> str:
    return shlex.join(["mount", *map(str, words)])


def _refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert done.returncode == code, done.stderr
    said, hint = done.stderr.strip().splitlines()
    assert said.startswith("mixstack: ")
    assert hint.startswith("hint: ")
    assert len(hint) > len("hint: ")
    for word in words:
        assert word in said


# --- the target --------------------------------------------------------------------------------


def test_no_such_process(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    done = run_mixstack("record", "-p", str(ended.pid), "-o", tmp_path / "out.data")
    _refused(done, NoSuchProcess.exit_code, str(ended.pid))
    assert not list(tmp_path.iterdir())


def test_a_process_that_nobody_has_collected(tmp_path: Path) -> None:
    zombie = subprocess.Popen(["true"])
    until(lambda: ") Z " in Path(f"/proc/{zombie.pid}/stat").read_text())
    done = run_mixstack("record", "-p", str(zombie.pid), "-o", tmp_path / "out.data")
    zombie.wait()
    _refused(done, NoSuchProcess.exit_code, str(zombie.pid), "ended")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("owner", "code"),
    [
        pytest.param(as_nobody, NotPermitted.exit_code, id="a process of another user"),
        pytest.param(None, MissingPrivilege.exit_code, id="a process of one's own"),
    ],
)
def test_without_privileges(owner: Callable[[], None] | None, code: int, tmp_path: Path) -> None:
    sleeper = subprocess.Popen([*UNPRIVILEGED, "sleep", "60"], preexec_fn=owner)
    try:
        until(lambda: Path(f"/proc/{sleeper.pid}/comm").read_text() == "sleep\n")
        command = ("record", "-p", str(sleeper.pid), "-o", tmp_path / "out.data")
        done = _run(*UNPRIVILEGED, *MIXSTACK, *command)
    finally:
        sleeper.kill()
        sleeper.wait()
    _refused(done, code)
    assert not list(tmp_path.iterdir())


# --- the machine -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kept", "missing"),
    [
        pytest.param({"cap_perfmon", "cap_sys_ptrace"}, {"CAP_BPF"}, id="CAP_BPF"),
        pytest.param({"cap_bpf", "cap_sys_ptrace"}, {"CAP_PERFMON"}, id="CAP_PERFMON"),
        pytest.param({"cap_sys_ptrace"}, {"CAP_BPF", "CAP_PERFMON"}, id="both"),
        pytest.param({"cap_bpf", "cap_perfmon", "cap_sys_ptrace"}, set(), id="none"),
    ],
)
def test_a_missing_capability_is_named(
    kept: set[str], missing: set[str], target: Target, tmp_path: Path
) -> None:
    dropped = ",".join(name for name in PRIVILEGES if name not in kept)
    command = ("record", "-p", str(target.pid), "-d", "0.3", "-o", str(tmp_path / "out.data"))
    done = _run("capsh", f"--drop={dropped}", "--", "-c", shlex.join([*MIXSTACK, *command]))
    if not missing:
        assert done.returncode == 0, done.stderr
        return
    _refused(done, MissingPrivilege.exit_code, *missing)
    assert {name for name in ("CAP_BPF", "CAP_PERFMON") if name in done.stderr} == missing
    assert not list(tmp_path.iterdir())


def test_a_kernel_without_types(target: Target, tmp_path: Path) -> None:
    empty, output = tmp_path / "empty", tmp_path / "out.data"
    empty.mkdir()
    hide = [_mount("--bind", empty, folder) for folder in KERNEL_TYPES if os.path.isdir(folder)]
    done = _run_where(hide, *MIXSTACK, "record", "-p", str(target.pid), "-d", "0.3", "-o", output)
    _refused(done, NoKernelTypes.exit_code, "BTF", os.uname().release)
    assert not output.exists()


def test_libbpf_is_not_installed(target: Target, tmp_path: Path) -> None:
    output = tmp_path / "out.data"
    hide = [_mount("--bind", "/dev/null", path) for path in _libraries("libbpf.so.1")]
    assert hide
    done = _run_where(hide, *MIXSTACK, "record", "-p", str(target.pid), "-d", "0.3", "-o", output)
    _refused(done, NoLibbpf.exit_code, "libbpf.so.1")
    assert not output.exists()


def _libraries(name: str) -> list[str]:
    known = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True)
    lines = [line.split() for line in known.stdout.splitlines()]
    return [os.path.realpath(words[-1]) for words in lines if words and words[0] == name]


# --- the output --------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", ["0", "10000", "-5"])
def test_a_rate_out_of_range(rate: str, tmp_path: Path) -> None:
    done = run_mixstack("record", "-p", str(os.getpid()), "-r", rate, "-o", tmp_path / "out.data")
    _refused(done, UsageProblem.exit_code, rate)


def test_the_output_is_a_folder(target: Target, tmp_path: Path) -> None:
    done = run_mixstack("record", "-p", str(target.pid), "-d", "0.3", "-o", tmp_path)
    _refused(done, OutputError.exit_code, str(tmp_path), "folder")
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full(target: Target, tmp_path: Path) -> None:
    full = [_disk(tmp_path, 16), f"head -c 16384 /dev/zero > {shlex.quote(str(tmp_path / 'old'))}"]
    command = ("record", "-p", str(target.pid), "-d", "0.3", "-o", tmp_path / "out.data")
    done = _run_where(full, *MIXSTACK, *command, after=f"ls {shlex.quote(str(tmp_path))}")
    _refused(done, OutputError.exit_code, "no space left", "nothing was recorded")
    assert done.stdout == "old\n"


def test_a_disk_that_fills_up(target: Target, tmp_path: Path) -> None:
    """What was recorded by then is kept, and can be merged on another disk."""
    disk, kept = tmp_path / "disk", tmp_path / "kept.data"
    disk.mkdir()
    command = ("record", "-p", str(target.pid), "-r", "4999", "-o", disk / "out.data")
    keep = shlex.join(["cp", str(disk / "out.data"), str(kept)])
    done = _run_where([_disk(disk, 24)], *MIXSTACK, *command, after=keep)
    _refused(done, OutputError.exit_code, "no space left", "were kept")
    assert "mixstack merge" in done.stderr
    capture = read_capture(str(kept))
    assert not capture.complete
    assert sum(1 for _ in capture.samples()) > 100
    merged = run_mixstack("merge", kept, "-f", "collapsed", "-o", "-")
    assert merged.returncode == 0, merged.stderr
    assert "<module>" in merged.stdout


def _disk(place: Path, kilobytes: int) -> str:
    return _mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", place)
