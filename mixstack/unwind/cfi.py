"""Compile the call frame information of an ELF file into the table that the probe searches."""

from __future__ import annotations

from typing import Final, NamedTuple

from mixstack.bpf.wire import PAGE_SIZE
from mixstack.compiled.frames import Frames, FrameSection, index_pages
from mixstack.elf import BadElf, Elf, Section

from .rows import CODE_MAX, SECTION_MAX, UnwindTable

_DEBUG_FRAME: Final = ".debug_frame"
_DEBUG_CIE: Final = b"\xff\xff\xff\xff"


class CodeRange(NamedTuple):
    """The file's own addresses that a table covers: `base` on a page boundary, `end` exclusive."""

    base: int
    end: int


def compile_table(elf: Elf, debug_frame: bytes = b"") -> UnwindTable:
    """The unwind table of a file, from its `.eh_frame`, and where that is silent `.debug_frame`.

    debug_frame: that of its debug file, for a file that has none of its own.

    An FDE that is broken, or outside of the executable segments, is left out. Raises BadElf if
    nothing is left, if there is neither section, or if the file's own numbers are absurd.
    """
    code = code_range(elf)
    frames = read_frames(elf, debug_frame)
    rows = frames.rows(*code, elf.code())
    if len(rows) == 8:
        raise BadElf(f"{elf.name}: its call frame information says nothing of the code")
    return UnwindTable(code.base, rows, index_pages(rows, code.end - code.base))


def read_frames(elf: Elf, debug_frame: bytes = b"") -> Frames:
    """The FDEs of a file. Raises BadElf if it has neither section, or one is absurd."""
    sections = _frame_sections(elf, debug_frame)
    if not sections:
        raise BadElf(f"{elf.name}: no .eh_frame")
    if any(len(section.data) > SECTION_MAX for section in sections.values()):
        raise BadElf(f"{elf.name}: call frame information of absurd size")
    return Frames(
        FrameSection(section.data, section.vaddr, name == _DEBUG_FRAME)
        for name, section in sections.items()
    )


def _frame_sections(elf: Elf, debug_frame: bytes = b"") -> dict[str, Section]:
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
        and (name != _DEBUG_FRAME or section.data[4:8].tobytes() == _DEBUG_CIE)
    }


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


def compile_jit(eh_frame: bytes, address: int, code: tuple[int, int]) -> UnwindTable | None:
    """The table of the code at `[start, end)` of a process, from the `.eh_frame` at `address`.

    None if it says nothing of that code.
    """
    start, end = code[0] & -PAGE_SIZE, code[1]
    rows = Frames([FrameSection(eh_frame, address)]).rows(start, end)
    if len(rows) == 8:
        return None
    return UnwindTable(start, rows, index_pages(rows, end - start))
