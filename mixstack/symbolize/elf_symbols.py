"""Which function of an ELF file covers an address (gabi: symbol table; binding and type: elf.h).

Files come from the target and are untrusted: a corrupt table yields fewer names.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from heapq import heappop, heappush
from itertools import accumulate, pairwise, product
from typing import NamedTuple

from mixstack.elf import Elf

_ENTRY = struct.Struct("<IBBHQQ")  # Elf64_Sym: name, info, other, shndx, value, size
_STT_NOTYPE, _STT_FUNC, _STT_GNU_IFUNC = 0, 2, 10
_STB_LOCAL, _STB_GLOBAL, _STB_WEAK, _STB_GNU_UNIQUE = 0, 1, 2, 10
_SHN_UNDEF, _SHN_LORESERVE, _SHN_XINDEX = 0, 0xFF00, 0xFFFF
_LONGEST_NAME = 1 << 16

_LOCAL, _OTHER, _NAMELESS = 2, 3, 4
_BINDING_ORDER = {_STB_GLOBAL: 0, _STB_GNU_UNIQUE: 0, _STB_WEAK: 1, _STB_LOCAL: _LOCAL}


class _Entry(NamedTuple):
    """A candidate: its range, its rank among bindings, and where its name lies."""

    start: int
    end: int
    binding: int
    table: int
    name_at: int


class _Unsized(NamedTuple):
    """A global function without a size, as hand-written assembler leaves them."""

    start: int
    section: int
    table: int
    name_at: int


class SymbolTable:
    """The functions of one file as disjoint ranges: where they overlap, the later start counts.

    Built with `of`; addresses are the file's own. It keeps the file's string tables mapped.
    """

    def __init__(
        self,
        starts: array[int],
        ends: array[int],
        names: array[int],
        strings: tuple[memoryview, ...],
    ) -> None:
        self._starts = starts
        self._ends = ends
        self._names = names  # table index in the upper half, offset in the lower
        self._strings = strings

    def __len__(self) -> int:
        return len(self._starts)

    @classmethod
    def of(cls, elf: Elf, *more: Elf) -> SymbolTable:
        """Read `.symtab` and `.dynsym`; a file with neither gives an empty table.

        STT_FUNC and STT_GNU_IFUNC count, and STT_NOTYPE where it has a size and lies in code.
        `more`: files of the same addresses that add to it, such as a separate debug file; where
        the code lies is `elf`'s to say.
        """
        # By the memory, since a debug file holds nothing of the code itself.
        code = sorted((s.vaddr, s.vaddr + s.memory_size) for s in elf.segments if s.executable)
        strings: list[memoryview] = []
        found: dict[tuple[int, int], list[_Entry]] = {}
        unsized: list[_Unsized] = []
        for source, name in product((elf, *more), (".symtab", ".dynsym")):
            section = source.section(name)
            linked = None if section is None else source.section_at(section.link)
            if section is None or linked is None or section.entry_size != _ENTRY.size:
                continue
            strings.append(linked.data)
            sized, without = _candidates(section.data, code, len(strings) - 1)
            for entry in sized:
                found.setdefault((entry.start, entry.end), []).append(entry)
            # Where local symbols were discarded, what follows an unsized function may be another
            # one that lost its name; so its end is unknown. Of another file, the sections are.
            complete = name == ".symtab" and any(entry.binding == _LOCAL for entry in sized)
            if source is elf and complete:
                unsized += without
        entries = [_preferred(aliases, strings) for aliases in found.values()]
        entries += _sized_by_neighbour(elf, unsized, entries)
        entries.sort()
        return cls._of_entries(entries, strings)

    @classmethod
    def _of_entries(cls, entries: list[_Entry], strings: list[memoryview]) -> SymbolTable:
        starts, ends, names = array("Q"), array("Q"), array("Q")
        for start, end, entry in _disjoint(entries, strings):
            starts.append(start)
            ends.append(end)
            names.append(entry.table << 32 | entry.name_at)
        return cls(starts, ends, names, tuple(strings))

    def find(self, vaddr: int) -> tuple[int, int, str] | None:
        """(start, end, name) of the function that covers the file's own address, or None."""
        at = bisect_right(self._starts, vaddr) - 1
        if at < 0 or vaddr >= self._ends[at]:
            return None
        packed = self._names[at]
        name = _string(self._strings[packed >> 32], packed & 0xFFFFFFFF)
        return (self._starts[at], self._ends[at], name) if name else None


