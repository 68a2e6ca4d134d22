"""Names for the addresses that occurred, found while the files and the kernel are still there."""

from __future__ import annotations

import ctypes
from collections import defaultdict
from collections.abc import Iterator

from mixstack.bpf.wire import ADDRESS_MASK, TAG_SHIFT, SampleHead
from mixstack.capture.writer import CaptureWriter
from mixstack.model import KernelSymbol, Step, Symbol
from mixstack.record.follow import Follower
from mixstack.record.modules import LoadedModule
from mixstack.symbolize.kernel import kernel_symbols
from mixstack.symbolize.record_side import ModuleSymbols

_HEAD_WORDS = ctypes.sizeof(SampleHead) // 8
_RETURN_ADDRESSES = (Step.CALLER << TAG_SHIFT, Step.FRAME_POINTER << TAG_SHIFT)
_TAG = ~ADDRESS_MASK


class AddressBook:
    """Collects addresses from sample records and writes each symbol into the capture once."""

    def __init__(self, writer: CaptureWriter) -> None:
        self._writer = writer
        self._symbols = ModuleSymbols()
        self._native: set[int] = set()  # tagged with how the walk came there
        self._kernel: set[int] = set()
        self._new_native: set[int] = set()
        self._new_kernel: set[int] = set()
        self._written: set[Symbol | KernelSymbol] = set()

    def collect(self, samples: bytes) -> None:
        """Note the addresses of sample records that lie back to back."""
        words = memoryview(samples).cast("Q")
        for start, kernel, chain, native in _bodies(words):
            self._new_kernel.update(words[start : start + kernel])
            first = start + kernel + 2 * chain
            self._new_native.update(words[first : first + 2 * native : 2])

    def write_new(self, follower: Follower, *, last: bool = False) -> None:
        """Look up what is new since the last call; `last`: it will not be called again."""
        new_native = self._new_native - self._native
        new_kernel = self._new_kernel - self._kernel
        self._native |= new_native
        self._kernel |= new_kernel
        self._new_kernel.clear()
        # What lies in no known module may do so in a moment: asked again next time.
        self._new_native = self._write_native(new_native, follower)
        self._native -= self._new_native
        homeless = [_looked_up(pc) for pc in self._new_native]
        self._writer.add_jit_symbols(follower.jit.new_symbols(homeless, last=last))
        if new_kernel:
            fresh = set(kernel_symbols(new_kernel)) - self._written
            self._written |= fresh
            self._writer.add_kernel_symbols(sorted(fresh, key=lambda s: s.start))

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
        roots = (f"/proc/{follower.process.pid}/root", "/")
        for module_id, vaddrs in sorted(by_module.items()):
            loaded = modules[module_id]
            if loaded.path is not None:
                symbols = self._symbols.find_symbols(
                    module_id, loaded.path, vaddrs, seen_as=loaded.module.path, roots=roots
                )
            elif loaded.image is not None:
                symbols = self._symbols.find_symbols_in_image(module_id, loaded.image, vaddrs)
            else:
                continue
            fresh = set(symbols) - self._written
            self._written |= fresh
            self._writer.add_symbols(sorted(fresh, key=lambda s: s.start))
        return homeless


def _looked_up(tagged: int) -> int:
    """The address that names a frame: a return address lies behind its call."""
    return (tagged & ADDRESS_MASK) - (tagged & _TAG in _RETURN_ADDRESSES)


def _bodies(words: memoryview[int]) -> Iterator[tuple[int, int, int, int]]:
    """(first word of the body, kernel addresses, chain entries, native frames) of each record."""
    at = 0
    while at < len(words):
        # Word 3: cpu, n_kernel, n_chain. Word 4: n_native and the ends.
        counts = words[at + 3]
        kernel, chain, native = counts >> 32 & 0xFFFF, counts >> 48, words[at + 4] & 0xFFFF
        yield at + _HEAD_WORDS, kernel, chain, native
        at += _HEAD_WORDS + kernel + 2 * chain + 2 * native
