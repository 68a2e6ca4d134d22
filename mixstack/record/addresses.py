"""Names for the addresses that occurred, found while the files and the kernel are still there."""

from __future__ import annotations

import ctypes
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple

from mixstack.bpf.wire import ADDRESS_MASK, TAG_SHIFT, SampleHead
from mixstack.capture.writer import CaptureWriter
from mixstack.model import KernelSymbol, NativeEnd, Step, Symbol
from mixstack.record.follow import Follower
from mixstack.record.modules import LoadedModule
from mixstack.record.proven import Stop
from mixstack.record.roots import Roots
from mixstack.record.sources import SourceBook
from mixstack.symbolize.kernel import kernel_symbols
from mixstack.symbolize.record_side import ModuleSymbols

_HEAD_WORDS = ctypes.sizeof(SampleHead) // 8
_END_PC_WORD = SampleHead.end_pc.offset // 8
_RETURN_ADDRESSES = (Step.CALLER << TAG_SHIFT, Step.FRAME_POINTER << TAG_SHIFT)
_TAG = ~ADDRESS_MASK
_WITHOUT_RULES = (NativeEnd.NO_TABLE, NativeEnd.NO_RULE)

KERNEL_UNNAMED: Final = (
    "the kernel's functions have no names: /proc/kallsyms hides its addresses from this user; "
    "record as root, or allow it: sysctl -w kernel.kptr_restrict=1"
)


_AskedStop = tuple[LoadedModule, int, "Future[Iterable[Symbol]]"]


class Stops(NamedTuple):
    """Where walks died for want of rules: in files, and at addresses that belong to none."""

    in_files: tuple[Stop, ...]
    homeless: tuple[int, ...]