def _candidates(
    table: memoryview, code: list[tuple[int, int]], number: int
) -> tuple[list[_Entry], list[_Unsized]]:
    """The functions of a symbol table (the `number`-th), and the global ones without a size."""
    sized: list[_Entry] = []
    unsized: list[_Unsized] = []
    whole = table[: len(table) // _ENTRY.size * _ENTRY.size]
    for name_at, info, _, section, start, size in _ENTRY.iter_unpack(whole):
        kind = info & 0xF
        if kind != _STT_FUNC and kind != _STT_NOTYPE and kind != _STT_GNU_IFUNC:
            continue
        if not name_at or section == _SHN_UNDEF or _SHN_LORESERVE <= section < _SHN_XINDEX:
            continue
        binding = _BINDING_ORDER.get(info >> 4, _OTHER)
        if size:
            for low, high in code:
                if low <= start < high:
                    sized.append(_Entry(start, min(start + size, high), binding, number, name_at))
                    break
        elif kind == _STT_FUNC and binding == 0:
            unsized.append(_Unsized(start, section, number, name_at))
    return sized, unsized


def _string(strings: memoryview, at: int) -> str:
    """The NUL-terminated name at an offset; "" where there is none (outside, or without an end)."""
    size = 128
    while size <= _LONGEST_NAME:
        piece = bytes(strings[at : at + size])
        end = piece.find(b"\0")
        if end >= 0:
            return piece[:end].decode("utf-8", "replace")
        if len(piece) < size:
            return ""
        size *= 4
    return ""


def _rank(entry: _Entry, strings: list[memoryview]) -> tuple[int, int, str]:
    """Which of several names of one address is shown: the least."""
    name = _string(strings[entry.table], entry.name_at)
    return (entry.binding if name else _NAMELESS, len(name) - len(name.lstrip("_")), name)


def _preferred(aliases: list[_Entry], strings: list[memoryview]) -> _Entry:
    if len(aliases) == 1:
        return aliases[0]
    return min(aliases, key=lambda entry: _rank(entry, strings))


def _sized_by_neighbour(elf: Elf, unsized: list[_Unsized], entries: list[_Entry]) -> list[_Entry]:
    """Unsized functions as entries that reach to the next known start or their section's end."""
    if not unsized:
        return []
    borders = sorted({e.start for e in entries} | {u.start for u in unsized})
    ends = dict(pairwise(borders))
    ordered = sorted(entries)
    starts = [e.start for e in ordered]
    reached = list(accumulate((e.end for e in ordered), max))  # by all entries up to each
    out: dict[int, _Entry] = {}
    for u in sorted(unsized):
        section = elf.section_at(u.section)
        before = bisect_right(starts, u.start)
        covered = before > 0 and reached[before - 1] > u.start
        if covered or u.start in out or section is None:
            continue
        section_end = section.vaddr + len(section.data)
        executable = any(
            s.executable and s.vaddr <= u.start < s.vaddr + s.file_size for s in elf.segments
        )
        end = min(ends.get(u.start, section_end), section_end)
        if executable and section.vaddr <= u.start < end:
            out[u.start] = _Entry(u.start, end, 0, u.table, u.name_at)
    return list(out.values())


def _disjoint(entries: list[_Entry], strings: list[memoryview]) -> list[tuple[int, int, _Entry]]:
    """Sorted entries as disjoint pieces: each address belongs to the innermost, the later start."""
    out: list[tuple[int, int, _Entry]] = []
    count = len(entries)
    at = 0
    while at < count:
        entry = entries[at]
        if at + 1 == count or entries[at + 1].start >= entry.end:  # nearly always
            out.append((entry.start, entry.end, entry))
            at += 1
            continue
        active: list[tuple[int, tuple[int, int, str], _Entry]] = []
        position = entry.start
        while active or at < count:
            while at < count and entries[at].start == position:
                heappush(active, (-position, _rank(entries[at], strings), entries[at]))
                at += 1
            while active and active[0][2].end <= position:
                heappop(active)
            if not active:
                break
            inner = active[0][2]
            end = min(inner.end, entries[at].start) if at < count else inner.end
            out.append((position, end, inner))
            position = end
    return out
