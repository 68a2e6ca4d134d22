"""How large the probe's tables must be, from the files that are known before a recording."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from mixstack.bpf.perf import online_cpus
from mixstack.bpf.probe import Sizes
from mixstack.record.modules import ModuleRegistry
from mixstack.record.options import RecordOptions
from mixstack.record.tables import within
from mixstack.target.process import TargetProcess, running_processes

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


def sizes_for(
    options: RecordOptions,
    files: Iterable[str],
    process: TargetProcess | None,
    registry: ModuleRegistry,
) -> Sizes:
    """Reads the files of the target: `files`, of a command; those of the process, or of all."""
    if options.command:
        for path in files:
            registry.preload(path)
    else:
        for each in [process] if process is not None else running_processes():
            for line in each.executable_maps():
                registry.find(each, line)
    rows, pages = registry.table_sizes()
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
