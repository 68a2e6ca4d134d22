"""Which function of an ELF file covers an address (gabi: symbol table; binding and type: elf.h).

Files come from the target and are untrusted: a corrupt table yields fewer names.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import accumulate, pairwise, product
from typing import NamedTuple

from mixstack.elf import Elf

_ENTRY_SIZE = 24  # Elf64_Sym, as words: name 32 bits, info 8, other 8, shndx 16; value; size
_STT_NOTYPE, _STT_FUNC, _STT_GNU_IFUNC = 0, 2, 10
_STB_LOCAL, _STB_GLOBAL, _STB_WEAK, _STB_GNU_UNIQUE = 0, 1, 2, 10
_SHN_UNDEF, _SHN_LORESERVE, _SHN_XINDEX = 0, 0xFF00, 0xFFFF
_LONGEST_NAME = 1 << 16
_BINDING_SHIFT = 40
_NAME_MASK = (1 << _BINDING_SHIFT) - 1

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
        found = _Found()
        unsized: list[_Unsized] = []
        for source, name in product((elf, *more), (".symtab", ".dynsym")):
            section = source.section(name)
            linked = None if section is None else source.section_at(section.link)
            if section is None or linked is None or section.entry_size != _ENTRY_SIZE:
                continue
            strings.append(linked.data)
            without = found.add(section.data, code, len(strings) - 1)
            # Where local symbols were discarded, what follows an unsized function may be another
            # one that lost its name; so its end is unknown. Of another file, the sections are.
            if source is elf and name == ".symtab" and found.has_local:
                unsized += without
        for entry in _sized_by_neighbour(elf, unsized, found):
            found.append(*entry)
        return cls(*found.disjoint(strings), tuple(strings))

    def find(self, vaddr: int) -> tuple[int, int, str] | None:
        """(start, end, name) of the function that covers the file's own address, or None."""
        at = bisect_right(self._starts, vaddr) - 1
        if at < 0 or vaddr >= self._ends[at]:
            return None
        packed = self._names[at]
        name = _string(self._strings[packed >> 32], packed & 0xFFFFFFFF)
        return (self._starts[at], self._ends[at], name) if name else None


class _Found:
    """The functions of all symbol tables, in columns: a large library has half a million."""

    def __init__(self) -> None:
        self.starts = array("Q")
        self.ends = array("Q")
        self._names = array("Q")  # as in SymbolTable, and the binding above
        self.has_local = False

    def append(self, start: int, end: int, binding: int, table: int, name_at: int) -> None:
        self.starts.append(start)
        self.ends.append(end)
        self._names.append(binding << _BINDING_SHIFT | table << 32 | name_at)

    def add(self, table: memoryview, code: list[tuple[int, int]], number: int) -> list[_Unsized]:
        """Take the functions of a symbol table, the `number`-th; the global ones without a size."""
        unsized: list[_Unsized] = []
        words = table[: len(table) // _ENTRY_SIZE * _ENTRY_SIZE].cast("Q")
        for head, start, size in zip(words[0::3], words[1::3], words[2::3], strict=True):
            name_at, kind, section = head & 0xFFFFFFFF, head >> 32 & 0xF, head >> 48
            if kind != _STT_FUNC and kind != _STT_NOTYPE and kind != _STT_GNU_IFUNC:
                continue
            if not name_at or section == _SHN_UNDEF or _SHN_LORESERVE <= section < _SHN_XINDEX:
                continue
            binding = _BINDING_ORDER.get(head >> 36 & 0xF, _OTHER)
            if size:
                for low, high in code:
                    if low <= start < high:
                        self.append(start, min(start + size, high), binding, number, name_at)
                        self.has_local |= binding == _LOCAL
                        break
            elif kind == _STT_FUNC and binding == 0:
                unsized.append(_Unsized(start, section, number, name_at))
        return unsized

    def disjoint(self, strings: list[memoryview]) -> tuple[array[int], array[int], array[int]]:
        """Starts, ends and names of the pieces, sorted."""
        starts, ends, names = array("Q"), array("Q"), array("Q")
        for cluster in self._clusters():
            if len(cluster) == 1:  # mostly
                (i,) = cluster
                pieces = [(self.starts[i], self.ends[i], self._names[i])]
            else:
                pieces = [
                    (start, end, entry.table << 32 | entry.name_at)
                    for start, end, entry in _disjoint(self._entries(cluster, strings), strings)
                ]
            for start, end, name in pieces:
                starts.append(start)
                ends.append(end)
                names.append(name & _NAME_MASK)
        return starts, ends, names

    def _clusters(self) -> Iterator[list[int]]:
        """The functions in order of their starts, those together that overlap."""
        cluster: list[int] = []
        reached = 0
        for i in sorted(range(len(self.starts)), key=self.starts.__getitem__):
            if cluster and self.starts[i] >= reached:
                yield cluster
                cluster = []
            cluster.append(i)
            reached = max(reached, self.ends[i])
        if cluster:
            yield cluster

    def _entries(self, cluster: list[int], strings: list[memoryview]) -> list[_Entry]:
        """Sorted; of several names of one range one is left."""
        aliases: dict[tuple[int, int], list[_Entry]] = {}
        for i in cluster:
            start, end, name = self.starts[i], self.ends[i], self._names[i]
            binding, table = name >> _BINDING_SHIFT, name >> 32 & 0xFF
            entry = _Entry(start, end, binding, table, name & 0xFFFFFFFF)
            aliases.setdefault((start, end), []).append(entry)
        return sorted(_preferred(of_one, strings) for of_one in aliases.values())


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


def _sized_by_neighbour(elf: Elf, unsized: list[_Unsized], found: _Found) -> list[_Entry]:
    """Unsized functions as entries that reach to the next known start or their section's end."""
    if not unsized:
        return []
    borders = sorted({*found.starts, *(u.start for u in unsized)})
    ends = dict(pairwise(borders))
    ordered = sorted(zip(found.starts, found.ends, strict=True))
    starts = [start for start, _ in ordered]
    reached = list(accumulate((end for _, end in ordered), max))  # by all entries up to each
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
