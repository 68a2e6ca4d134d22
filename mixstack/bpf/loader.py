"""What the probe needs of a loader: its maps and programs, by name. There are two."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable, Collection
from typing import Final, Protocol

from mixstack.bpf.kernel_types import kernel_config
from mixstack.bpf.libbpf import BpfObject, Libbpf
from mixstack.bpf.wire import Config
from mixstack.errors import NoProbe

_TYPES: Final = "/sys/kernel/btf/vmlinux"
_OBJECT: Final = os.path.join(os.path.dirname(__file__), "mixstack.bpf.o")


class LoadedObject(Protocol):
    """Maps are sized before `load`; all else comes after it. Keys are u32."""

    def set_entries(self, map_name: str, entries: int) -> None:
        """The number of elements of a map, bytes of a ring buffer."""

    def can_loop(self) -> bool:
        """Whether programs that use bpf_loop can be loaded here."""

    def load(self, *groups: Collection[str]) -> None:
        """Create the maps and verify these programs, each group beside the others where possible.

        Raises MissingPrivilege, ProbeRejected.
        """

    def load_more(self, programs: Collection[str]) -> None:
        """Verify these programs as well. Raises MissingPrivilege, ProbeRejected."""

    def map_fd(self, name: str) -> int: ...

    def program_fd(self, name: str) -> int: ...

    def attach_raw_tracepoint(self, program: str, tracepoint: str) -> None:
        """Run a program wherever the kernel passes this point, until `close`.

        Raises MissingPrivilege, ProbeRejected.
        """

    def update(self, map_name: str, key: int, value: ctypes.Structure | ctypes.c_uint32) -> None:
        """Set an element."""

    def delete(self, map_name: str, key: int) -> None:
        """Remove an element of a hash map; one that is not there is no error."""

    def per_cpu_sum(self, map_name: str, key: int, cpus: int) -> int:
        """The sum over all possible CPUs of a u64 in a per-CPU array."""

    def close(self) -> None:
        """Unload everything."""


def open_probe(loader: str) -> tuple[LoadedObject, Callable[[], Config]]:
    """The probe, still to be loaded, and what finds the kernel's offsets, in any thread.

    loader: "auto", "libbpf" or "bcc". auto: libbpf where the kernel has type information, else
    bcc. Both raise NoProbe, NoLibbpf, NoBcc, NoKernelTypes, ProbeRejected.
    """
    has_types = os.path.exists(_TYPES)
    if loader == "bcc" or (loader == "auto" and not has_types):
        from mixstack.bpf.bcc import BccObject, bcc_folder, config_from_headers  # seldom needed

        if loader == "bcc" or bcc_folder():
            config = kernel_config(Libbpf()) if has_types else config_from_headers()
            return BccObject(), lambda: config
    try:
        with open(_OBJECT, "rb") as f:
            image = f.read()
    except OSError as e:
        raise NoProbe("this installation of mixstack has no compiled probe") from e
    library = Libbpf()
    return BpfObject(library, image), functools.partial(kernel_config, library)
