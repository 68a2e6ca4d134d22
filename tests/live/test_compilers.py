"""The kernel takes the probe as each clang of this machine compiles it; Debian 12 has clang 14."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mixstack.bpf import loader
from mixstack.model import Fit

from ..interpreters import Build, supported
from .harness import record, running, stacks

pytestmark = pytest.mark.live

ROOT = Path(__file__).parents[2]
CLANGS = [path for n in range(14, 30) if (path := shutil.which(f"clang-{n}"))]
PROGRAM = """
def key(value): return -value
print("ready", flush=True)
while True: sorted(range(1000), key=key)
"""


@pytest.mark.parametrize("clang", CLANGS, ids=os.path.basename)
@pytest.mark.parametrize("build", supported(lambda build: build.minor == (3, 12)))
def test_it_loads_and_samples(
    clang: str, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("bpf", "compiled"):
        shutil.copytree(ROOT / "mixstack" / part, tmp_path / "mixstack" / part)
    shutil.copy(ROOT / "build_native.py", tmp_path)
    environment = {**os.environ, "CLANG": clang}
    subprocess.run([sys.executable, "build_native.py"], cwd=tmp_path, env=environment, check=True)
    monkeypatch.setattr(loader, "_OBJECT", str(tmp_path / "mixstack" / "bpf" / "mixstack.bpf.o"))
    with running(build.command("-c", PROGRAM)) as target:
        found = list(stacks(record(target.pid, tmp_path / "out.data", rate_hz=1999)))
    assert len(found) > 100
    assert any(frame.name == "key" for stack in found for frame in stack.frames)
    exact = sum(stack.merged.fit is Fit.EXACT for stack in found)
    assert exact >= 0.99 * len(found)
