"""The tables on disk: what is taken from there, what is not, and what others cannot do with it."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixstack.elf import BadElf, Elf
from mixstack.unwind import cache
from mixstack.unwind.cache import load_table
from mixstack.unwind.rows import Row, RowKind, UnwindTable, find_row

from .images import cie, elf_image, entry, fde

BUILD_ID = bytes(range(20))
NAME = BUILD_ID.hex() + ".unwind"


def elf(instructions: bytes = b"\x44\x0e\x10", build_id: bytes | None = BUILD_ID) -> Elf:
    data = cie() + fde(len(cie()), 0x1000, 16, instructions)
    return Elf(memoryview(elf_image(data, build_id=build_id)), "case")


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what is compiled from here on, in order."""
    names: list[str] = []
    compile_table: Callable[[Elf, bytes], UnwindTable] = cache.compile_table

    def counting(elf: Elf, debug_frame: bytes) -> UnwindTable:
        names.append(elf.name)
        return compile_table(elf, debug_frame)

    monkeypatch.setattr(cache, "compile_table", counting)
    return names


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "a" / "cache")


def test_the_second_time_it_comes_from_disk(folder: str, compiled: list[str]) -> None:
    first = load_table(elf(), folder)
    second = load_table(elf(), folder)
    assert first == second
    assert compiled == ["case"]


def test_files_and_folder_are_private(folder: str) -> None:
    before = os.umask(0)
    try:
        load_table(elf(), folder)
    finally:
        os.umask(before)
    assert os.listdir(folder) == [NAME]
    assert os.stat(folder).st_mode & 0o777 == 0o700
    assert os.stat(Path(folder, NAME)).st_mode & 0o777 == 0o600


def test_without_a_folder_it_is_compiled(compiled: list[str]) -> None:
    assert load_table(elf(), None) == load_table(elf(), None)
    assert compiled == ["case", "case"]


@pytest.mark.parametrize("build_id", [None, b"", bytes(200)], ids=["none", "empty", "absurd"])
def test_without_a_usable_build_id_the_digest_is_its_name(
    folder: str, compiled: list[str], build_id: bytes | None
) -> None:
    first = load_table(elf(build_id=build_id), folder)
    assert load_table(elf(build_id=build_id), folder) == first
    assert compiled == ["case"]
    load_table(elf(b"\x44\x0e\x20", build_id=build_id), folder)
    assert compiled == ["case", "case"]
    assert len(os.listdir(folder)) == 2


def test_a_stolen_build_id_does_not_bring_other_rules(folder: str, compiled: list[str]) -> None:
    stolen = load_table(elf(b"\x44\x0e\x20"), folder)
    own = load_table(elf(), folder)
    assert own != stolen
    assert own == load_table(elf(), None)
    assert compiled == ["case"] * 3


def test_a_debug_file_that_is_installed_later_or_removed_compiles_again(
    folder: str, compiled: list[str]
) -> None:
    """It has the build-id of the file."""
    cie_body = struct.pack("<I", 0xFFFFFFFF) + b"\x01\0\x01\x78\x10\x0c\x07\x08\x90\x01"
    frames = entry(cie_body) + entry(struct.pack("<IQQ", 0, 0x1100, 16) + b"\x0e\x20")
    frames += entry(struct.pack("<IQQ", 0, 0x1000, 16) + b"\x0e\x20")
    alone = load_table(elf(), folder)
    both = load_table(elf(), folder, frames)
    assert load_table(elf(), folder, frames) == both
    assert compiled == ["case"] * 2
    assert find_row(alone, 0x1100) == Row(0x10, RowKind.NONE)
    assert find_row(both, 0x1100) == Row(0x100, RowKind.RSP, 32)
    assert find_row(both, 0x1008) == find_row(alone, 0x1008), "the file's own counts more"
    assert load_table(elf(), folder) == alone
    assert compiled == ["case"] * 3


def test_a_new_version_of_the_compiler_compiles_again(
    folder: str, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    load_table(elf(), folder)
    monkeypatch.setattr(cache, "COMPILER_VERSION", cache.COMPILER_VERSION + 1)
    load_table(elf(), folder)
    load_table(elf(), folder)
    assert compiled == ["case", "case"]


def test_a_new_format_compiles_again(
    folder: str, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    load_table(elf(), folder)
    monkeypatch.setattr(cache, "_FORMAT", 99)
    load_table(elf(), folder)
    assert compiled == ["case", "case"]


def good_file() -> bytes:
    return cache._encode(load_table(elf(), None), cache._digest(elf(), b""))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.integers(0, len(good_file()) - 1).map(lambda size: good_file()[:size]),
        st.tuples(st.integers(0, len(good_file()) - 1), st.integers(1, 255)).map(
            lambda at: bytes(b ^ at[1] if i == at[0] else b for i, b in enumerate(good_file()))
        ),
        st.binary(min_size=1, max_size=9).map(lambda tail: good_file() + tail),
    )
)
def test_a_damaged_file_is_replaced(tmp_path: Path, data: bytes) -> None:
    folder = tmp_path / "damaged"
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / NAME).write_bytes(data)
    assert load_table(elf(), str(folder)) == load_table(elf(), None)
    assert (folder / NAME).read_bytes() == good_file()


