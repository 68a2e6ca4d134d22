"""Separate debug files are found where gdb looks, and believed only if they belong to the file."""

from __future__ import annotations

import lzma
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from mixstack.elf import Elf, open_elf
from mixstack.symbolize import debug_files
from mixstack.symbolize.debug_files import (
    find_debug_file,
    find_shared_file,
    mini_debug_info,
    separate_debug_frame,
)
from mixstack.symbolize.elf_symbols import SymbolTable
from mixstack.symbolize.record_side import tables_of
from tests.unit.symbolize.images import LOCAL, Sym, elf
from tests.unit.symbolize.programs import BUILDS, build, functions_of, tool

PROGRAM = "/opt/bin/program"


class Stripped(NamedTuple):
    """A program without symbols, and its debug file."""

    program: Path
    debug: Path
    build_id: str


@pytest.fixture(scope="module")
def stripped(tmp_path_factory: pytest.TempPathFactory) -> Stripped:
    folder = tmp_path_factory.mktemp("stripped")
    how = next(b for b in BUILDS if b.name == "gcc, DWARF 5")
    program = build(how._replace(command=(*how.command, "-Wl,--build-id")), folder)
    return _strip(program, folder)


@pytest.fixture(scope="module")
def without_id(tmp_path_factory: pytest.TempPathFactory) -> Stripped:
    folder = tmp_path_factory.mktemp("without_id")
    how = next(b for b in BUILDS if b.name == "gcc, DWARF 5")
    program = build(how._replace(command=(*how.command, "-Wl,--build-id=none")), folder)
    return _strip(program, folder)


def _strip(program: Path, folder: Path) -> Stripped:
    debug = folder / "program.debug"
    run("objcopy", "--only-keep-debug", program, debug)
    shutil.copy(program, folder / "whole")
    run("strip", "--strip-all", program)
    run("objcopy", f"--add-gnu-debuglink={debug}", program)
    with open_elf(str(program)) as file:
        return Stripped(program, debug, file.build_id or "")


def run(*command: str | Path) -> None:
    subprocess.run([tool(str(command[0])), *map(str, command[1:])], check=True)


def place(root: Path, path: str, source: Path) -> Path:
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
    return target


def id_path(build_id: str) -> str:
    return f"/usr/lib/debug/.build-id/{build_id[:2]}/{build_id[2:]}.debug"


def found(program: Path, *roots: Path) -> str | None:
    with open_elf(str(program)) as file:
        debug = find_debug_file(file, PROGRAM, tuple(map(str, roots)))
        return debug and debug.path


PLACES = [
    ("beside it", lambda _: "/opt/bin/program.debug"),
    ("in .debug", lambda _: "/opt/bin/.debug/program.debug"),
    ("in the debug folder", lambda _: "/usr/lib/debug/opt/bin/program.debug"),
]


@pytest.mark.parametrize(
    "where",
    [*(p[1] for p in PLACES), lambda s: id_path(s.build_id)],
    ids=[*(p[0] for p in PLACES), "by build-id"],
)
def test_places(stripped: Stripped, tmp_path: Path, where: Callable[[Stripped], str]) -> None:
    assert found(stripped.program, tmp_path) is None
    place(tmp_path, where(stripped), stripped.debug)
    assert found(stripped.program, tmp_path) == where(stripped)


@pytest.mark.parametrize("where", [p[1] for p in PLACES], ids=[p[0] for p in PLACES])
def test_places_by_checksum(
    without_id: Stripped, tmp_path: Path, where: Callable[[Stripped], str]
) -> None:
    placed = place(tmp_path, where(without_id), without_id.debug)
    assert found(without_id.program, tmp_path) == where(without_id)
    with placed.open("ab") as file:
        file.write(b"x")
    assert found(without_id.program, tmp_path) is None, "another checksum"


