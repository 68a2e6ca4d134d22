"""The interpreters of this machine that tests run against: one row per build that must be covered.

Looked for: $MIXSTACK_PYTHONS (paths, separated by ":"), pyenv's versions, /usr/bin/python3.*.
A missing one of the supported is skipped with its reason, or with MIXSTACK_REQUIRE_ALL=1 an error.

    @pytest.mark.parametrize("build", SUPPORTED)
    def test_...(build: Build) -> None: ...
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

_PROBE: Final = (
    "import sys, sysconfig, json;"
    "print(json.dumps([list(sys.version_info[:3]), sysconfig.get_paths()['include'],"
    " getattr(getattr(sys, 'implementation', None), 'name', 'cpython'),"
    " sysconfig.get_config_var('Py_GIL_DISABLED') or 0]))"
)


@dataclass(frozen=True)
class Build:
    """A CPython on this machine. `static`: the evaluator is in the executable, not in a library."""

    executable: str
    version: tuple[int, int, int]
    include: Path
    static: bool

    @property
    def minor(self) -> tuple[int, int]:
        return self.version[:2]

    @property
    def id(self) -> str:
        return ".".join(map(str, self.version)) + ("-static" if self.static else "")

    @property
    def trampoline(self) -> bool:
        """Whether it has -X perf."""
        return self.minor >= (3, 12)

    @property
    def internal_headers(self) -> bool:
        return (self.include / "internal" / "pycore_runtime.h").exists()

    @contextmanager
    def running(self, program: str, *args: str, **popen: Any) -> Iterator[subprocess.Popen[str]]:
        """A process that runs `python -c program args`, once it has printed a first line.

        That line is in `first_line` of the yielded process; it is killed at the end.
        """
        with subprocess.Popen(
            [self.executable, "-c", program, *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **popen,
        ) as child:
            try:
                assert child.stdout is not None
                child.first_line = child.stdout.readline().strip()  # type: ignore[attr-defined]
                assert child.first_line, "the target ended before it was ready"  # type: ignore[attr-defined]
                yield child
            finally:
                child.kill()


@functools.cache
def all_builds() -> tuple[Build, ...]:
    """Every CPython that was found, oldest first; each executable file once."""
    paths = list(dict.fromkeys(os.path.realpath(path) for path in _candidates()))
    with ThreadPoolExecutor(max_workers=4) as pool:
        found = [build for build in pool.map(_ask, paths) if build is not None]
    return tuple(sorted(found, key=lambda b: (b.version, b.static, b.executable)))


def _candidates() -> list[str]:
    named = [p for p in os.environ.get("MIXSTACK_PYTHONS", "").split(":") if p]
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    pyenv = [str(p) for p in sorted(root.glob("versions/*/bin/python"))]
    system = [f"/usr/bin/python3.{minor}" for minor in range(8, 20)]
    return [path for path in (*named, *pyenv, *system) if os.access(path, os.X_OK)]


def _ask(path: str) -> Build | None:
    """What an interpreter says of itself; None if it does not run or is no default CPython."""
    try:
        answer = subprocess.run(
            [path, "-I" if "python2" not in path else "-E", "-c", _PROBE],
            capture_output=True,
            timeout=30,
            check=True,
        ).stdout
        version, include, implementation, free_threaded = json.loads(answer)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    if implementation != "cpython" or free_threaded:
        return None
    major, minor, micro = version
    static = b"PyEval_EvalFrameEx\0" in Path(path).read_bytes()
    return Build(path, (major, minor, micro), Path(include), static)


def _row(name: str, wanted: Callable[[Build], bool], required: bool = True) -> Any:
    """A pytest parameter: the newest build that is wanted, or a skip that says what is missing."""
    matching = [build for build in all_builds() if wanted(build)]
    if matching:
        return pytest.param(matching[-1], id=f"{name}={matching[-1].id}")
    reason = f"no {name} CPython here: install it, or name it in $MIXSTACK_PYTHONS"
    if required and os.environ.get("MIXSTACK_REQUIRE_ALL") == "1":
        raise RuntimeError(reason)
    return pytest.param(None, id=name, marks=pytest.mark.skip(reason=reason))


SUPPORTED: Final = [
    _row("3.11-shared", lambda b: b.minor == (3, 11) and not b.static),
    _row("3.11-static", lambda b: b.minor == (3, 11) and b.static),
    _row("3.12", lambda b: b.minor == (3, 12)),
    _row("3.13", lambda b: b.minor == (3, 13)),
]

# No machine has to have these.
UNSUPPORTED: Final = [
    _row("2.7", lambda b: b.minor == (2, 7), required=False),
    _row("3.6", lambda b: b.minor == (3, 6), required=False),
    _row("3.8", lambda b: b.minor == (3, 8), required=False),
    _row("3.10", lambda b: b.minor == (3, 10), required=False),
]


def supported(wanted: Callable[[Build], bool]) -> list[Any]:
    """The rows of SUPPORTED that fit, `supported(lambda b: b.trampoline)`, and the missing ones."""
    return [row for row in SUPPORTED if row.values[0] is None or wanted(row.values[0])]
