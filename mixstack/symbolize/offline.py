"""Symbols for a capture whose recorder could not write them: from this machine's own files."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from mixstack.elf import BadElf, Elf, open_elf
from mixstack.model import Module, Sample, Step, Symbol
from mixstack.symbolize.address_space import AddressSpaces
from mixstack.symbolize.names import NamedCapture
from mixstack.symbolize.record_side import symbols_of, tables_of


class SampledCapture(NamedCapture, Protocol):
    """A capture whose samples can be gone through."""

    def samples(self) -> Iterator[Sample]:
        """All samples."""
        ...


OpenElf = Callable[[str], AbstractContextManager[Elf]]


def missing_symbols(
    capture: SampledCapture, open_file: OpenElf = open_elf
) -> dict[int, tuple[Symbol, ...]]:
    """The symbols of a capture, completed: by module, sorted by start, disjoint.

    Addresses of its samples that no symbol covers are looked up in the file at the module's path,
    if that has the module's build-id. A module without one, or with another, stays as it is.
    """
    completed = dict(capture.symbols)
    for module_id, vaddrs in _unnamed(capture, capture.samples()).items():
        module = capture.modules.get(module_id)
        if module is None:
            continue
        known = completed.get(module_id, ())
        found = [s for s in _from_file(module, vaddrs, open_file) if s not in known]
        if found:
            completed[module_id] = tuple(sorted((*known, *found), key=lambda s: s.start))
    return completed


def _unnamed(capture: NamedCapture, samples: Iterable[Sample]) -> dict[int, set[int]]:
    """Addresses without a symbol, by module, as the files count them."""
    spaces = AddressSpaces(capture.mappings)
    starts = {m: [s.start for s in of] for m, of in capture.symbols.items()}
    seen: set[tuple[int, int, int]] = set()
    out: defaultdict[int, set[int]] = defaultdict(set)
    for sample in samples:
        generation = spaces.generation(sample.pid, sample.time_ns)
        for frame in sample.stack.native:
            pc = frame.lookup_pc
            if pc is None or frame.step is Step.RESYNC:
                continue
            key = (sample.pid, generation, pc)
            if key in seen:
                continue
            seen.add(key)
            mapping = spaces.find(sample.pid, generation, pc)
            if mapping is None or mapping.module_id is None:
                continue
            vaddr = pc - mapping.load_bias
            at = bisect_right(starts.get(mapping.module_id, ()), vaddr) - 1
            if at < 0 or vaddr >= capture.symbols[mapping.module_id][at].end:
                out[mapping.module_id].add(vaddr)
    return out


def _from_file(module: Module, vaddrs: Iterable[int], open_file: OpenElf) -> list[Symbol]:
    if module.build_id is None:
        return []
    try:
        with open_file(module.path) as elf:
            if elf.build_id != module.build_id:
                return []
            return symbols_of(module.id, *tables_of(elf, module.path), vaddrs)
    except (OSError, BadElf):
        return []