def test_the_targets_root_comes_first(stripped: Stripped, tmp_path: Path) -> None:
    target, own = tmp_path / "target", tmp_path / "own"
    target.mkdir()
    place(own, id_path(stripped.build_id), stripped.debug)
    assert found(stripped.program, target, own) == id_path(stripped.build_id)
    place(target, "/opt/bin/program.debug", stripped.debug)
    assert found(stripped.program, target, own) == "/opt/bin/program.debug"


def test_of_another_build(stripped: Stripped, without_id: Stripped, tmp_path: Path) -> None:
    for path in (id_path(stripped.build_id), "/opt/bin/program.debug"):
        place(tmp_path, path, without_id.debug)
    assert found(stripped.program, tmp_path) is None


def test_no_way_out_of_the_root(stripped: Stripped, tmp_path: Path) -> None:
    root = tmp_path / "root"
    link = root / id_path(stripped.build_id).lstrip("/")
    link.parent.mkdir(parents=True)
    link.symlink_to(stripped.debug)
    assert found(stripped.program, root) is None


def test_a_pipe_or_a_device_is_no_debug_file(without_id: Stripped, tmp_path: Path) -> None:
    folder = tmp_path / "opt" / "bin"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "program.debug")
    assert found(without_id.program, tmp_path) is None


def test_names_that_lead_elsewhere(without_id: Stripped, tmp_path: Path) -> None:
    """A link names a file, not a path."""
    place(tmp_path, "/opt/program.debug", without_id.debug)
    raw = bytearray(without_id.program.read_bytes())
    at = raw.index(b"program.debug\0")
    raw[at : at + 13] = b"../prog.debug"
    place(tmp_path, "/opt/prog.debug", without_id.debug)
    changed = tmp_path / "changed"
    changed.write_bytes(raw)
    assert found(changed, tmp_path) is None


def test_symbols_of_a_stripped_file(stripped: Stripped, tmp_path: Path) -> None:
    place(tmp_path, id_path(stripped.build_id), stripped.debug)
    with open_elf(str(stripped.program)) as file:
        without, _ = tables_of(file, PROGRAM, ())
        table, _ = tables_of(file, PROGRAM, (str(tmp_path),))
    with open_elf(str(stripped.program.parent / "whole")) as file:
        whole = SymbolTable(file)
    addresses = [a for s, e in functions_of(stripped.program.parent / "whole") for a in range(s, e)]
    assert not any(without.find(a) for a in addresses)
    assert [table.find(a) for a in addresses] == [whole.find(a) for a in addresses]


# --- .gnu_debugdata ---------------------------------------------------------------------------


