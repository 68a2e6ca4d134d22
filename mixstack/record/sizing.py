"""How large the probe's tables must be, from the files that are known before a recording."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from mixstack.bpf.perf import online_cpus
from mixstack.bpf.probe import Sizes
from mixstack.bpf.wire import PAGE_SIZE
from mixstack.elf import BadElf, open_elf
from mixstack.record.options import RecordOptions
from mixstack.record.tables import within
from mixstack.target.maps import MapLine
from mixstack.target.process import TargetProcess
from mixstack.unwind.rows import CODE_MAX, SECTION_MAX

_BYTES_PER_SAMPLE: Final = 2048  # generous; most are 500
_RING_SECONDS: Final = 2
_RING_MIN: Final = 1 << 20
_RING_MAX: Final = 1 << 26
# The tables' memory cannot grow once the probe is loaded: room for libraries that come later.
# Of a command that has yet to start, and of what a process starts, the libraries are not known.
_SPARE_ROWS: Final = 1 << 20
_SPARE_ROWS_OF_OTHERS: Final = 1 << 22
_SPARE_ROWS_OF_ALL: Final = 1 << 23
_MAPPINGS_OF_ALL: Final = 1 << 18
_MAPPINGS: Final = 1 << 16  # of all followed processes together; those that forked share theirs
_ROWS_PER_PAGE: Final = 4  # libraries have 5 and more: the pages do not run out before the rows
# Bytes of call frame information that make a row. Large libraries have 5 to 7, some small ones 4:
# what they need more is taken of the spare.
_BYTES_PER_ROW: Final = 5
_FRAME_SECTIONS: Final = (".eh_frame", ".debug_frame")


def sizes_for(options: RecordOptions, files: Iterable[str]) -> Sizes:
    """Of the files only the headers are read: the probe is loaded while their tables are."""
    pages = rows = 0
    for path in files:
        more_pages, more_rows = _table_of(path)
        pages, rows = pages + more_pages, rows + more_rows
    spare = _SPARE_ROWS_OF_OTHERS if options.command or options.children else _SPARE_ROWS
    if options.everything:
        spare = _SPARE_ROWS_OF_ALL
    pages, rows = within(
        options.table_memory_mb << 20, pages + spare // _ROWS_PER_PAGE, rows + spare
    )
    wanted = options.rate_hz * len(online_cpus()) * _BYTES_PER_SAMPLE * _RING_SECONDS
    wanted = max(_RING_MIN, min(_RING_MAX, wanted))
    if options.buffer_mb is not None:
        wanted = options.buffer_mb << 20
    return Sizes(
        mappings=_MAPPINGS_OF_ALL if options.everything else _MAPPINGS,
        pages=pages,
        rows=rows,
        ring_bytes=1 << (wanted - 1).bit_length(),
    )


def mapped_files(processes: Iterable[TargetProcess]) -> Iterator[str]:
    """A path to each file of which they have code mapped."""
    seen: set[tuple[int, int]] = set()
    for process in processes:
        for line in process.executable_maps():
            if line.file_path is not None and _is_new(line, seen):
                yield process.open_path(line)


def _is_new(line: MapLine, seen: set[tuple[int, int]]) -> bool:
    key = line.device, line.inode
    new = key not in seen
    seen.add(key)
    return new


def _table_of(path: str) -> tuple[int, int]:
    """(pages, rows) that the unwind table of a file is about to have."""
    try:
        with open_elf(path) as elf:
            found = (elf.section(name) for name in _FRAME_SECTIONS)
            size = sum(len(section.data) for section in found if section is not None)
            code = [s for s in elf.segments if s.executable]
            if not code or not size:
                return 0, 0
            start, end = min(s.vaddr for s in code), max(s.vaddr + s.memory_size for s in code)
    except (OSError, BadElf):
        return 0, 0
    if end - start > CODE_MAX or size > SECTION_MAX:
        return 0, 0  # it is refused, and must not take the others' room
    return (end - start) // PAGE_SIZE + 2, size // _BYTES_PER_ROW
