"""Compile the call frame information of an ELF file into the table that the probe searches."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import NamedTuple

from mixstack.bpf.wire import PAGE_SHIFT, PAGE_SIZE, RowKind
from mixstack.elf import BadElf, Elf

from .entries import read_entries
from .instructions import Interpreter
from .rows import KIND_SHIFT, PC_MASK, UnwindTable, index_pages

COMPILER_VERSION = 2
"""Counts up whenever the same file would give other rows or pages."""

_CODE_MAX = 1 << 30  # bytes from the first to the last instruction of a file: none comes near
_SECTION_MAX = 1 << 28  # bytes of .eh_frame: the largest known are below 32 MB
_NONE = RowKind.NONE << KIND_SHIFT
_RULE = ~PC_MASK


class CodeRange(NamedTuple):
    """The file's own addresses that a table covers: `base` on a page boundary, `end` exclusive."""

    base: int
    end: int


class _Region(NamedTuple):
    """Code with rules: `[start, stop)` from the table's base, and packed rows from its start."""

    start: int
    stop: int
    rows: array[int]


def compile_table(elf: Elf) -> UnwindTable:
    """The unwind table of a file, from its `.eh_frame`.

    An FDE that is broken, or outside of the executable segments, is left out. Raises BadElf if
    nothing is left, if there is no `.eh_frame`, or if the file's own numbers are absurd.
    """
    code = code_range(elf)
    section = elf.section(".eh_frame")
    if section is None or not section.data:
        raise BadElf(f"{elf.name}: no .eh_frame")
    if len(section.data) > _SECTION_MAX:
        raise BadElf(f"{elf.name}: .eh_frame of {len(section.data)} bytes")
    rows = compile_rows(bytes(section.data), section.vaddr, code)
    if len(rows) == 1:
        raise BadElf(f"{elf.name}: .eh_frame says nothing of the code")
    return UnwindTable(code.base, rows.tobytes(), index_pages(rows, code.end - code.base))


def compile_vdso(data: bytes) -> UnwindTable:
    """The unwind table of the vDSO, from its image in memory. Raises BadElf."""
    return compile_table(Elf(memoryview(data), "[vdso]"))


def code_range(elf: Elf) -> CodeRange:
    """What the executable segments span. Raises BadElf if there is none, or if it is absurd."""
    segments = [s for s in elf.segments if s.executable and s.memory_size > 0]
    if not segments:
        raise BadElf(f"{elf.name}: no executable segment")
    base = min(s.vaddr for s in segments) & -PAGE_SIZE
    end = max(s.vaddr + s.memory_size for s in segments)
    if end - base > _CODE_MAX:
        raise BadElf(f"{elf.name}: code over {end - base} bytes")
    return CodeRange(base, end)


def compile_rows(eh_frame: bytes, vaddr: int, code: CodeRange) -> array[int]:
    """The packed rows for the code, sorted by pc, the first at pc 0.

    Where no FDE speaks there is a row of kind NONE; two neighbours never have the same rule.
    """
    rows = array("Q", [_NONE])
    rule = _NONE  # of the last row
    covered = 0
    for start, stop, relative in _without_overlap(_regions(eh_frame, vaddr, code)):
        if start > covered and rule != _NONE:
            rows.append(_NONE + covered)
            rule = _NONE
        if start == 0:
            rows.pop()
            rule = -1
        skip = 1 if relative[0] == rule else 0
        if relative[-1] & PC_MASK >= stop - start:
            relative = array("Q", [r for r in relative if r & PC_MASK < stop - start])
        rows.extend([r + start for r in relative[skip:]])
        rule = relative[-1] & _RULE
        covered = stop
    pages_end = (code.end - code.base + PAGE_SIZE - 1) >> PAGE_SHIFT << PAGE_SHIFT
    if covered < pages_end and rule != _NONE:
        rows.append(_NONE + covered)
    return rows


def compile_jit(eh_frame: bytes, address: int, code: tuple[int, int]) -> UnwindTable | None:
    """The table of the code at `[start, end)` of a process, from the `.eh_frame` at `address`.

    None if it says nothing of that code.
    """
    start, end = code[0] & -PAGE_SIZE, code[1]
    rows = compile_rows(eh_frame, address, CodeRange(start, end))
    if len(rows) == 1:
        return None
    return UnwindTable(start, rows.tobytes(), index_pages(rows, end - start))


def _regions(eh_frame: bytes, vaddr: int, code: CodeRange) -> Iterator[_Region]:
    """What each sound FDE inside of the code says, sorted by start, then by size."""
    interpreter = Interpreter()
    base, end = code
    for start, size, cie, instructions in read_entries(eh_frame, vaddr):
        if base <= start < end:
            relative = interpreter.rows(cie, instructions)
            if relative is not None:
                yield _Region(start - base, min(start + size, end) - base, relative)


def _without_overlap(regions: Iterator[_Region]) -> Iterator[_Region]:
    """Each region cut where the next one starts: who starts later knows the place better."""
    previous = next(regions, None)
    for region in regions:
        if previous is not None and previous.start < region.start:
            if previous.stop > region.start:
                previous = previous._replace(stop=region.start)
            yield previous
        previous = region
    if previous is not None:
        yield previous