class AddressBook:
    """Collects addresses from sample records and writes each symbol into the capture once.

    Symbol tables are read in a thread of their own: the largest take a second, and a process that
    lives for a twentieth of that must be looked at meanwhile. `close` it.
    sources: what is left to be looked up when sampling has ended.
    """

    def __init__(self, writer: CaptureWriter) -> None:
        self._writer = writer
        self._symbols = ModuleSymbols()  # used by that thread only
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="symbols")
        self._asked: deque[Future[Iterable[Symbol] | Iterable[KernelSymbol]]] = deque()
        self._roots = Roots()
        self.sources = SourceBook()
        # By process; tagged with how the walk came there.
        self._native: defaultdict[int, set[int]] = defaultdict(set)
        self._new_native: defaultdict[int, set[int]] = defaultdict(set)
        self._kernel: set[int] = set()
        self._new_kernel: set[int] = set()
        self._stops: defaultdict[int, set[int]] = defaultdict(set)  # by process: where a walk died
        self._new_stops: defaultdict[int, set[int]] = defaultdict(set)
        self._asked_stops: defaultdict[int, deque[_AskedStop]] = defaultdict(deque)
        self._written: set[Symbol | KernelSymbol] = set()

    def collect(self, samples: bytes) -> None:
        """Note the addresses of sample records that lie back to back."""
        words = memoryview(samples).cast("Q")
        for pid, start, kernel, chain, native in _bodies(words):
            self._new_kernel.update(words[start : start + kernel])
            first = start + kernel + 2 * chain
            self._new_native[pid].update(words[first : first + 2 * native : 2])
            end_pc = words[start - _HEAD_WORDS + _END_PC_WORD]
            if end_pc >> TAG_SHIFT in _WITHOUT_RULES:
                stop = end_pc & ADDRESS_MASK
                if stop not in self._stops[pid]:
                    self._new_stops[pid].add(stop)

    def write_process(self, follower: Follower, *, last: bool = False) -> None:
        """Look up what is new of a process since the last call; `last`: it is not called again."""
        pid = follower.process.pid
        known = self._native[pid]
        new = self._new_native.pop(pid, set()) - known
        homeless = self._write_native(new, follower)
        known |= new - homeless
        if homeless:  # they may lie in a known module in a moment: asked again next time
            self._new_native[pid] = homeless
        in_no_module = [_looked_up(pc) for pc in homeless]
        self._writer.add_jit_symbols(follower.jit.new_symbols(in_no_module, last=last))

    def forget(self, pid: int) -> None:
        """The process has ended, or is another program now: its addresses mean nothing any more."""
        for of_process in (self._native, self._new_native, self._stops, self._new_stops):
            of_process.pop(pid, None)
        self._asked_stops.pop(pid, None)

    def write_kernel(self) -> None:
        """Look up the kernel's functions that are new since the last call."""
        new_kernel = self._new_kernel - self._kernel
        self._kernel |= new_kernel
        self._new_kernel.clear()
        if new_kernel:
            self._asked.append(self._reader.submit(kernel_symbols, new_kernel))

    def write_found(self, wait: bool = False) -> None:
        """Write the symbols that have been found by now; wait: for all that were asked for."""
        while self._asked and (wait or self._asked[0].done()):
            found: set[Symbol | KernelSymbol] = set(self._asked.popleft().result())
            fresh = sorted(found - self._written, key=_start)
            self._written.update(fresh)
            self._writer.add_symbols(s for s in fresh if isinstance(s, Symbol))
            self._writer.add_kernel_symbols(s for s in fresh if isinstance(s, KernelSymbol))

    @property
    def kernel_unnamed(self) -> bool:
        """Whether the kernel was sampled, and none of its functions could be named."""
        return bool(self._kernel) and not any(isinstance(s, KernelSymbol) for s in self._written)

    def close(self) -> None:
        """Drop what was not found yet, end the thread, let go of the processes' root folders."""
        self._reader.shutdown(wait=True, cancel_futures=True)
        self._roots.close()

    def stopped(self) -> list[int]:
        """The processes of which `stops` may have something to say."""
        waiting = (pid for pid, asked in self._asked_stops.items() if asked)
        return sorted({*self._new_stops, *waiting})

    def stops(self, follower: Follower) -> Stops:
        """Where walks died for want of rules since the last call, once symbols are looked up."""
        pid = follower.process.pid
        asked, known = self._asked_stops[pid], self._stops[pid]
        homeless = []
        for address in sorted(self._new_stops.pop(pid, ())):
            at = follower.module_at(address)
            if at is None:
                homeless.append(address)  # and again, if it is met again: other code may lie there
                continue
            known.add(address)
            if at[0].path is not None:
                loaded, vaddr = at
                found = self._reader.submit(self._find_symbols, loaded, {vaddr}, ("/",))
                asked.append((loaded, vaddr, found))
        in_files = []
        while asked and asked[0][2].done():
            loaded, vaddr, found = asked.popleft()
            named = [(s.start, s.end) for s in found.result() if s.name is not None]
            in_files.append(Stop(loaded, vaddr, named[0] if named else None))
        return Stops(tuple(in_files), tuple(homeless))

    def _write_native(self, tagged: set[int], follower: Follower) -> set[int]:
        """Write the symbols of these addresses; returns those that lie in no known module."""
        homeless: set[int] = set()
        by_module: dict[int, set[int]] = defaultdict(set)
        modules: dict[int, LoadedModule] = {}
        for pc in tagged:
            address = _looked_up(pc)
            found = follower.module_at(address)
            if found is not None:
                loaded, vaddr = found
                modules[loaded.module.id] = loaded
                by_module[loaded.module.id].add(vaddr)
            else:
                homeless.add(pc)
        roots = self._roots.of(follower.process.pid)
        for module_id, vaddrs in sorted(by_module.items()):
            self.sources.note(modules[module_id], vaddrs, roots)
            self._asked.append(
                self._reader.submit(self._find_symbols, modules[module_id], vaddrs, roots)
            )
        return homeless

    def _find_symbols(
        self, loaded: LoadedModule, vaddrs: set[int], roots: tuple[str, ...]
    ) -> Iterable[Symbol]:
        module = loaded.module
        if loaded.path is not None:
            return self._symbols.find_symbols(
                module.id, loaded.path, vaddrs, seen_as=module.path, roots=roots
            )
        if loaded.image is not None:
            return self._symbols.find_symbols_in_image(module.id, loaded.image, vaddrs)
        return ()


def _start(symbol: Symbol | KernelSymbol) -> int:
    return symbol.start


def _looked_up(tagged: int) -> int:
    """The address that names a frame: a return address lies behind its call."""
    return (tagged & ADDRESS_MASK) - (tagged & _TAG in _RETURN_ADDRESSES)


def _bodies(words: memoryview[int]) -> Iterator[tuple[int, int, int, int, int]]:
    """(pid, first word of the body, kernel addresses, chain entries, native frames) of records."""
    at = 0
    while at < len(words):
        # Word 2: pid, tid. Word 3: cpu, n_kernel, n_chain. Word 4: n_native and the ends.
        counts = words[at + 3]
        kernel, chain, native = counts >> 32 & 0xFFFF, counts >> 48, words[at + 4] & 0xFFFF
        yield words[at + 2] & 0xFFFFFFFF, at + _HEAD_WORDS, kernel, chain, native
        at += _HEAD_WORDS + kernel + 2 * chain + 2 * native
