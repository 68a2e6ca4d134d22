"""libbpf.so.1 through ctypes: just the calls that loading the probe needs.

Signatures: libbpf's public headers bpf/libbpf.h, bpf/bpf.h, bpf/btf.h (API of 1.0, stable since).
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

from mixstack.beside import Beside
from mixstack.errors import MissingPrivilege, NoLibbpf, ProbeRejected
from mixstack.privileges.refusal import explain_refusal

_LIBBPF_PRINT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_BPF_ANY = 0
_PERF_EVENT = 7  # enum bpf_prog_type, enum bpf_func_id of include/uapi/linux/bpf.h
_BPF_LOOP = 181

_PROTOTYPES: dict[str, tuple[object, tuple[object, ...]]] = {
    "bpf_object__open_mem": (ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p)),
    "bpf_object__load": (ctypes.c_int, (ctypes.c_void_p,)),
    "bpf_object__close": (None, (ctypes.c_void_p,)),
    "bpf_object__find_map_by_name": (ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_char_p)),
    "bpf_object__find_program_by_name": (ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_char_p)),
    "bpf_object__next_map": (ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_void_p)),
    "bpf_object__next_program": (ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_void_p)),
    "bpf_map__name": (ctypes.c_char_p, (ctypes.c_void_p,)),
    "bpf_map__reuse_fd": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_int)),
    "bpf_map__set_max_entries": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_uint32)),
    "bpf_map__fd": (ctypes.c_int, (ctypes.c_void_p,)),
    "bpf_program__name": (ctypes.c_char_p, (ctypes.c_void_p,)),
    "bpf_program__set_autoload": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_bool)),
    "bpf_program__fd": (ctypes.c_int, (ctypes.c_void_p,)),
    "bpf_program__attach_raw_tracepoint": (ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_char_p)),
    "bpf_link__destroy": (ctypes.c_int, (ctypes.c_void_p,)),
    "bpf_map_update_elem": (
        ctypes.c_int,
        (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64),
    ),
    "bpf_map_delete_elem": (ctypes.c_int, (ctypes.c_int, ctypes.c_void_p)),
    "bpf_map_lookup_elem": (ctypes.c_int, (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)),
    "btf__load_vmlinux_btf": (ctypes.c_void_p, ()),
    "btf__free": (None, (ctypes.c_void_p,)),
    "btf__find_by_name_kind": (ctypes.c_int32, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint32)),
    "btf__type_by_id": (ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_uint32)),
    "btf__name_by_offset": (ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_uint32)),
    "libbpf_probe_bpf_helper": (ctypes.c_int, (ctypes.c_int, ctypes.c_int, ctypes.c_void_p)),
    "libbpf_set_print": (ctypes.c_void_p, (ctypes.c_void_p,)),
}


def libbpf_version() -> str | None:
    """The library's version, such as "1.1"; None if it is not there."""
    try:
        function = ctypes.CDLL("libbpf.so.1").libbpf_version_string
    except (OSError, AttributeError):
        return None
    function.restype = ctypes.c_char_p
    return bytes(function()).decode("ascii", "replace").removeprefix("v")


class Libbpf:
    """The library, loaded, with the prototypes above. Attributes are the C functions."""

    def __init__(self) -> None:
        """Raises NoLibbpf."""
        try:
            library = ctypes.CDLL("libbpf.so.1", use_errno=True)
        except OSError as e:
            raise NoLibbpf("the library libbpf.so.1 is not on this machine") from e
        self._functions: dict[str, Callable[..., Any]] = {}
        for name, (result, arguments) in _PROTOTYPES.items():
            function = getattr(library, name)
            function.restype = result
            function.argtypes = arguments
            self._functions[name] = function
        # libbpf prints to stderr by itself; a user is shown our sentence instead.
        self._silence = _LIBBPF_PRINT(lambda _level, _format, _arguments: 0)
        if not os.environ.get("MIXSTACK_DEBUG"):
            self._functions["libbpf_set_print"](ctypes.cast(self._silence, ctypes.c_void_p))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        try:
            return self._functions[name]
        except KeyError:
            raise AttributeError(name) from None


