"""The house as a test: which part may import which, who may touch the world, how large a module is.

Parts are the folders and single modules of the package. The line runs record -> capture ->
symbolize -> merge -> export; `model`, `errors` and `elf` are known to all and know nobody.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mixstack import errors

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "mixstack"
LONGEST = 400  # lines: where a module asks to be two

# part -> what it may import of ours, besides itself: whole parts, or single modules by full name
ARROWS: dict[str, set[str]] = {
    "": set(),  # mixstack/__init__.py
    "__main__": {"cli.main"},
    "model": set(),
    "errors": set(),
    "elf": set(),
    "collector": set(),
    "beside": set(),
    "columns": {"model"},
    "privileges": set(),
    "bpf": {"errors", "privileges", "beside"},
    "elf_names": {"elf"},
    "compiled": {"errors", "bpf.wire"},
    "unwind": {"elf", "elf_names", "compiled", "bpf.wire"},  # the rows are the probe's structs
    "target": {"elf", "elf_names", "errors", "bpf.wire"},  # so are the layouts
    # samples are stored as the probe sent them
    "capture": {
        "model",
        "jit.model",
        "columns",
        "compiled",
        "errors",
        "collector",
        "bpf.wire",
    },
    "jit": {"elf"},
    "symbolize": {"model", "elf", "jit", "compiled"},
    "merge": {"model", "columns", "compiled"},
    "export": {"model"},
    "record": {
        "",
        "beside",
        "collector",
        "model",
        "errors",
        "elf",
        "elf_names",
        "bpf",
        "compiled",
        "unwind",
        "target",
        "capture.writer",
        "privileges",
        "jit",
        "symbolize.debug_files",
        "symbolize.kernel",
        "symbolize.record_side",
        "symbolize.native",
        "symbolize.rooted",
    },
    "doctor": {
        "errors",
        "privileges",
        "bpf",
        "target",
        "record.launch",
        "record.modules",
    },
    "cli": {
        "",
        "doctor",
        "privileges",
        "model",
        "errors",
        "record.options",
        "record.session",
        "collector",
        "capture.reader",
        "symbolize.names",
        "symbolize.offline",
        "merge.profile",
        "export.speedscope",
        "export.collapsed",
    },
}

# Values in, values out: no file, no process, no clock, no terminal.
PURE = (
    "model",
    "errors",
    "elf_names",
    "jit",
    "merge",
    "export",
    "unwind",
    "symbolize",
    "capture.layout",
)
IMPURE = {
    "symbolize.kernel": "reads the kernel's own symbol table",
    "symbolize.record_side": "opens the files whose symbols are wanted",
    "symbolize.offline": "the same, for a capture that was cut off",
    "symbolize.rooted": "opens a file below a root folder",
    "symbolize.debug_files": "looks for the debug files of a file",
    "symbolize.native": "opens the files whose source lines are wanted",
}
WORLD = {
    "os",
    "io",
    "sys",
    "time",
    "mmap",
    "ctypes",
    "fcntl",
    "pathlib",
    "random",
    "secrets",
    "shutil",
    "signal",
    "socket",
    "subprocess",
    "tempfile",
    "threading",
    "urllib",
}
READS_THE_ENVIRONMENT = {
    ("cli.main", "main"),  # MIXSTACK_DEBUG
    ("bpf.libbpf", "__init__"),  # MIXSTACK_DEBUG
    ("bpf.bcc", "_quiet"),  # the same
    ("bpf.bcc", "_kernel_source"),  # bcc is told so
    ("cli.record", "record"),  # SUDO_UID and its like; what CMD inherits
    ("cli.output", "open_output"),  # SUDO_UID and its like
}


@dataclass(frozen=True)
class Source:
    """A module: `name` without the package, "merge.splice"; `part`, "merge"."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def part(self) -> str:
        return self.name.partition(".")[0]


def _sources() -> Iterator[Source]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        yield Source(name, path, ast.parse(path.read_text()))


SOURCES = tuple(_sources())
NAMES = {source.name for source in SOURCES}
EACH_MODULE = pytest.mark.parametrize("source", SOURCES, ids=lambda s: s.name or "mixstack")


def imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Full dotted names of all that is imported; `package` is where relative imports start."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*above, node.module or ""] if node.level else [node.module or ""])
            for alias in node.names:
                # `from mixstack.bpf import wire` names a module, `from ... import Elf` does not
                inside = f"{base}.{alias.name}".strip(".")
                yield inside if inside.removeprefix("mixstack.") in NAMES else base.rstrip(".")


def our_imports(source: Source) -> set[str]:
    is_package = source.path.name == "__init__.py"
    full = f"mixstack.{source.name}".rstrip(".")
    package = full if is_package else full.rpartition(".")[0]
    found = imports(source.tree, package)
    ours = {n for n in found if n == "mixstack" or n.startswith("mixstack.")}
    return {n.removeprefix("mixstack").lstrip(".") for n in ours}


