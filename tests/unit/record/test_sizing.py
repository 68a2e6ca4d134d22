"""The probe's tables are sized by headers alone: are those that the files really have as large?"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mixstack.elf import open_elf
from mixstack.record import sizing
from mixstack.record.options import RecordOptions
from mixstack.record.sizing import mapped_files, sizes_for
from mixstack.target.process import TargetProcess
from mixstack.unwind.cfi import compile_table

ALONE = RecordOptions(os.getpid(), (), children=False)
EMPTY = sizes_for(ALONE, [])


def test_a_process_tables_fit_without_the_spare() -> None:
    """Of libraries and this interpreter, whatever is mapped here."""
    files = list(mapped_files([TargetProcess.open(os.getpid())]))
    assert len(files) > 3
    rows = pages = 0
    for path in files:
        with open_elf(path) as elf:
            table = compile_table(elf)
        rows += len(table.rows) // 8
        pages += len(table.pages) // 8
    sizes = sizes_for(ALONE, files)
    assert rows <= sizes.rows - EMPTY.rows <= 3 * rows
    assert pages <= sizes.pages - EMPTY.pages <= pages + 3 * len(files)


def test_a_file_that_two_processes_map_counts_once() -> None:
    process = TargetProcess.open(os.getpid())
    assert list(mapped_files([process, process])) == list(mapped_files([process]))


@pytest.mark.parametrize("content", [None, b"", b"no ELF"], ids=["missing", "empty", "text"])
def test_what_is_no_library_takes_no_room(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    assert sizes_for(ALONE, [str(path)]) == EMPTY


@pytest.mark.parametrize("bound", ["CODE_MAX", "SECTION_MAX"])
def test_a_file_of_absurd_size_takes_no_room(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    files = list(mapped_files([TargetProcess.open(os.getpid())]))
    monkeypatch.setattr(sizing, bound, 16)
    assert sizes_for(ALONE, files) == EMPTY


def test_what_is_asked_for_is_within_the_memory_that_it_may_take() -> None:
    files = list(mapped_files([TargetProcess.open(os.getpid())]))
    sizes = sizes_for(RecordOptions(os.getpid(), (), table_memory_mb=1), files)
    assert (sizes.rows + sizes.pages) * 8 <= 1 << 20