def test_mini_debug_info(stripped: Stripped, tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    packed.write_bytes(lzma.compress(stripped.debug.read_bytes()))
    program = tmp_path / "program"
    run("objcopy", f"--add-section=.gnu_debugdata={packed}", stripped.program, program)
    with open_elf(str(program)) as file:
        mini = mini_debug_info(file)
        table, _ = tables_of(file, PROGRAM, ())
    assert mini is not None
    assert mini.build_id == stripped.build_id
    (start, end), *_ = functions_of(stripped.program.parent / "whole")
    assert table.find(start) == (start, end, "failed")


@pytest.mark.parametrize(
    "damage",
    [lambda d: d[: len(d) // 2], lambda d: b"", lambda d: b"no LZMA", lambda d: d[:40] + d[44:]],
    ids=["cut", "empty", "other", "a hole"],
)
def test_damaged_mini_debug_info(
    stripped: Stripped, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    packed = tmp_path / "packed"
    packed.write_bytes(damage(lzma.compress(stripped.debug.read_bytes())))
    program = tmp_path / "program"
    run("objcopy", f"--add-section=.gnu_debugdata={packed}", stripped.program, program)
    with open_elf(str(program)) as file:
        tables_of(file, PROGRAM, ())


def test_no_mini_debug_info(stripped: Stripped) -> None:
    with open_elf(str(stripped.program)) as file:
        assert mini_debug_info(file) is None


# --- more than one file -----------------------------------------------------------------------


def image(*symbols: Sym) -> Elf:
    return Elf(memoryview(elf(list(symbols))), "image")


def test_files_add_up() -> None:
    own, other = image(Sym("f", 0x1100, 8)), image(Sym("g", 0x1200, 8))
    table = SymbolTable(own, other)
    assert [table.find(a) for a in (0x1100, 0x1200, 0x1300)] == [
        (0x1100, 0x1108, "f"), (0x1200, 0x1208, "g"), None,
    ]  # fmt: skip


def test_an_end_that_another_file_leaves_open_is_unknown() -> None:
    """Where its sections end is not what the program's do."""
    other = image(Sym("_init", 0x1100, 0), Sym("local", 0x1F00, 8, binding=LOCAL))
    assert SymbolTable(image(Sym("f", 0x1200, 8)), other).find(0x1100) is None


# --- what dwz makes ---------------------------------------------------------------------------


def test_shared_file(stripped: Stripped, tmp_path: Path) -> None:
    shared = place(tmp_path, "/usr/lib/debug/.dwz/shared.debug", stripped.debug)
    link = tmp_path / "link"
    link.write_bytes(b"../.dwz/shared.debug\0" + bytes.fromhex(stripped.build_id))
    debug = tmp_path / "debug"
    (tmp_path / "usr/lib/debug/x").mkdir()
    run("objcopy", f"--add-section=.gnu_debugaltlink={link}", stripped.debug, debug)
    with open_elf(str(debug)) as file:
        named = find_shared_file(file, "/usr/lib/debug/x/f.debug", (str(tmp_path),))
        assert named is not None
        assert named.build_id == stripped.build_id
        shared.unlink()
        assert find_shared_file(file, "/usr/lib/debug/x/f.debug", (str(tmp_path),)) is None


# Without an FDE in .eh_frame, so that the compiler writes .debug_frame.
SILENT = ("-g", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-fno-exceptions")


def split(folder: Path, *options: str) -> tuple[Path, bytes]:
    """A stripped library whose debug file lies beside it, and the `.debug_frame` it had."""
    (folder / "case.c").write_text("int f(int *); int g(int a) { int x[9] = {a}; return f(x); }")
    library, debug = folder / "case.so", folder / "case.debug"
    run("gcc", "-O2", "-shared", "-fPIC", *SILENT, "-o", library, folder / "case.c")
    with open_elf(str(library)) as file:
        section = file.section(".debug_frame")
        assert section is not None
        frames = bytes(section.data)
    run("objcopy", "--only-keep-debug", *options, library, debug)
    run("objcopy", "--strip-all", f"--add-gnu-debuglink={debug}", library)
    return library, frames


def separate(library: Path) -> bytes:
    with open_elf(str(library)) as file:
        return separate_debug_frame(file, str(library), ("/",))


@pytest.mark.parametrize("how", ["none", "zlib", "zlib-gnu", "zstd"])
def test_unwind_information_of_a_debug_file(how: str, tmp_path: Path) -> None:
    library, frames = split(tmp_path, f"--compress-debug-sections={how}")
    assert separate(library) == frames


def test_unwind_information_of_a_file_that_has_its_own_or_none(tmp_path: Path) -> None:
    library, _ = split(tmp_path)
    with open_elf(str(tmp_path / "case.debug")) as whole:
        assert separate_debug_frame(whole, str(library), ("/",)) == b""
    (tmp_path / "case.debug").unlink()
    assert separate(library) == b""


@pytest.mark.parametrize("how", ["none", "zlib"])
def test_unwind_information_of_absurd_size(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library, frames = split(tmp_path, f"--compress-debug-sections={how}")
    monkeypatch.setattr(debug_files, "_LONGEST_FRAME", len(frames) - 1)
    assert separate(library) == b""
