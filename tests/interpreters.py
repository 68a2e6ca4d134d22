"""The interpreters of this machine that tests run against: one row per build that must be covered.

Looked for: $MIXSTACK_PYTHONS (paths, separated by ":"), pyenv's versions, /usr/bin/python3.*, and
the trees of `make trees` ($MIXSTACK_TREES, or build/trees), whose interpreters run with the tree as
their root folder. A missing one of the supported is skipped with its reason, or with
MIXSTACK_REQUIRE_ALL=1 an error. With MIXSTACK_DEBUG_BUILDS=1 they are Debian's builds with
--with-pydebug instead (`make test-debug`).

    @pytest.mark.parametrize("build", SUPPORTED)
    def test_...(build: Build) -> None:
        with build.running("print('ready', flush=True); input()") as child: ...
        subprocess.run(build.command("-c", "..."))
"""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
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


ROOT: Final = Path(__file__).parent.parent
TREES: Final = Path(os.environ.get("MIXSTACK_TREES") or ROOT / "build" / "trees").resolve()
DEBUG: Final = os.environ.get("MIXSTACK_DEBUG_BUILDS") == "1"
# What a target in a tree sees at the same path as the tests do.
SHARED: Final = ("/proc", "/dev", tempfile.gettempdir(), str(ROOT))


