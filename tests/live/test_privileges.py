"""With how little recording works, as whom it writes and starts programs, and what it gives up."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mixstack.capture.reader import read_capture
from mixstack.errors import MissingPrivilege, NotPermitted
from mixstack.model import FrameKind
from mixstack.privileges.capabilities import FOR_RECORDING, Capability

from .harness import MIXSTACK, Target, environment, running, spinning, stacks, until
from .programs import program

pytestmark = pytest.mark.live

NOBODY = 65534
UNDER_SUDO = {"SUDO_UID": str(NOBODY), "SUDO_GID": str(NOBODY), "SUDO_USER": "nobody"}
ENOUGH = ("bpf", "perfmon", "sys_ptrace")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of nobody's, which nobody can reach: pytest's own are root's alone."""
    with tempfile.TemporaryDirectory() as name:
        os.chown(name, NOBODY, NOBODY)
        yield Path(name)


@pytest.fixture
def target() -> Iterator[Target]:
    with running(spinning()) as spinner:
        yield spinner


def _run(command: list[str], env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        env={**environment(), **(env or {})},
        check=False,
    )


def _sudo(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """mixstack as root, on behalf of nobody."""
    return _run([*MIXSTACK, *map(str, arguments)], UNDER_SUDO)


def _only(*capabilities: str) -> list[str]:
    """Root with these capabilities and no other."""
    allowed = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    return ["setpriv", f"--bounding-set={allowed}", "--inh-caps=-all"]


# --- with how little ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kept", "code"),
    [
        pytest.param(ENOUGH, 0, id="enough"),
        pytest.param(("sys_admin", "sys_ptrace"), 0, id="as before Linux 5.8"),
        pytest.param(("perfmon", "sys_ptrace"), MissingPrivilege.exit_code, id="no CAP_BPF"),
        pytest.param(("bpf", "sys_ptrace"), MissingPrivilege.exit_code, id="no CAP_PERFMON"),
        pytest.param(("bpf", "perfmon"), NotPermitted.exit_code, id="no CAP_SYS_PTRACE"),
        pytest.param((), NotPermitted.exit_code, id="none"),
    ],
)
def test_the_doctor_says_what_recording_does(
    kept: tuple[str, ...], code: int, target: Target, tmp_path: Path
) -> None:
    """The oracle of the verdict: a recording of the same process with the same rights."""
    pid, rights = str(target.pid), _only(*kept)
    verdict = _run([*rights, *MIXSTACK, "doctor", "--json", "-p", pid])
    output = str(tmp_path / "out.data")
    done = _run([*rights, *MIXSTACK, "record", "-p", pid, "-d", "0.3", "-o", output])
    said: dict[str, Any] = json.loads(verdict.stdout)
    assert (verdict.returncode, done.returncode) == (code, code), done.stderr
    assert (said["ok"], said["exit_code"]) == (code == 0, code)
    found = {check["name"]: check["status"] for check in said["checks"]}
    stand_in = "sys_admin" in kept
    for name in ("bpf", "perfmon"):
        right = name in kept or stand_in
        assert found[f"CAP_{name.upper()}"] == ("ok" if right else "missing")
    # The refusal names what is missing: of several, those that it met.
    named = set(re.findall(r"CAP_[A-Z_]+", done.stderr.splitlines()[0]))
    lacked = {f"CAP_{name.upper()}" for name in ENOUGH if name not in kept}
    assert named <= lacked
    assert bool(named) == (code != 0)


def _held() -> list[str]:
    mask = int(re.findall(r"CapEff:\s*(\w+)", Path("/proc/self/status").read_text())[0], 16)
    names = {c.value: c.name.lower() for c in Capability}
    return [names.get(bit, str(bit)) for bit in range(41) if mask >> bit & 1]


def test_no_other_capability_is_needed(target: Target) -> None:
    """All others that matter dropped at once, by another tool: still `ok`."""
    others = [c.name.lower() for c in Capability if c.name[4:].lower() not in ENOUGH]
    assert set(others) & {name for name in _held() if name.startswith("cap_")}
    look = shlex.join([*MIXSTACK, "doctor", "-p", str(target.pid)])
    done = _run(["capsh", f"--drop={','.join(others)}", "--", "-c", look])
    assert done.returncode == 0, done.stdout


def test_a_user_with_the_capabilities_records_without_root(target: Target, folder: Path) -> None:
    """CAP_DAC_READ_SEARCH only because the interpreter of the tests may be closed to others."""
    given = ",".join(f"+{name}" for name in (*ENOUGH, "syslog", "dac_read_search"))
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    output = folder / "out.data"
    done = _run(
        [
            *user,
            f"--inh-caps={given}",
            f"--ambient-caps={given}",
            *MIXSTACK,
            *("record", "-p", str(target.pid), "-d", "0.5", "-r", "999", "-o", str(output)),
        ]
    )
    assert done.returncode == 0, done.stderr
    assert output.stat().st_uid == NOBODY
    names = {f.name for s in stacks(read_capture(str(output))) for f in s.frames}
    assert "<module>" in names


