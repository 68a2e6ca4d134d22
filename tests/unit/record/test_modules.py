"""The registry of mapped files: this process' own, and files that the tests write."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from mixstack.elf import open_elf
from mixstack.model import Module
from mixstack.record.modules import VDSO, LoadedModule, ModuleRegistry
from mixstack.record.roots import Roots
from mixstack.record.tables import TableSpace
from mixstack.symbolize.debug_files import path_by_build_id
from mixstack.target.maps import MapLine
from mixstack.target.process import TargetProcess
from mixstack.unwind.rows import find_row
from tests.unit.symbolize.test_debug_files import split
from tests.unit.unwind.images import cie, elf_image, fde

CIE = cie()
TABLE = CIE + fde(len(CIE), 0x1000, 0x100, b"") + bytes(4)
BUILD_ID = bytes(range(20))


class Process:
    """Just what the registry asks of a process: nobody's files, no vDSO."""

    pid = os.getpid()

    def open_path(self, line: MapLine) -> str:
        return line.path

    def vdso(self) -> bytes | None:
        return None

    def alive(self) -> bool:
        return True


@pytest.fixture
def process() -> TargetProcess:
    return TargetProcess.open(os.getpid())


@pytest.fixture
def registry() -> ModuleRegistry:
    return ModuleRegistry()


def space(rows: int = 1 << 20, pages: int = 1 << 16) -> TableSpace:
    return TableSpace(memoryview(bytearray(rows * 8)), memoryview(bytearray(pages * 8)))


def line_of(path: Path, offset: int = 0, start: int = 0x7000_0000_0000) -> MapLine:
    info = path.stat()
    return MapLine(start, start + 0x1000, "r-xp", offset, info.st_dev, info.st_ino, str(path))


def written(path: Path, eh_frame: bytes | None = TABLE) -> Path:
    path.write_bytes(elf_image(eh_frame, build_id=BUILD_ID))
    return path


def test_all_files_of_a_real_process(process: TargetProcess, registry: ModuleRegistry) -> None:
    lines = [line for line in process.executable_maps() if line.file_path or line.path == VDSO]
    assert len(lines) > 3
    for line in lines:
        loaded = registry.find(process, line)
        assert loaded is not None, line
        assert loaded is registry.find(process, line)
        assert loaded.module.path == (line.file_path or VDSO)
        assert loaded.table is not None
        assert (loaded.path is None) == (line.path == VDSO)
    new = registry.take_new()
    assert len(new) == len({line.path for line in lines})
    assert [m.id for m in new] == list(range(len(new)))
    assert registry.take_new() == []


def test_a_closed_registry_holds_no_file(process: TargetProcess, registry: ModuleRegistry) -> None:
    found = [registry.find(process, line) for line in process.executable_maps()]
    paths = [loaded.path for loaded in found if loaded is not None and loaded.path is not None]
    assert paths
    assert all(os.path.lexists(path) for path in paths)
    registry.close()
    assert not any(os.path.lexists(path) for path in paths)


def test_the_bias_leads_to_the_symbol(process: TargetProcess, registry: ModuleRegistry) -> None:
    """`PyLong_Type`'s neighbour in text: an address that we know by ctypes, and by the file."""
    import ctypes

    from elftools.elf.elffile import ELFFile

    function = ctypes.cast(ctypes.pythonapi.PyLong_AsLong, ctypes.c_void_p).value
    assert function is not None
    (line,) = [m for m in process.executable_maps() if m.start <= function < m.end]
    loaded = registry.find(process, line)
    assert loaded is not None
    assert loaded.table is not None
    bias = loaded.bias(line)
    assert bias is not None
    with open(line.path, "rb") as file:
        symbols = ELFFile(file).get_section_by_name(".dynsym").get_symbol_by_name("PyLong_AsLong")
        assert symbols[0]["st_value"] == function - bias
    assert find_row(loaded.table, function - bias) is not None


def test_anonymous_memory_has_no_module(registry: ModuleRegistry, process: TargetProcess) -> None:
    for path, inode in (("", 0), ("[heap]", 0), ("/memfd:x (deleted)", 0)):
        assert registry.find(process, MapLine(0, 1, "r-xp", 0, 0, inode, path)) is None
    assert registry.take_new() == []