@dataclass(frozen=True)
class Build:
    """A CPython on this machine. `static`: the evaluator is in the executable, not in a library.

    executable: as the target sees it; host_executable: where to open it here. include: its headers,
    here. tree: the folder that is its root, None for this machine's own.
    """

    executable: str
    version: tuple[int, int, int]
    include: Path
    static: bool
    tree: Path | None = None

    @property
    def minor(self) -> tuple[int, int]:
        return self.version[:2]

    @property
    def id(self) -> str:
        name = ".".join(map(str, self.version)) + ("-static" if self.static else "")
        return name if self.tree is None else f"{name}-{self.tree.name}"

    @property
    def host_executable(self) -> str:
        return str(self.host(self.executable))

    def host(self, path: str | Path) -> Path:
        """Where a file that the target sees at `path` is to be opened here."""
        return in_tree(self.tree, path)

    def command(self, *arguments: str | Path, env: Mapping[str, str] | None = None) -> list[str]:
        """What to start to run it. `env`: variables for nothing but itself (LD_PRELOAD, ...)."""
        variables = [f"{name}={value}" for name, value in (env or {}).items()]
        words = ["/usr/bin/env", *variables] if variables else []
        return [*_entry(self.tree), *words, self.executable, *map(str, arguments)]

    @property
    def qualified(self) -> bool:
        """Whether its code objects hold qualified names."""
        return self.minor >= (3, 11)

    @property
    def trampoline(self) -> bool:
        """Whether it has -X perf."""
        return self.minor >= (3, 12)

    @property
    def internal_headers(self) -> bool:
        return (self.include / "internal" / "pycore_runtime.h").exists()

    @contextmanager
    def running(
        self, program: str, *args: str, env: Mapping[str, str] | None = None, **popen: Any
    ) -> Iterator[subprocess.Popen[str]]:
        """A process that runs `python -c program args`, once it has printed a first line.

        That line is in `first_line` of the yielded process; it is killed at the end. `env`: more
        variables.
        """
        with subprocess.Popen(
            self.command("-c", program, *args, env=env),
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


def in_tree(tree: Path | None, path: str | Path) -> Path:
    """Where the file at `path`, as a process with this root folder sees it, is to be opened."""
    if tree is None or any(Path(path).is_relative_to(shared) for shared in SHARED):
        return Path(path)
    return tree / str(path).lstrip("/")


def _entry(tree: Path | None) -> list[str]:
    """The words before a command that is to run with this tree as its root folder."""
    if tree is None:
        return []
    script = str(Path(__file__).with_name("in_tree.py"))
    return [sys.executable, "-I", "-S", script, str(tree), *SHARED, "--"]


@functools.cache
def all_builds() -> tuple[Build, ...]:
    """Every CPython that was found, oldest first; each executable file once."""
    here = [] if DEBUG else [(None, os.path.realpath(path)) for path in _candidates()]
    asked = dict.fromkeys([*here, *_in_trees()])
    with ThreadPoolExecutor(max_workers=4) as pool:
        found = [build for build in pool.map(lambda at: _ask(*at), asked) if build is not None]
    return tuple(sorted(found, key=lambda b: (b.version, b.static, str(b.tree), b.executable)))


def _candidates() -> list[str]:
    named = [p for p in os.environ.get("MIXSTACK_PYTHONS", "").split(":") if p]
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    pyenv = [str(p) for p in sorted(root.glob("versions/*/bin/python"))]
    system = [f"/usr/bin/python3.{minor}" for minor in range(8, 20)]
    return [path for path in (*named, *pyenv, *system) if os.access(path, os.X_OK)]


def _in_trees() -> Iterator[tuple[Path, str]]:
    trees, name = (TREES / "debug", r"python3\.[0-9]+d") if DEBUG else (TREES, r"python3\.[0-9]+")
    for path in sorted(trees.glob("*/usr/bin/python3.*")):
        if re.fullmatch(name, path.name):
            yield path.parent.parent.parent, f"/usr/bin/{path.name}"


def _ask(tree: Path | None, path: str) -> Build | None:
    """What an interpreter says of itself; None if it does not run or is no default CPython."""
    try:
        answer = subprocess.run(
            [*_entry(tree), path, "-I" if "python2" not in path else "-E", "-c", _PROBE],
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
    static = b"PyEval_EvalFrameEx\0" in in_tree(tree, path).read_bytes()
    return Build(path, (major, minor, micro), in_tree(tree, include), static, tree)


def _row(name: str, wanted: Callable[[Build], bool], required: bool = True) -> Any:
    """A pytest parameter: the newest build that is wanted, or a skip that says what is missing."""
    matching = [build for build in all_builds() if wanted(build)]
    if matching:
        return pytest.param(matching[-1], id=f"{name}={matching[-1].id}")
    reason = f"no {name} CPython here: `make trees` (as root), or name one in $MIXSTACK_PYTHONS"
    if required and os.environ.get("MIXSTACK_REQUIRE_ALL") == "1":
        raise RuntimeError(reason)
    return pytest.param(None, id=name, marks=pytest.mark.skip(reason=reason))


SUPPORTED: Final = (
    [
        _row("3.8", lambda b: b.minor == (3, 8)),
        _row("3.9", lambda b: b.minor == (3, 9)),
        _row("3.10", lambda b: b.minor == (3, 10)),
        _row("3.11-shared", lambda b: b.minor == (3, 11) and not b.static),
        _row("3.11-static", lambda b: b.minor == (3, 11) and b.static),
        _row("3.12", lambda b: b.minor == (3, 12)),
        _row("3.13", lambda b: b.minor == (3, 13) and b.tree is None),
        _row("3.13-debian", lambda b: b.minor == (3, 13) and b.tree is not None),
        _row("3.14", lambda b: b.minor == (3, 14)),
        _row("3.15", lambda b: b.minor == (3, 15)),
    ]
    if not DEBUG
    else [
        _row("3.11-debug", lambda b: b.minor == (3, 11)),
        _row("3.13-debug", lambda b: b.minor == (3, 13)),
        _row("3.14-debug", lambda b: b.minor == (3, 14)),
        _row("3.15-debug", lambda b: b.minor == (3, 15)),
    ]
)

# No machine has to have these.
UNSUPPORTED: Final = [
    _row("2.7", lambda b: b.minor == (2, 7), required=False),
    _row("3.6", lambda b: b.minor == (3, 6), required=False),
]


def supported(wanted: Callable[[Build], bool]) -> list[Any]:
    """The rows of SUPPORTED that fit, `supported(lambda b: b.trampoline)`, and the missing ones."""
    return [row for row in SUPPORTED if row.values[0] is None or wanted(row.values[0])]
