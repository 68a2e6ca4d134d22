"""The packages that only measurements need: `python -m tests.bench.packages [--torch]`.

Makes a virtual environment of the newest CPython of this machine that has -X perf, in build/bench.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ..interpreters import ROOT, Build, all_builds

FOLDER: Final = ROOT / "build" / "bench"  # below ROOT: interpreters in trees see it as well
# SQLAlchemy: the newest that pyperformance's own list has goes with the newest CPython.
WANTED: Final = ("pyperformance>=1.11,<2", "numpy>=2", "SQLAlchemy>=1.4,<2", "greenlet>=3")
TORCH: Final = "torch>=2.6"


def measured() -> Build | None:
    """The interpreter that the slowdown and the truth are measured with."""
    plain = [build for build in all_builds() if build.tree is None and build.trampoline]
    return plain[-1] if plain else None


def python(build: Build) -> Path:
    return FOLDER / build.id / "bin" / "python"


def programs() -> Path:
    """The folder of pyperformance's scripts, for every interpreter. Raises FileNotFoundError."""
    where = "*/lib/python3.*/site-packages/pyperformance/data-files/benchmarks"
    found = sorted(FOLDER.glob(where))
    if not found:
        raise FileNotFoundError("pyperformance is not installed: make bench-packages")
    return found[-1]


def has(executable: Path, module: str) -> bool:
    asked = [str(executable), "-c", f"import {module}"]
    return executable.exists() and subprocess.run(asked, capture_output=True).returncode == 0


def version(executable: Path, package: str) -> str | None:
    """Of an installed package."""
    ask = f"from importlib.metadata import version; print(version({package!r}))"
    done = subprocess.run([str(executable), "-c", ask], capture_output=True, text=True)
    return done.stdout.strip() or None


def main(arguments: Sequence[str]) -> int:
    build = measured()
    if build is None:
        print("needs a CPython 3.12 or later outside of the trees", file=sys.stderr)
        return 2
    wanted = (*WANTED, TORCH) if "--torch" in arguments else WANTED
    folder = FOLDER / build.id
    note = folder / "installed"
    installed = note.read_text(encoding="utf-8").split("\n") if note.exists() else []
    missing = [package for package in wanted if package not in installed]
    if missing:
        print(f"installing {', '.join(missing)} into {folder.relative_to(ROOT)}", flush=True)
        subprocess.run([build.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(python(build)), "-m", "pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--no-input", "install", *missing], check=True)
        note.write_text("\n".join([*installed, *missing]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
