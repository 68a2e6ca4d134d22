"""The real speedscope application, as its npm package ships it."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
NODE_MODULES = HERE / "node_modules"
RELEASE = NODE_MODULES / "speedscope" / "dist" / "release"
SCHEMA = RELEASE / "file-format-schema.json"


class NotInstallable(Exception):
    """The packages of package.json are not there and cannot be fetched."""


def install() -> None:
    """Install what package-lock.json pins, unless it is there; raises `NotInstallable`."""
    with open(HERE / "package-lock.json") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test sessions may want it at the same moment
        wanted = lock.read()
        stamp = NODE_MODULES / ".installed-from"
        if stamp.exists() and stamp.read_text() == wanted:
            return
        npm = shutil.which("npm")
        if npm is None:
            raise NotInstallable("npm is not installed")
        done = subprocess.run(
            [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=HERE,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode:
            raise NotInstallable(f"npm ci failed: {done.stderr.strip()[-400:]}")
        stamp.write_text(wanted)