def reachable(*starts: str) -> set[str]:
    """All modules of ours that importing `starts` brings in, by whatever way."""
    by_name = {source.name: source for source in SOURCES}
    seen: set[str] = set()
    waiting = list(starts)
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += our_imports(by_name[name])
    return seen


def calls(source: Source) -> Iterator[tuple[str, int]]:
    """(dotted name of what is called, line)."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node.lineno


@EACH_MODULE
def test_imports_follow_the_arrows(source: Source) -> None:
    allowed = ARROWS[source.part] | {source.part}
    wrong = {
        name
        for name in our_imports(source)
        if name not in allowed and name.partition(".")[0] not in allowed
    }
    assert not wrong, f"{source.name} may not import {wrong}: see ARROWS"


def test_every_arrow_is_used() -> None:
    for part, allowed in ARROWS.items():
        used = set().union(*(our_imports(s) for s in SOURCES if s.part == part))
        for target in allowed:
            assert any(u == target or u.startswith(f"{target}.") for u in used), (part, target)


def test_the_probe_and_the_join_never_meet() -> None:
    for source in SOURCES:
        parts = {name.partition(".")[0] for name in our_imports(source)}
        assert not {"bpf", "merge"} <= parts, source.name
    joined = reachable("merge.profile", "merge.splice", "export.speedscope", "export.collapsed")
    parts = {name.partition(".")[0] for name in joined}
    assert parts <= {"merge", "export", "model", "columns", "compiled", "errors"}


def test_right_of_the_capture_nothing_needs_a_kernel_or_a_target() -> None:
    reached = reachable("capture.reader", "symbolize.names", "symbolize.offline", "merge.profile")
    live = {n for n in reached if n.partition(".")[0] in ("record", "target", "unwind", "bpf")}
    assert live <= {"bpf.wire"}, live


def test_the_offline_half_loads_without_the_live_one() -> None:
    program = (
        "import sys, mixstack.capture.reader, mixstack.symbolize.names, mixstack.merge.profile,"
        " mixstack.export.speedscope\n"
        "print(*sorted(n for n in sys.modules if n.startswith('mixstack.')))"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    parts = {n.split(".")[1] for n in loaded.stdout.split()}
    assert parts == {
        "capture",
        "jit",
        "symbolize",
        "merge",
        "export",
        "model",
        "columns",
        "collector",
        "compiled",
        "errors",
        "bpf",
    }
    assert {n for n in loaded.stdout.split() if ".bpf" in n} == {
        "mixstack.bpf",
        "mixstack.bpf.wire",
    }


def test_the_command_line_loads_a_stage_only_when_it_is_asked_for() -> None:
    program = "import sys, mixstack.cli.main; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    ours = {n for n in loaded.stdout.split() if n.startswith("mixstack.")}
    outside = {n for n in ours if not n.startswith("mixstack.cli")}
    assert "mixstack.cli.record" in ours
    assert outside <= {
        "mixstack.errors",
        "mixstack.model",
        "mixstack.record",
        "mixstack.record.options",
    }


def _is_pure(source: Source) -> bool:
    named = source.part in PURE or source.name in PURE
    return named and source.name not in IMPURE


@pytest.mark.parametrize("source", [s for s in SOURCES if _is_pure(s)], ids=lambda s: s.name)
def test_the_core_does_no_io(source: Source) -> None:
    touched = {n.partition(".")[0] for n in imports(source.tree, "") if n != "os.path"} & WORLD
    assert not touched, f"{source.name} imports {touched}"
    beyond_paths = {
        ast.unparse(node)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
        and node.attr != "path"
    }
    looks = {"exists", "isfile", "isdir", "realpath", "stat", "getsize", "samefile", "expanduser"}
    called = {name for name, _ in calls(source)}
    assert not beyond_paths
    assert not called & (
        {"open", "input", "print", "exec", "eval"} | {f"os.path.{x}" for x in looks}
    )


def test_each_exception_from_purity_is_one() -> None:
    """An entry of IMPURE that no longer does I/O, or no longer exists, is taken out."""
    by_name = {source.name: source for source in SOURCES}
    for name in IMPURE:
        source = by_name[name]
        used = {n.partition(".")[0] for n in imports(source.tree, "")} & WORLD
        opens = {name for name, _ in calls(source)} & {"open", "open_elf"}
        takes_opener = "open_elf" in ast.unparse(source.tree)
        assert used or opens or takes_opener, name


@EACH_MODULE
def test_only_the_command_line_prints_and_exits(source: Source) -> None:
    for name, line in calls(source):
        if source.part != "cli":
            assert name not in ("print", "sys.exit", "exit", "quit"), f"line {line}"
            assert not name.startswith(("sys.stdout", "sys.stderr", "click.echo")), f"line {line}"
        assert name != "print", f"line {line}"


def test_the_environment_is_read_in_few_places() -> None:
    found: set[tuple[str, str]] = set()
    for source in SOURCES:
        for function in ast.walk(source.tree):
            if isinstance(function, ast.FunctionDef):
                text = ast.unparse(function)
                if "os.environ" in text or "os.getenv" in text:
                    found.add((source.name, function.name))
    assert found == READS_THE_ENVIRONMENT


@EACH_MODULE
def test_a_module_has_one_purpose_and_says_which(source: Source) -> None:
    lines = len(source.path.read_text().splitlines())
    assert lines <= LONGEST, f"{lines} lines: which two things are in it?"
    said = ast.get_docstring(source.tree)
    assert said, "no docstring"
    assert source.path.stem not in ("utils", "helpers", "misc", "common")


SELF_EVIDENT = 8  # lines: below, the name of a function says it all


@EACH_MODULE
def test_what_is_public_has_a_docstring(source: Source) -> None:
    if source.name == "errors":
        return  # its tree, at the top, describes each class
    classes = (node for node in ast.walk(source.tree) if isinstance(node, ast.ClassDef))
    for owner in [source.tree, *(c for c in classes if not c.name.startswith("_"))]:
        for node in ast.iter_child_nodes(owner):
            if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
                continue
            if source.name == "capture.records" and node.name.startswith(("encode_", "decode_")):
                continue  # pairs, each a list of fields; docs/format.md describes them
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= SELF_EVIDENT or ast.get_docstring(node), f"{node.name}: no docstring"


@EACH_MODULE
def test_no_failure_is_swallowed(source: Source) -> None:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}: bare except"
            caught = ast.unparse(node.type)
            if caught in ("Exception", "BaseException"):
                # `beside` raises it where the result is asked for.
                last = source.name in ("cli.main", "beside")
                handled = last or isinstance(node.body[-1], ast.Raise)
                assert handled, f"line {node.lineno}: {caught} is caught and dropped"


def _errors(root: type[errors.MixstackError]) -> Iterator[type[errors.MixstackError]]:
    for child in root.__subclasses__():
        yield child
        yield from _errors(child)


ERRORS = sorted(set(_errors(errors.MixstackError)), key=lambda kind: kind.__name__)
LEAVES = [kind for kind in ERRORS if not kind.__subclasses__()]


@pytest.mark.parametrize("kind", LEAVES, ids=lambda kind: kind.__name__)
def test_an_error_has_a_hint_and_an_exit_code_of_its_own(
    kind: type[errors.MixstackError],
) -> None:
    assert kind.default_hint
    assert "exit_code" in vars(kind)
    sharing = {other for other in ERRORS if other.exit_code == kind.exit_code}
    assert sharing == {kind}


def test_the_tree_of_errors_shows_every_error_with_its_code() -> None:
    tree = errors.__doc__ or ""
    for kind in ERRORS:
        (line,) = (text for text in tree.splitlines() if f" {kind.__name__} " in f"{text} ")
        if kind in LEAVES:
            assert f" {kind.exit_code} " in f"{line} ", kind.__name__


@pytest.mark.parametrize(
    "path",
    [p for p in sorted((PACKAGE / "bpf").iterdir()) if p.suffix in (".c", ".h")],
    ids=lambda path: path.name,
)
def test_the_probe_says_its_licence(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    assert "SPDX-License-Identifier: (MIT OR GPL-2.0)" in first
    assert len(path.read_text().splitlines()) <= LONGEST


def test_the_probe_has_the_form_that_every_kernel_takes() -> None:
    """Tail calls and bounded loops, no calls between functions, no globals: see ARCHITECTURE.md.

    But for the second form of each walk, which only kernels with bpf_loop are given.
    """
    sources = {p.name: p.read_text() for p in sorted((PACKAGE / "bpf").glob("*.[ch]"))}
    for forbidden in ("bpf_loop(", "bpf_for(", "__noinline", "bpf_map_update_elem"):
        found = [name for name, text in sources.items() if forbidden in text]
        # What runs where a process forks is not in an interrupt: no lock of a map is held there.
        # (bcc has a function of that name already; its header gives ours another.)
        allowed = {
            "bpf_map_update_elem": ["bcc.bpf.h", "lives.bpf.h"],
            "bpf_loop(": ["walks.bpf.h"],
        }
        assert found == allowed.get(forbidden, []), forbidden


def test_nothing_names_the_machine_it_was_written_on() -> None:
    homes = ("/" + "root/", "/" + "work/", "/" + "home/")
    kinds = {".py", ".c", ".h", ".md", ".toml", ".mjs", ".json", ".svg"}
    for path in _repository_files():
        if path.suffix in kinds or path.name == "Makefile":
            text = path.read_text()
            found = [home for home in homes if home in text]
            assert not found, f"{path.relative_to(ROOT)}: {found}"


def _repository_files() -> Iterator[Path]:
    for folder in ("mixstack", "tests", "docs", "examples", ".ci"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and not {"node_modules", "__pycache__"} & set(path.parts):
                yield path
    yield from (p for p in sorted(ROOT.iterdir()) if p.is_file())