def test_a_link_in_place_of_the_file_is_not_followed(folder: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"precious")
    os.makedirs(folder, mode=0o700)
    os.symlink(other, Path(folder, NAME))
    assert load_table(elf(), folder) == load_table(elf(), None)
    assert other.read_bytes() == b"precious"
    assert not os.path.islink(Path(folder, NAME))


def test_a_pipe_in_place_of_the_file_does_not_block(folder: str) -> None:
    os.makedirs(folder, mode=0o700)
    os.mkfifo(Path(folder, NAME))
    assert load_table(elf(), folder) == load_table(elf(), None)


def test_a_folder_in_place_of_the_file_leaves_nothing_behind(folder: str) -> None:
    os.makedirs(Path(folder, NAME), mode=0o700)
    assert load_table(elf(), folder) == load_table(elf(), None)
    assert os.listdir(folder) == [NAME]


def test_a_folder_that_is_a_link_is_not_used(tmp_path: Path, compiled: list[str]) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    os.symlink(tmp_path / "real", tmp_path / "link")
    load_table(elf(), str(tmp_path / "link"))
    assert compiled == ["case"]
    assert os.listdir(tmp_path / "real") == []


def test_a_folder_that_others_can_write_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    os.chmod(tmp_path / "open", 0o777)
    load_table(elf(), str(tmp_path / "open"))
    assert os.listdir(tmp_path / "open") == []


def test_a_folder_of_another_user_is_not_used(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    (tmp_path / "theirs").mkdir(mode=0o700)
    os.chown(tmp_path / "theirs", 65534, 65534)
    load_table(elf(), str(tmp_path / "theirs"))
    assert os.listdir(tmp_path / "theirs") == []


@pytest.mark.parametrize("where", ["/proc/no/such", "/dev/null/x", "nul\0byte"])
def test_a_folder_that_cannot_be_made_is_no_error(where: str) -> None:
    assert load_table(elf(), where) == load_table(elf(), None)


def test_a_file_without_rules_is_refused_and_not_kept(folder: str) -> None:
    bad = Elf(memoryview(elf_image(cie(), build_id=BUILD_ID)), "case")
    with pytest.raises(BadElf):
        load_table(bad, folder)
    assert os.listdir(folder) == []


def test_the_folder_has_a_bound_and_the_least_recently_used_goes(
    folder: str, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [bytes([n] * 20) for n in range(4)]
    names = [each.hex() + ".unwind" for each in ids]
    for age, each in zip((300, 200, 100), ids, strict=False):
        load_table(elf(build_id=each), folder)
        moment = time.time() - age
        os.utime(Path(folder, each.hex() + ".unwind"), (moment, moment))
    load_table(elf(build_id=ids[0]), folder)  # used again: now the youngest
    size = Path(folder, names[0]).stat().st_size
    monkeypatch.setattr(cache, "FOLDER_MAX", 3 * size)
    load_table(elf(build_id=ids[3]), folder)
    assert sorted(os.listdir(folder)) == sorted([names[0], names[2], names[3]])
    assert len(compiled) == 4


def test_a_table_that_alone_is_too_large_is_kept(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "FOLDER_MAX", 1)
    load_table(elf(), folder)
    assert os.listdir(folder) == [NAME]


def test_what_killed_writers_left_is_removed_and_what_others_write_is_not(folder: str) -> None:
    os.makedirs(folder, mode=0o700)
    for name, age in ((".old.tmp", 7200), (".new.tmp", 5)):
        Path(folder, name).touch()
        os.utime(Path(folder, name), (time.time() - age, time.time() - age))
    load_table(elf(), folder)
    assert sorted(os.listdir(folder)) == [".new.tmp", NAME]


def test_many_writers_and_evictors_at_once(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = load_table(elf(), folder)
    monkeypatch.setattr(cache, "FOLDER_MAX", 2 * Path(folder, NAME).stat().st_size)
    images = [elf(build_id=bytes([n] * 20)) for n in range(6)]
    with ThreadPoolExecutor(6) as pool:
        tables = list(pool.map(lambda n: load_table(images[n % 6], folder), range(300)))
    assert all(table == expected for table in tables)
    assert all(name.endswith(".unwind") for name in os.listdir(folder))
