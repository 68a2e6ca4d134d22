"""Compile the call frame information of an ELF file into the table that the probe searches."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mixstack.bpf.wire import PAGE_SHIFT, PAGE_SIZE, RowKind
from mixstack.elf import BadElf, Elf, Section

from .callees import with_slots
from .entries import Fde, read_entries
from .instructions import Interpreter
from .rows import CODE_MAX, KIND_SHIFT, PC_MASK, SECTION_MAX, UnwindTable, index_pages

COMPILER_VERSION = 3
"""Counts up whenever the same file would give other rows or pages."""

_DEBUG_FRAME = ".debug_frame"
_DEBUG_CIE = b"\xff\xff\xff\xff"
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


def compile_table(elf: Elf, debug_frame: bytes = b"") -> UnwindTable:
    """The unwind table of a file, from its `.eh_frame`, and where that is silent `.debug_frame`.

    debug_frame: that of its debug file, for a file that has none of its own.

    An FDE that is broken, or outside of the executable segments, is left out. Raises BadElf if
    nothing is left, if there is neither section, or if the file's own numbers are absurd.
    """
    code = code_range(elf)
    sections = frame_sections(elf, debug_frame)
    if not sections:
        raise BadElf(f"{elf.name}: no .eh_frame")
    if any(len(section.data) > SECTION_MAX for section in sections.values()):
        raise BadElf(f"{elf.name}: call frame information of absurd size")
    entries: list[Fde] = []
    for name, section in sections.items():
        more = read_entries(bytes(section.data), section.vaddr, debug=name == _DEBUG_FRAME)
        entries = _with_others(entries, more) if entries else more
    rows = compile_rows(entries, code)
    if len(rows) == 1:
        raise BadElf(f"{elf.name}: its call frame information says nothing of the code")
    rows = with_slots(rows, code.base, elf, {fde.start: fde for fde in entries})
    return UnwindTable(code.base, rows.tobytes(), index_pages(rows, code.end - code.base))


def frame_sections(elf: Elf, debug_frame: bytes = b"") -> dict[str, Section]:
    """The sections that a table is made from, by name, the one that counts more first.

    debug_frame: as `compile_table` takes it.
    """
    found = {name: elf.section(name) for name in (".eh_frame", _DEBUG_FRAME)}
    if found[_DEBUG_FRAME] is None:
        found[_DEBUG_FRAME] = Section(0, memoryview(debug_frame), 0, 0, compressed=False)
    return {
        name: section
        for name, section in found.items()
        if section is not None
        and len(section.data) >= 8
        # A section that is compressed begins with something else than a CIE.
        and (name != _DEBUG_FRAME or section.data[4:8] == _DEBUG_CIE)
    }


def _with_others(entries: list[Fde], others: Iterable[Fde]) -> list[Fde]:
    """The FDEs, and those of `others` that begin where none of them speaks; sorted again."""
    starts = [fde.start for fde in entries]

    def is_silent(fde: Fde) -> bool:
        before = bisect_right(starts, fde.start) - 1
        return before < 0 or fde.start >= entries[before].start + entries[before].size

    more = [fde for fde in others if is_silent(fde)]
    return sorted([*entries, *more], key=lambda fde: (fde.start, fde.size)) if more else entries


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
    if end - base > CODE_MAX:
        raise BadElf(f"{elf.name}: code over {end - base} bytes")
    return CodeRange(base, end)


def compile_rows(entries: Iterable[Fde], code: CodeRange) -> array[int]:
    """The packed rows for the code, sorted by pc, the first at pc 0.

    Where no FDE speaks there is a row of kind NONE; two neighbours never have the same rule.
    """
    rows = array("Q", [_NONE])
    rule = _NONE  # of the last row
    covered = 0
    for start, stop, relative in _without_overlap(_regions(entries, code)):
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
    rows = compile_rows(read_entries(eh_frame, address), CodeRange(start, end))
    if len(rows) == 1:
        return None
    return UnwindTable(start, rows.tobytes(), index_pages(rows, end - start))


def _regions(entries: Iterable[Fde], code: CodeRange) -> Iterator[_Region]:
    """What each sound FDE inside of the code says, sorted by start, then by size."""
    interpreter = Interpreter()
    base, end = code
    for start, size, cie, instructions in entries:
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
