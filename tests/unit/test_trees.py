"""The trees of other releases: how they are made, and what a process in one of them sees."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.interpreters import ROOT, TREES, Build, supported

IN_A_TREE = supported(lambda build: build.tree is not None)
SCRIPT = ROOT / "tests" / "make_tree.sh"

SEEN = """
import os, sys
print(os.getpid(), os.getcwd(), sys.executable, os.environ.get("ONE", ""), flush=True)
sys.stdin.read()
"""
# The last two words are the folder and the mirror, if one was found.
FAKE_MMDEBSTRAP = """#!/bin/sh
echo "$*" >> "$CALLS"
for word; do case $word in */tree) folder=$word; esac; done
mkdir -p "$folder/usr"
exit "$FAILS"
"""
FAKE_APT = """#!/bin/sh
if [ "$1" = indextargets ]; then printf 'mirror:/one\\nmirror:/two\\n'; fi
"""

Make = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize("build", IN_A_TREE)
def test_a_process_in_a_tree_keeps_its_pid_and_sees_the_tree(build: Build) -> None:
    with build.running(SEEN, env={"ONE": "1"}) as child:
        pid, folder, executable, one = child.first_line.split(" ")  # type: ignore[attr-defined]
        assert (int(pid), folder, one) == (child.pid, os.getcwd(), "1")
        assert executable == build.executable == os.readlink(f"/proc/{pid}/exe")
        there = os.stat(f"/proc/{pid}/exe")
        assert os.path.samestat(there, os.stat(build.host_executable))
        mounts = Path(f"/proc/{pid}/mounts").read_text().splitlines()
        assert str(TREES) not in {line.split()[1] for line in mounts}
        assert {line.split()[1] for line in mounts} >= {"/", "/proc", "/dev", str(ROOT)}


@pytest.mark.parametrize("build", IN_A_TREE)
def test_what_is_shared_lies_at_the_same_path(build: Build, tmp_path: Path) -> None:
    program = f"open({str(tmp_path / 'told')!r}, 'w').write(open({str(SCRIPT)!r}).readline())"
    subprocess.run(build.command("-c", program), check=True)
    assert build.host(tmp_path / "told").read_text() == "#!/usr/bin/env bash\n"
    assert build.host("/etc/os-release") != Path("/etc/os-release")


@pytest.mark.parametrize("build", IN_A_TREE)
def test_nothing_stays_mounted(build: Build) -> None:
    with build.running("print(1, flush=True); input()"):
        assert str(build.tree) not in Path("/proc/self/mounts").read_text()
    assert str(build.tree) not in Path("/proc/self/mounts").read_text()


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Runs the script with tools that only say how they were called, in `calls`."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in (
        ("mmdebstrap", FAKE_MMDEBSTRAP),
        ("apt-get", FAKE_APT),
        ("apt-config", FAKE_APT),
    ):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    (tmp_path / "calls").touch()

    def run(*packages: str, fails: int = 0) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [SCRIPT, "sid", tmp_path / "trees" / "sid", *packages],
            env={
                "PATH": f"{tools}:{os.environ['PATH']}",
                "CALLS": str(tmp_path / "calls"),
                "FAILS": str(fails),
            },
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_a_tree_is_made_once_from_the_mirror_of_this_machine(make: Make, tmp_path: Path) -> None:
    assert make("one", "two").returncode == 0
    assert make("one", "two").stdout == ""
    (call,) = (tmp_path / "calls").read_text().splitlines()
    words = call.split()
    assert "--include=one,two" in words
    assert words[-3::2] == ["sid", "mirror:/one"]
    assert [path.name for path in (tmp_path / "trees").iterdir()] == ["sid"]
    assert (tmp_path / "trees" / "sid" / "usr").is_dir()


def test_other_packages_make_another_tree(make: Make, tmp_path: Path) -> None:
    make("one")
    (tmp_path / "trees" / "sid" / "old").touch()
    assert make("one", "two").returncode == 0
    assert len((tmp_path / "calls").read_text().splitlines()) == 2
    assert not (tmp_path / "trees" / "sid" / "old").exists()
    assert [path.name for path in (tmp_path / "trees").iterdir()] == ["sid"]


def test_a_failure_leaves_what_was_there(make: Make, tmp_path: Path) -> None:
    failed = make("one", fails=1)
    assert failed.returncode == 1
    assert "cannot unpack Debian sid" in failed.stderr
    assert list((tmp_path / "trees").iterdir()) == []
    make("one")
    assert make("one", "two", fails=1).returncode == 1
    assert (tmp_path / "trees" / "sid" / ".made-of").read_text() == "one\n"