class BpfObject:
    """A BPF object file, opened; load it after its maps were sized."""

    def __init__(self, library: Libbpf, image: bytes) -> None:
        self._library = library
        self._image = image  # libbpf reads from it until the object is loaded
        self._links: list[int] = []
        self._more: list[BpfObject] = []
        self._object = library.bpf_object__open_mem(image, len(image), None)
        if not self._object:
            raise ProbeRejected(f"libbpf cannot read the probe: {_errno_text()}")

    def set_entries(self, map_name: str, entries: int) -> None:
        """The number of elements of a map (bytes of a ring buffer), before loading."""
        if self._library.bpf_map__set_max_entries(self._map(map_name), entries):
            raise ProbeRejected(f"map {map_name} cannot have {entries} elements: {_errno_text()}")

    def can_loop(self) -> bool:
        """Whether the kernel has bpf_loop (5.17)."""
        return bool(self._library.libbpf_probe_bpf_helper(_PERF_EVENT, _BPF_LOOP, None) == 1)

    def load(self, *groups: Collection[str]) -> None:
        """Create the maps and verify these programs, each group in a thread of its own.

        Raises MissingPrivilege, ProbeRejected.
        """
        self._load(())
        with ExitStack() as stack:
            parts = [
                stack.enter_context(Beside(partial(self.load_more, group))) for group in groups
            ]
            for part in parts:
                part.result()

    def _load(self, programs: Collection[str]) -> None:
        for program in self._each(self._library.bpf_object__next_program):
            wanted = self._library.bpf_program__name(program).decode() in programs
            self._library.bpf_program__set_autoload(program, wanted)
        result = self._library.bpf_object__load(self._object)
        if result == 0:
            return
        code = -result
        if code in (errno.EPERM, errno.EACCES):
            raise MissingPrivilege(*explain_refusal("load a BPF program"))
        raise ProbeRejected(
            f"this kernel ({os.uname().release}) refused the probe: {os.strerror(code)}",
            "see why with: MIXSTACK_DEBUG=1 mixstack record ...; then please report it",
        )

    def load_more(self, programs: Collection[str]) -> None:
        """Verify these programs as well: an object is loaded once, so they are another's.

        Raises MissingPrivilege, ProbeRejected.
        """
        more = BpfObject(self._library, self._image)
        self._more.append(more)
        for each in more._each(self._library.bpf_object__next_map):
            name = self._library.bpf_map__name(each).decode()
            if self._library.bpf_map__reuse_fd(each, self.map_fd(name)):
                raise ProbeRejected(f"map {name} cannot be shared: {_errno_text()}")
        more._load(programs)

    def map_fd(self, name: str) -> int:
        return int(self._library.bpf_map__fd(self._map(name)))

    def program_fd(self, name: str) -> int:
        """Of a program that was loaded. Raises ProbeRejected."""
        return self._loaded(name)[1]

    def attach_raw_tracepoint(self, program_name: str, tracepoint: str) -> None:
        """Run a program wherever the kernel passes this point, until `close`; needs no tracefs."""
        link = self._library.bpf_program__attach_raw_tracepoint(
            self._loaded(program_name)[0], tracepoint.encode()
        )
        if not link:
            code = ctypes.get_errno()
            if code in (errno.EPERM, errno.EACCES):
                raise MissingPrivilege(*explain_refusal("attach to a tracepoint"))
            raise ProbeRejected(f"the kernel refused the tracepoint {tracepoint}: {_errno_text()}")
        self._links.append(link)

    def update(self, map_name: str, key: int, value: ctypes.Structure | ctypes.c_uint32) -> None:
        """Set an element of a map whose key is a u32."""
        index = ctypes.c_uint32(key)
        if self._library.bpf_map_update_elem(
            self.map_fd(map_name), ctypes.byref(index), ctypes.byref(value), _BPF_ANY
        ):
            raise ProbeRejected(f"map {map_name} takes no element {key}: {_errno_text()}")

    def delete(self, map_name: str, key: int) -> None:
        """Remove an element of a hash map; one that is not there is no error."""
        index = ctypes.c_uint32(key)
        self._library.bpf_map_delete_elem(self.map_fd(map_name), ctypes.byref(index))

    def per_cpu_sum(self, map_name: str, key: int, cpus: int) -> int:
        """The sum over all possible CPUs of a u64 in a per-CPU array."""
        index = ctypes.c_uint32(key)
        values = (ctypes.c_uint64 * cpus)()
        self._library.bpf_map_lookup_elem(
            self.map_fd(map_name), ctypes.byref(index), ctypes.byref(values)
        )
        return sum(values)

    def close(self) -> None:
        """Unload everything."""
        for link in self._links:
            self._library.bpf_link__destroy(link)
        self._links.clear()
        while self._more:
            self._more.pop().close()
        if self._object:
            self._library.bpf_object__close(self._object)
            self._object = 0

    def _loaded(self, name: str) -> tuple[int, int]:
        """A program that was loaded, and its descriptor."""
        for part in self._more:
            program = part._program(name)
            fd = int(self._library.bpf_program__fd(program))
            if fd >= 0:
                return program, fd
        raise ProbeRejected(f"the program {name} is not loaded")

    def _program(self, name: str) -> int:
        found = self._library.bpf_object__find_program_by_name(self._object, name.encode())
        if not found:
            raise ProbeRejected(f"the probe has no program {name}")
        return int(found)

    def _map(self, name: str) -> int:
        found = self._library.bpf_object__find_map_by_name(self._object, name.encode())
        if not found:
            raise ProbeRejected(f"the probe has no map {name}")
        return int(found)

    def _each(self, following: Callable[[int, int | None], int | None]) -> Iterator[int]:
        found = following(self._object, None)
        while found:
            yield found
            found = following(self._object, found)


def _errno_text() -> str:
    return os.strerror(ctypes.get_errno() or errno.EINVAL)