def test_without_cap_syslog_kernel_frames_are_kept_without_names(tmp_path: Path) -> None:
    output = tmp_path / "out.data"
    with running([sys.executable, program("system_calls")]) as caller:
        command = ["record", "-p", str(caller.pid), "-d", "0.5", "-r", "999", "-o", str(output)]
        done = _run([*_only(*ENOUGH), *MIXSTACK, *command])
    assert done.returncode == 0, done.stderr
    kernel = {
        f.resolved for s in stacks(read_capture(str(output))) for f in s.frames
        if f.kind is FrameKind.KERNEL
    }  # fmt: skip
    assert kernel == {False}


# --- through sudo ------------------------------------------------------------------------------

TELL = """
import json, os, re, time
def of(pid):
    text = open(f"/proc/{pid}/status").read()
    return {k: re.search(rf"^{k}:\\s*(.*)$", text, re.M)[1].split() for k in
            ("Uid", "Gid", "Groups", "CapPrm", "CapEff", "CapInh", "CapAmb")}
time.sleep(0.5)
recorder = of(os.getppid())
print(json.dumps({"own": of("self"), "recorder": recorder, "environment": dict(os.environ)}))
"""


def _told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def _python() -> str:
    """An interpreter that nobody may run."""
    return "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable


def test_under_sudo_the_program_and_the_files_are_the_users(folder: Path) -> None:
    output = folder / "out.data"
    told = _told(_sudo("record", "-o", output, "--", _python(), "-c", TELL))
    ids = [str(NOBODY)]
    assert told["own"]["Uid"] == told["own"]["Gid"] == ids * 4
    assert told["own"]["Groups"] == ids
    assert {int(told["own"][f"Cap{kind}"][0], 16) for kind in ("Prm", "Eff", "Inh", "Amb")} == {0}
    assert told["environment"]["USER"] == "nobody"
    assert not [name for name in told["environment"] if name.startswith("SUDO_")]
    found = output.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (NOBODY, NOBODY, 0o600)

    merged = folder / "out.speedscope.json"
    assert _sudo("merge", output).returncode == 0
    assert (merged.stat().st_uid, merged.stat().st_gid) == (NOBODY, NOBODY)

    again = _sudo("record", "-o", output, "--", "true")
    assert again.returncode == 0, again.stderr
    assert (folder / "out.data.old").stat().st_uid == NOBODY


def test_while_it_records_the_recorder_has_given_up_the_rest(folder: Path) -> None:
    allowed = sum(1 << capability for capability in FOR_RECORDING)
    command = ("--", _python(), "-c", TELL)
    under_sudo = _told(_sudo("record", "-o", folder / "1", *command))["recorder"]
    assert under_sudo["Uid"] == [str(NOBODY)] * 4
    as_root = _told(_run([*MIXSTACK, "record", "-o", str(folder / "2"), *command]))["recorder"]
    assert as_root["Uid"] == ["0"] * 4
    for recorder in (under_sudo, as_root):
        assert int(recorder["CapPrm"][0], 16) & ~allowed == 0
        assert int(recorder["CapEff"][0], 16) == int(recorder["CapPrm"][0], 16) != 0
        assert int(recorder["CapInh"][0], 16) == int(recorder["CapAmb"][0], 16) == 0


def test_as_root_keeps_root(folder: Path) -> None:
    output = folder / "out.data"
    told = _told(_sudo("record", "--as-root", "-o", output, "--", _python(), "-c", TELL))
    assert told["own"]["Uid"] == ["0"] * 4
    assert told["environment"]["SUDO_UID"] == str(NOBODY)
    assert output.stat().st_uid == 0


def test_where_the_user_may_not_write_the_file_is_roots(tmp_path: Path) -> None:
    output = tmp_path / "out.data"
    told = _told(_sudo("record", "-o", output, "--", _python(), "-c", TELL))
    assert told["own"]["Uid"] == [str(NOBODY)] * 4
    assert output.stat().st_uid == 0
    assert output.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["out.data", "out.data.old"])
@pytest.mark.parametrize("kind", ["a link", "a file of another user"])
def test_nothing_of_others_is_followed_or_overwritten(kind: str, name: str, folder: Path) -> None:
    precious = folder / "precious"
    precious.write_text("precious")
    if kind == "a link":
        (folder / name).symlink_to(precious)
    else:
        precious.rename(folder / name)
        precious = folder / name
    if name.endswith(".old"):
        (folder / "out.data").touch()
        os.chown(folder / "out.data", NOBODY, NOBODY)
    done = _sudo("record", "-o", folder / "out.data", "--", "true")
    assert done.returncode == 20, done.stderr
    assert precious.read_text() == "precious"
    assert precious.stat().st_uid == 0


# --- what the target notices -------------------------------------------------------------------


def test_modules_that_come_later_are_read_with_what_is_left(folder: Path) -> None:
    """A library that is loaded while recording, in a process of another user."""
    body = "print('ready', flush=True)\nimport time\nend = time.monotonic() + 1\n"
    body += "while time.monotonic() < end: pass\nimport decimal\nD = decimal.Decimal\n"
    body += "while True: D(2).sqrt()"
    output = folder / "out.data"
    with running([_python(), "-c", body]) as late:
        done = _sudo("record", "-p", str(late.pid), "-d", "2.5", "-r", "499", "-o", output)
    assert done.returncode == 0, done.stderr
    capture = read_capture(str(output))
    files = {module.path.rpartition("/")[2] for module in capture.modules.values()}
    assert [name for name in files if "decimal" in name or "mpdec" in name]
    until(lambda: output.stat().st_uid == NOBODY)
