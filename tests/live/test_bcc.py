"""bcc, the second loader: the same source, the same stacks; and what is said where it cannot.

The whole live suite runs with it by `make test-bcc`; this is its sample in `make test`.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from mixstack.bpf.bcc import bcc_folder, bcc_version
from mixstack.capture.reader import read_capture
from mixstack.errors import MissingPrivilege, NoBcc, NoKernelTypes
from mixstack.model import Fit

from ..interpreters import SUPPORTED, Build
from .harness import MIXSTACK, environment, running, spinning, stacks
from .programs import program

FOLDER = bcc_folder()
pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(
        FOLDER is None and not os.environ.get("MIXSTACK_REQUIRE_ALL"),
        reason="bcc is not installed (python3-bpfcc)",
    ),
]
# One for each way to find the frames: 3.8 looks for them on the C stack, 3.13 has shims.
BUILDS = [build for build in SUPPORTED if build.values[0].minor in ((3, 8), (3, 13))]


def _record(
    pid: int, output: Path, *, before: Sequence[str] = (), loader: str = "bcc"
) -> subprocess.CompletedProcess[str]:
    options = ("-p", str(pid), "-d", "3", "-r", "999", "-o", str(output), "--loader", loader)
    return subprocess.run(
        [*before, *MIXSTACK, "record", *options],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(),
        check=False,
    )


@pytest.mark.parametrize("build", BUILDS)
def test_both_loaders_see_the_same(build: Build, tmp_path: Path) -> None:
    seen = {}
    with running(build.command(program("sorted_key"))) as target:
        for loader in ("libbpf", "bcc"):
            output = tmp_path / f"{loader}.data"
            done = _record(target.pid, output, loader=loader)
            assert done.returncode == 0, done.stderr
            found = list(stacks(read_capture(str(output))))
            assert len(found) > 100
            sound = sum(s.merged.fit in (Fit.EXACT, Fit.COUNTED) for s in found)
            assert sound >= 0.98 * len(found)
            seen[loader] = {
                tuple(f.name for f in s.frames if f.file and f.file.endswith(".py")) for s in found
            }
    assert {"<module>", "work", "key"} <= {name for stack in seen["bcc"] for name in stack}
    assert seen["bcc"] & seen["libbpf"]


def _hidden(*folders: str) -> list[str]:
    """A mount namespace in which these folders are empty."""
    hide = [
        shlex.join(["mount", "-t", "tmpfs", "tmpfs", folder])
        for folder in folders
        if os.path.isdir(folder)
    ]
    return ["unshare", "--mount", "sh", "-c", "\n".join(["set -e", *hide, 'exec "$@"']), "sh"]


def test_bcc_is_not_installed(tmp_path: Path) -> None:
    assert FOLDER is not None
    with running(spinning()) as target:
        done = _record(target.pid, tmp_path / "out.data", before=_hidden(FOLDER))
    assert done.returncode == NoBcc.exit_code, done.stderr
    assert "python3-bpfcc" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("loader", ["auto", "bcc"])
def test_neither_types_nor_headers(loader: str, tmp_path: Path) -> None:
    hidden = _hidden("/sys/kernel/btf", "/boot", "/lib/modules", "/usr/lib/debug")
    with running(spinning()) as target:
        done = _record(target.pid, tmp_path / "out.data", before=hidden, loader=loader)
    assert done.returncode == NoKernelTypes.exit_code, done.stderr
    assert "BTF" in done.stderr
    assert f"linux-headers-{os.uname().release}" in done.stderr


def test_a_missing_capability_is_named(tmp_path: Path) -> None:
    rights = ["setpriv", "--bounding-set=-all,+perfmon,+sys_ptrace", "--inh-caps=-all"]
    with running(spinning()) as target:
        done = _record(target.pid, tmp_path / "out.data", before=rights)
    assert done.returncode == MissingPrivilege.exit_code, done.stderr
    assert "lacks CAP_BPF" in done.stderr


def test_its_version_is_found_without_loading_it() -> None:
    version = bcc_version()
    assert version is not None
    assert version[0].isdigit()
