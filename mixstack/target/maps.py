"""The lines of /proc/PID/maps (proc(5)) as values."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

_PROCESSES_KEPT: Final = 64
_DELETED: Final = " (deleted)"
_EXECUTABLE: Final = re.compile(rb"^\S+ ..x.*$", re.MULTILINE)


class MapLine(NamedTuple):
    """One mapping `[start, end)`; `permissions` as in "r-xp", `offset` in bytes into the file.

    `device` compares with `st_dev`. `path` is what the kernel prints: "" for anonymous memory,
    "[vdso]" and the like for the kernel's own, with " (deleted)" behind a file that is gone.
    Bytes that are not UTF-8 are kept as surrogates, as `os.fsdecode` does.
    """

    start: int
    end: int
    permissions: str
    offset: int
    device: int
    inode: int
    path: str

    @property
    def executable(self) -> bool:
        return "x" in self.permissions

    @property
    def file_path(self) -> str | None:
        """The path without the mark of a deleted file, or None where no file is mapped."""
        if self.inode == 0 or not self.path.startswith("/"):
            return None
        return self.path.removesuffix(_DELETED)


def parse_maps(text: bytes) -> tuple[MapLine, ...]:
    """All lines of a maps file; a line that is not of its form (cut off, say) is left out."""
    lines = (_parse_line(line) for line in text.split(b"\n"))
    return tuple(line for line in lines if line is not None)


def parse_executable_maps(text: bytes) -> tuple[MapLine, ...]:
    """The executable ones of `parse_maps`: one line in five, and read again every second."""
    return _parsed(b"\n".join(_EXECUTABLE.findall(text)))


# Every second they are the same.
_parsed = functools.lru_cache(maxsize=_PROCESSES_KEPT)(parse_maps)


def load_bias(
    segments: Iterable[tuple[int, int, int]], line: MapLine, page: int = 4096
) -> int | None:
    """Where a file was loaded: address in the process = the file's own address + bias.

    segments: (vaddr, file offset, file size) of the PT_LOAD headers that the line may show, in
    bytes. None if the line starts inside none of them. The loader maps from the page that holds
    a segment's first byte, so the line may begin before the segment.
    """
    for vaddr, offset, file_size in segments:
        if offset & -page <= line.offset < offset + file_size:
            return line.start - (vaddr + line.offset - offset)
    return None


def _parse_line(line: bytes) -> MapLine | None:
    fields = line.split(None, 5)
    if len(fields) < 5:
        return None
    try:
        start, end = (int(part, 16) for part in fields[0].split(b"-"))
        major, minor = (int(part, 16) for part in fields[3].split(b":"))
        return MapLine(
            start,
            end,
            fields[1].decode("ascii"),
            int(fields[2], 16),
            os.makedev(major, minor),
            int(fields[4]),
            os.fsdecode(fields[5].replace(rb"\012", b"\n")) if len(fields) == 6 else "",
        )
    except (ValueError, OverflowError):
        return None
