"""The probe, loaded and running: tables in, records out. All that `record` knows of BPF."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from itertools import chain
from typing import Final, NamedTuple

from mixstack.beside import Beside
from mixstack.bpf import wire
from mixstack.bpf.loader import open_probe
from mixstack.bpf.memory import KernelMemory
from mixstack.bpf.perf import Event, SamplingClock, possible_cpus
from mixstack.bpf.ring import Drained, Ring

# enum ms_program
_SLOTS: Final = (
    "find_thread",
    "walk_chain",
    "walk_native",
    "send_codes",
    "walk_frames",
    "find_markers",
    "learn_markers",
    "find_base",
    "find_caller",
)
# programs by the tracepoint that runs them
_LIVES: Final = {
    "sched_process_fork": "on_fork",
    "sched_process_exec": "on_exec",
    "sched_process_exit": "on_exit",
}
# The kernel verifies each program as it is loaded, some for 50 ms: these are loaded when a process
# needs them.
_OF_FRAME_OBJECTS: Final = ("walk_frames", "find_markers", "learn_markers")  # before 3.11
_OF_CFRAMES_AND_SHIMS: Final = ("find_caller",)  # 3.12
_OF_THREAD_LISTS: Final = ("find_thread",)
_AT_ONCE: Final = (
    ("on_sample", "walk_chain", "find_base", "send_codes", *_LIVES.values()),
    ("walk_native",),  # takes as long as all of these together
)
# These come twice (bpf/walks.bpf.h): with bpf_loop they are verified ten times as fast.
WALKS: Final = ("walk_chain", "walk_native", "walk_frames", "find_markers", "send_codes")
BY_LOOP: Final = "_by_loop"

PROGRAMS: Final = (
    *chain(*_AT_ONCE),
    *_OF_THREAD_LISTS,
    *_OF_FRAME_OBJECTS,
    *_OF_CFRAMES_AND_SHIMS,
)


class Sizes(NamedTuple):
    """How much the probe's tables hold: elements; `ring_bytes` is a power of two."""

    mappings: int
    pages: int
    rows: int
    ring_bytes: int

    @property
    def kernel_bytes(self) -> int:
        """The kernel memory that these take."""
        return (
            self.mappings * ctypes.sizeof(wire.MappingEntry)
            + self.pages * ctypes.sizeof(wire.PageEntry)
            + self.rows * 8
            + self.ring_bytes
        )


class Probe:
    """The probe in the kernel. `mappings`, `pages`, `rows`: the tables' memory, writable, in bytes.

    loader: "auto", "libbpf" or "bcc". Raises NoProbe, NoLibbpf, NoBcc, NoKernelTypes,
    MissingPrivilege, ProbeRejected.
    """

    def __init__(self, sizes: Sizes, loader: str = "auto") -> None:
        self._object, read_config = open_probe(loader)
        self._cpus = possible_cpus()
        self._clock: SamplingClock | None = None
        self._throttled = 0
        self._loaded: set[str] = set()
        self._loops = self._object.can_loop()
        try:
            self._object.set_entries("ms_mappings", sizes.mappings)
            self._object.set_entries("ms_pages", sizes.pages)
            self._object.set_entries("ms_rows", sizes.rows)
            self._object.set_entries("ms_ring", sizes.ring_bytes)
            with Beside(read_config) as config:  # the kernel's types are megabytes
                self._object.load(*(tuple(map(self._variant, group)) for group in _AT_ONCE))
            self._install(chain(*_AT_ONCE))
            self._object.update("ms_configs", 0, config.result())
            self.mappings = self._memory(
                "ms_mappings", sizes.mappings * ctypes.sizeof(wire.MappingEntry)
            )
            self.pages = self._memory("ms_pages", sizes.pages * ctypes.sizeof(wire.PageEntry))
            self.rows = self._memory("ms_rows", sizes.rows * 8)
            self._ring = Ring(self._object.map_fd("ms_ring"), sizes.ring_bytes)
        except BaseException:
            self._object.close()
            raise

    def watch_lives(self) -> None:
        """From now on say when a process that was set forks, becomes another program, or ends.

        A child of it is sampled at once, with its parent's entry, unless that forbids it.
        """
        for tracepoint, program in _LIVES.items():
            self._object.attach_raw_tracepoint(program, tracepoint)

    @property
    def wake_fd(self) -> int:
        """A descriptor for epoll, edge-triggered: there are records that should not wait."""
        return self._object.map_fd("ms_ring")

    def start(self, rate_hz: int, event: Event = Event.CPU_CLOCK) -> None:
        """Begin to sample the processes that were set."""
        self._clock = SamplingClock(self._object.program_fd("on_sample"), rate_hz, event)

    def set_process(self, pid: int, entry: wire.ProcessEntry) -> None:
        """Sample this process from now on, with these tables; replaces an earlier entry at once.

        Raises MissingPrivilege, ProbeRejected if it needs programs that cannot be loaded.
        """
        if entry.layout.chain_kind:
            if entry.several or not entry.tss_slot:
                self._load_later(_OF_THREAD_LISTS)
            self.expect(entry.layout.chain_kind)
        self._object.update("ms_processes", pid, entry)

    def expect(self, chain_kind: int) -> None:
        """A process with such a chain (`wire.ChainKind`) is about to be set; errors as there."""
        if chain_kind >= wire.ChainKind.FRAME:
            self._load_later(_OF_FRAME_OBJECTS)
        elif chain_kind == wire.ChainKind.CFRAME_SHIM:
            self._load_later(_OF_CFRAMES_AND_SHIMS)

    def teach(self, slot: int, learned: wire.Learned) -> None:
        """Say beforehand what the probe would learn of a process' evaluator."""
        self._object.update("ms_learned_of", slot, learned)

    def remove_process(self, pid: int) -> None:
        self._object.delete("ms_processes", pid)

    def drain(self) -> Drained:
        """All records that are ready. Call it often enough that the ring does not fill."""
        return self._ring.drain()

    def total(self, counter: wire.Counter) -> int:
        """A counter of the probe, summed over all CPUs."""
        return self._object.per_cpu_sum("ms_counts", counter, self._cpus)

    @property
    def throttled(self) -> int:
        """How often the kernel paused the sampling clock of a CPU."""
        if self._clock is not None:
            self._clock.count()
            return self._throttled + self._clock.throttled
        return self._throttled

    def stop(self) -> None:
        """Stop sampling; what is in the ring can still be drained."""
        if self._clock is not None:
            self._clock.close()
            self._throttled += self._clock.throttled
            self._clock = None

    def close(self) -> None:
        """Stop, and take the probe out of the kernel; the tables' memory is gone then."""
        self.stop()
        self._ring.close()
        self._object.close()

    def _load_later(self, names: tuple[str, ...]) -> None:
        if not self._loaded.issuperset(names):
            self._object.load_more(tuple(map(self._variant, names)))
            self._install(names)

    def _variant(self, name: str) -> str:
        return name + BY_LOOP if self._loops and name in WALKS else name

    def _install(self, names: Iterable[str]) -> None:
        for name in names:
            if name in _SLOTS:
                fd = self._object.program_fd(self._variant(name))
                self._object.update("ms_programs", _SLOTS.index(name), ctypes.c_uint32(fd))
            self._loaded.add(name)

    def _memory(self, name: str, size: int) -> KernelMemory:
        return KernelMemory(self._object.map_fd(name), size)