@pytest.mark.parametrize("content", [b"", b"no ELF file", b"\x7fELF", elf_image(TABLE)[:70]])
def test_a_file_that_is_no_elf(registry: ModuleRegistry, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    before = len(os.listdir("/proc/self/fd"))
    found = registry.find(Process(), line_of(path))  # type: ignore[arg-type]
    assert found is None or found.table is None
    if found is None:
        assert registry.take_new() == []
        assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_without_a_table(registry: ModuleRegistry, tmp_path: Path) -> None:
    loaded = registry.find(Process(), line_of(written(tmp_path / "f", None)))  # type: ignore[arg-type]
    assert loaded is not None
    assert loaded.table is None
    for _ in range(2):
        assert registry.place(loaded, space()) is None
    assert registry.without_table == 1


@pytest.mark.parametrize("preloaded", [False, True])
def test_the_rules_of_a_debug_file_beside_it(
    registry: ModuleRegistry, tmp_path: Path, preloaded: bool
) -> None:
    library, _ = split(tmp_path)
    line = line_of(library)
    if preloaded:
        registry.preload(str(library))
    assert has_rules(registry.find(Process(), line))  # type: ignore[arg-type]
    (tmp_path / "case.debug").unlink()
    other = ModuleRegistry()
    assert not has_rules(other.find(Process(), line))  # type: ignore[arg-type]


def test_the_rules_of_a_debug_file_in_the_targets_root(
    registry: ModuleRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library, _ = split(tmp_path)
    with open_elf(str(library)) as elf:
        build_id = elf.build_id
    assert build_id is not None
    root = tmp_path / "root"
    placed = root / path_by_build_id(build_id).lstrip("/")
    placed.parent.mkdir(parents=True)
    (tmp_path / "case.debug").rename(placed)
    monkeypatch.setattr(
        Roots, "of", lambda self, pid: (str(root), "/") if pid == Process.pid else ()
    )
    assert has_rules(registry.find(Process(), line_of(library)))  # type: ignore[arg-type]


def has_rules(loaded: LoadedModule | None) -> bool:
    """Whether the table knows the frame of `g`, whose array is larger than any stub's."""
    if loaded is None or loaded.table is None:
        return False
    segments = [s for s in loaded.segments if s.executable]
    rows = (
        find_row(loaded.table, at)
        for s in segments
        for at in range(s.vaddr, s.vaddr + s.memory_size)
    )
    return any(row is not None and row.cfa_offset >= 36 for row in rows)


def test_the_same_file_is_read_once(registry: ModuleRegistry, tmp_path: Path) -> None:
    path = written(tmp_path / "lib.so")
    loaded = registry.find(Process(), line_of(path))  # type: ignore[arg-type]
    path.write_bytes(b"")
    other_line = line_of(path, start=0x1000)
    assert registry.find(Process(), other_line) is loaded  # type: ignore[arg-type]
    assert registry.take_new() == [Module(0, str(path), BUILD_ID.hex())]


def test_a_file_put_in_its_place_is_another(registry: ModuleRegistry, tmp_path: Path) -> None:
    path = written(tmp_path / "lib.so")
    first = registry.find(Process(), line_of(path))  # type: ignore[arg-type]
    os.replace(written(tmp_path / "new"), path)
    second = registry.find(Process(), line_of(path))  # type: ignore[arg-type]
    assert first is not None
    assert second is not None
    assert (first.module.id, second.module.id) == (0, 1)


def test_the_file_can_be_read_after_it_is_gone(registry: ModuleRegistry, tmp_path: Path) -> None:
    path = written(tmp_path / "lib.so")
    content = path.read_bytes()
    loaded = registry.find(Process(), line_of(path))  # type: ignore[arg-type]
    path.unlink()
    assert loaded is not None
    assert loaded.path is not None
    assert Path(loaded.path).read_bytes() == content


def test_a_table_is_placed_once(registry: ModuleRegistry, tmp_path: Path) -> None:
    loaded = registry.find(Process(), line_of(written(tmp_path / "lib.so")))  # type: ignore[arg-type]
    assert loaded is not None
    assert loaded.table is not None
    memory = space()
    placed = registry.place(loaded, memory)
    assert placed is not None
    used = memory.used_bytes
    assert registry.place(loaded, memory) == placed
    assert memory.used_bytes == used
    assert used == len(loaded.table.rows) + len(loaded.table.pages)
    assert registry.without_table == 0


def test_a_table_that_does_not_fit_is_counted(registry: ModuleRegistry, tmp_path: Path) -> None:
    loaded = registry.find(Process(), line_of(written(tmp_path / "lib.so")))  # type: ignore[arg-type]
    assert loaded is not None
    assert registry.place(loaded, space(1, 1)) is None
    assert registry.without_table == 1


def test_a_preloaded_file_is_the_mapped_one(
    registry: ModuleRegistry, process: TargetProcess
) -> None:
    lines = [
        line for line in process.executable_maps() if line.path == os.path.realpath(sys.executable)
    ]
    lines += [line for line in process.executable_maps() if "libc.so" in line.path]
    for line in lines:
        registry.preload(line.path)
    assert len(registry.take_new()) == len(lines)
    for line in lines:
        assert registry.find(process, line) is not None
    assert registry.take_new() == []


def test_preload_of_nothing(registry: ModuleRegistry, tmp_path: Path) -> None:
    registry.preload(str(tmp_path / "none"))
    assert registry.take_new() == []
