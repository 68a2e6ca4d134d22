"""Names for a capture from this machine's own files: what its recorder could not write, or anew."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

from mixstack.elf import BadElf, open_elf
from mixstack.model import Module, Sample, SourceCall, Step, Symbol
from mixstack.symbolize.address_space import AddressSpaces
from mixstack.symbolize.debug_files import path_by_build_id
from mixstack.symbolize.names import NamedCapture
from mixstack.symbolize.native import NativeFile, SourceLines
from mixstack.symbolize.record_side import symbols_of, tables_of


class SampledCapture(NamedCapture, Protocol):
    """A capture whose samples can be gone through."""

    def samples(self) -> Iterator[Sample]:
        """All samples."""
        ...


class Names(NamedTuple):
    """What a capture says of native code; as the fields of these names in `Capture`."""

    symbols: dict[int, tuple[Symbol, ...]]
    source_calls: dict[tuple[int, int], tuple[SourceCall, ...]]


class Listener(NamedTuple):
    """progress: hears how many of how many addresses are done. warn: a sentence with a file."""

    progress: Callable[[int, int], None]
    warn: Callable[[str], None]


def look_up(capture: SampledCapture, listener: Listener, *, anew: bool = False) -> Names:
    """The names of a capture, completed from files of this machine.

    A file is taken if it has the module's build-id: the one at the module's path, or a debug file.
    anew: its names and lines replace those of the capture; else they only fill gaps.
    """
    symbols = {module: list(known) for module, known in capture.symbols.items()}
    calls = dict(capture.source_calls)
    sampled = sampled_addresses(capture)
    lines = SourceLines(listener.warn)
    total, done = sum(map(len, sampled.values())), 0
    for module_id, vaddrs in sorted(sampled.items()):
        module = capture.modules.get(module_id)
        file = None if module is None else _file_of(module)
        if file is None:
            done += len(vaddrs)
            continue
        known = symbols.get(module_id, [])
        gaps = [v for v in vaddrs if anew or not _is_covered(known, v)]
        found = _symbols_in(file, module_id, gaps)
        symbols[module_id] = _merged(found, known) if anew else _merged(known, found)
        for vaddr in sorted(vaddrs):
            if anew or (module_id, vaddr) not in calls:
                at = lines.calls_at(file, vaddr)
                if at:
                    calls[module_id, vaddr] = at
            done += 1
            listener.progress(done, total)
    return Names({m: tuple(of) for m, of in symbols.items() if of}, calls)


def sampled_addresses(capture: SampledCapture) -> dict[int, set[int]]:
    """The addresses that occurred, by module, as the files count them."""
    spaces = AddressSpaces(capture.mappings)
    seen: set[tuple[int, int, int]] = set()
    out: defaultdict[int, set[int]] = defaultdict(set)
    for sample in capture.samples():
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
            if mapping is not None and mapping.module_id is not None:
                out[mapping.module_id].add(pc - mapping.load_bias)
    return out


def _file_of(module: Module) -> NativeFile | None:
    """Where the file is on this machine, or the debug file that has its symbols and lines."""
    if module.build_id is None:
        return None
    for path in (module.path, path_by_build_id(module.build_id)):
        try:
            with open_elf(path) as elf:
                if elf.build_id == module.build_id:
                    return NativeFile(module.path, path, module.build_id)
        except (OSError, ValueError, BadElf):  # a path of a stranger's capture may hold anything
            continue
    return None


def _symbols_in(file: NativeFile, module_id: int, vaddrs: Iterable[int]) -> list[Symbol]:
    try:
        with open_elf(file.open_path) as elf:
            if elf.build_id == file.build_id:
                return symbols_of(module_id, *tables_of(elf, file.path, file.roots), vaddrs)
    except (OSError, BadElf):
        pass
    return []


def _merged(first: Iterable[Symbol], second: Iterable[Symbol]) -> list[Symbol]:
    """Disjoint symbols, sorted: of those that overlap a named one counts, then one of `first`."""
    out: list[Symbol] = []
    both = [*first, *second]
    for symbol in sorted(both, key=lambda s: s.name is None):  # stable
        at = bisect_left(out, symbol.start, key=_start)
        before_ends = at == 0 or out[at - 1].end <= symbol.start
        if before_ends and (at == len(out) or symbol.end <= out[at].start):
            out.insert(at, symbol)
    return out


def _is_covered(symbols: list[Symbol], vaddr: int) -> bool:
    at = bisect_right(symbols, vaddr, key=_start) - 1
    return at >= 0 and vaddr < symbols[at].end


def _start(symbol: Symbol) -> int:
    return symbol.start
