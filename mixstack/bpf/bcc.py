"""bcc, the second loader: the probe's own source, compiled when it is loaded.

No kernel headers are needed: bcc's own headers include a dozen of them, and `shim/` stands in. It
compiles twice: first the maps, whose sizes only a compiler knows; then the programs, in which each
map's name is a macro for its descriptor.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import importlib.util
import os
import re
import sys
from collections.abc import Collection, Iterator
from typing import Any, Final

from mixstack.bpf.kernel_types import own_pid_namespace
from mixstack.bpf.wire import Config
from mixstack.errors import MissingPrivilege, NoBcc, NoKernelTypes, NoProbe, ProbeRejected
from mixstack.privileges.capabilities import effective_capabilities, missing_capabilities
from mixstack.privileges.refusal import explain_refusal

# bcc comes with the distribution, for the distribution's own Python; an environment of its own does
# not see it. It is plain Python above libbcc.so, which fits any version.
_FOLDERS: Final = (
    "/usr/lib/python3/dist-packages",
    *(f"/usr/lib/python3.{minor}/site-packages" for minor in range(20, 8, -1)),
)
_VERSION: Final = re.compile(r"^__version__ = '([\w.+-]+)'", re.MULTILINE)
_HERE: Final = os.path.dirname(__file__)
_FLAGS: Final = ("-DCONFIG_BPF_SYSCALL", "-DMS_BCC", f"-I{_HERE}")
_MAP: Final = re.compile(r"^(MAP|RING)\((\w+)", re.MULTILINE)
_RAW: Final = ("on_fork", "on_exec", "on_exit")  # programs of raw tracepoints
_RINGBUF: Final = 27  # enum bpf_map_type
_BPF_ANY: Final = 0
_PROTOTYPES: Final = {  # bcc's libbpf.h and bpf_module.h
    "bcc_create_map": (ctypes.c_int, (ctypes.c_int, ctypes.c_char_p, *(ctypes.c_int,) * 4)),
    "bpf_table_key_size_id": (ctypes.c_size_t, (ctypes.c_void_p, ctypes.c_size_t)),
    "bpf_table_leaf_size_id": (ctypes.c_size_t, (ctypes.c_void_p, ctypes.c_size_t)),
}
_HEADERS: Final = "#include <linux/sched/signal.h>\n#include <linux/pid_namespace.h>\n"
# struct task_struct, as the headers of the running kernel have it: the sizes of these arrays.
_OFFSETS: Final = {
    "task_fsbase": "offsetof(struct task_struct, thread.fsbase)",
    "task_stack": "offsetof(struct task_struct, stack)",
    "task_flags": "offsetof(struct task_struct, flags)",
    "task_tgid": "offsetof(struct task_struct, tgid)",
    "task_signal": "offsetof(struct task_struct, signal)",
    "signal_live": "offsetof(struct signal_struct, live)",
    "task_pid": "offsetof(struct task_struct, thread_pid)",
    "signal_pid": "offsetof(struct signal_struct, pids[PIDTYPE_TGID])",
    "pid_level": "offsetof(struct pid, level)",
    "pid_numbers": "offsetof(struct pid, numbers)",
    "upid_bytes": "sizeof(struct upid)",
    "upid_namespace": "offsetof(struct upid, ns)",
    "namespace_inode": "offsetof(struct pid_namespace, ns.inum)",
    "user_regs": "THREAD_SIZE - sizeof(struct pt_regs)",
}


def bcc_folder() -> str | None:
    """The folder of the package `bcc`; None if it is not installed."""
    for folder in (*sys.path, *_FOLDERS):
        package = os.path.join(folder, "bcc")
        if os.path.isfile(os.path.join(package, "libbcc.py")):  # the PyPI has another bcc
            return package
    return None


def bcc_version() -> str | None:
    """bcc's version, such as "0.26.0", without loading it; None if it is not installed."""
    folder = bcc_folder()
    if folder is None:
        return None
    try:
        with open(os.path.join(folder, "version.py")) as file:
            found = _VERSION.search(file.read())
    except (OSError, ValueError):
        return None
    return found[1] if found is not None else None


class BccObject:
    """The probe through bcc; load it after its maps were sized. Raises NoBcc, NoProbe."""

    def __init__(self) -> None:
        self._bcc = _import_bcc()
        _declare(self._bcc.lib)
        self._state = _source("state.bpf.h")
        self._text = _source("mixstack.bpf.c")
        self._entries: dict[str, int] = {}
        self._maps: dict[str, int] = {}
        self._own: list[int] = []  # descriptors that bcc does not know of
        self._modules: list[Any] = []
        self._programs: dict[str, int] = {}
        self._compiled: Any = None

    def set_entries(self, map_name: str, entries: int) -> None:
        """The number of elements of a map (bytes of a ring buffer), before loading."""
        self._entries[map_name] = entries

    def can_loop(self) -> bool:
        """Not through bcc: what bpf_loop calls is a function that is not inlined."""
        return False

    def load(self, *groups: Collection[str]) -> None:
        """Compile, create the maps, verify programs. Raises MissingPrivilege, ProbeRejected."""
        maps = self._compile('#include "state.bpf.h"\n', "-DMS_BCC_MAPS")
        for kind, name in _MAP.findall(self._state):
            self._maps[name] = self._ring(name) if kind == "RING" else self._map(maps, name)
        macros = (
            f"#define {name} (*(char *)bpf_pseudo_fd(1, {fd}))\n" for name, fd in self._maps.items()
        )
        self._compiled = self._compile("".join(macros) + self._text)
        for programs in groups:
            self.load_more(programs)

    def load_more(self, programs: Collection[str]) -> None:
        """Verify these programs as well. Raises MissingPrivilege, ProbeRejected."""
        for name in programs:
            self._programs[name] = self._verified(name)

    def map_fd(self, name: str) -> int:
        try:
            return self._maps[name]
        except KeyError:
            raise ProbeRejected(f"the probe has no map {name}") from None

    def program_fd(self, name: str) -> int:
        """Of a program that was loaded. Raises ProbeRejected."""
        try:
            return self._programs[name]
        except KeyError:
            raise ProbeRejected(f"the program {name} is not loaded") from None

    def attach_raw_tracepoint(self, program: str, tracepoint: str) -> None:
        """Run a program wherever the kernel passes this point, until `close`; needs no tracefs."""
        ctypes.set_errno(0)
        fd: int = self._bcc.lib.bpf_attach_raw_tracepoint(
            self.program_fd(program), tracepoint.encode()
        )
        if fd < 0:
            code = ctypes.get_errno()
            if code in (errno.EPERM, errno.EACCES):
                raise MissingPrivilege(*explain_refusal("attach to a tracepoint"))
            raise ProbeRejected(
                f"the kernel refused the tracepoint {tracepoint}: {os.strerror(code)}"
            )
        self._own.append(fd)

    def update(self, map_name: str, key: int, value: ctypes.Structure | ctypes.c_uint32) -> None:
        """Set an element of a map whose key is a u32."""
        index = ctypes.c_uint32(key)
        if self._bcc.lib.bpf_update_elem(
            self.map_fd(map_name), ctypes.byref(index), ctypes.byref(value), _BPF_ANY
        ):
            text = os.strerror(ctypes.get_errno() or errno.EINVAL)
            raise ProbeRejected(f"map {map_name} takes no element {key}: {text}")

    def delete(self, map_name: str, key: int) -> None:
        """Remove an element of a hash map; one that is not there is no error."""
        index = ctypes.c_uint32(key)
        self._bcc.lib.bpf_delete_elem(self.map_fd(map_name), ctypes.byref(index))

    def per_cpu_sum(self, map_name: str, key: int, cpus: int) -> int:
        """The sum over all possible CPUs of a u64 in a per-CPU array."""
        index = ctypes.c_uint32(key)
        values = (ctypes.c_uint64 * cpus)()
        self._bcc.lib.bpf_lookup_elem(
            self.map_fd(map_name), ctypes.byref(index), ctypes.byref(values)
        )
        return sum(values)

    def close(self) -> None:
        """Unload everything."""
        for module in self._modules:
            module.cleanup()
        self._modules.clear()
        for fd in self._own:
            os.close(fd)
        self._own.clear()

    def _verified(self, name: str) -> int:
        kind = self._bcc.BPF.RAW_TRACEPOINT if name in _RAW else self._bcc.BPF.PERF_EVENT
        ctypes.set_errno(0)
        try:
            with _quiet():
                fd: int = self._compiled.load_func(name.encode(), kind).fd
        except Exception as e:
            raise _refused(f"the program {name}", e) from e
        return fd

    def _compile(self, text: str, *flags: str) -> Any:
        ctypes.set_errno(0)
        try:
            with _quiet(), _kernel_source(os.path.join(_HERE, "shim")):
                module = self._bcc.BPF(text=text.encode(), cflags=[*_FLAGS, *flags])
        except Exception as e:
            raise _refused("the probe", e) from e
        self._modules.append(module)
        return module

    def _map(self, maps: Any, name: str) -> int:
        library, module, encoded = self._bcc.lib, maps.module, name.encode()
        if name not in self._entries:
            return int(library.bpf_table_fd(module, encoded))
        number = library.bpf_table_id(module, encoded)
        return self._create(
            library.bpf_table_type_id(module, number),
            name,
            library.bpf_table_key_size_id(module, number),
            library.bpf_table_leaf_size_id(module, number),
            library.bpf_table_flags_id(module, number),
        )

    def _ring(self, name: str) -> int:
        return self._create(_RINGBUF, name, 0, 0, 0)

    def _create(self, kind: int, name: str, key: int, value: int, flags: int) -> int:
        entries = self._entries[name]
        fd: int = self._bcc.lib.bcc_create_map(kind, name.encode(), key, value, entries, flags)
        if fd < 0:
            code = ctypes.get_errno()
            if code in (errno.EPERM, errno.EACCES):
                raise MissingPrivilege(*explain_refusal("make a BPF map"))
            raise ProbeRejected(f"map {name} cannot have {entries} elements: {os.strerror(code)}")
        self._own.append(fd)
        return fd


def config_from_headers() -> Config:
    """The offsets that the probe needs, from the headers of the running kernel.

    For a kernel without type information. Raises NoBcc, NoKernelTypes.
    """
    folder = f"/lib/modules/{os.uname().release}/build"
    arrays = (f"BPF_ARRAY({name}, u32, 1 + {value});" for name, value in _OFFSETS.items())
    bcc = _import_bcc()
    try:
        if not os.path.isdir(folder):
            raise FileNotFoundError(folder)
        with _quiet(), _kernel_source(None):
            module = bcc.BPF(text=(_HEADERS + "\n".join(arrays)).encode())
    except Exception as e:
        raise NoKernelTypes(
            f"this kernel ({os.uname().release}) carries no BTF type information"
            f" (/sys/kernel/btf/vmlinux), and its headers are not usable in {folder}",
            f"install them: apt-get install linux-headers-{os.uname().release}"
            "   (Fedora: dnf install kernel-devel)",
        ) from e
    number = bcc.lib.bpf_table_id
    found = {
        name: bcc.lib.bpf_table_max_entries_id(module.module, number(module.module, name.encode()))
        for name in _OFFSETS
    }
    module.cleanup()
    offsets = {name: entries - 1 for name, entries in found.items()}
    return Config(pid_namespace=own_pid_namespace(), **offsets)


def _import_bcc() -> Any:
    folder = bcc_folder()
    if folder is None:
        raise NoBcc("the package bcc is not on this machine")
    if "bcc" in sys.modules:
        return sys.modules["bcc"]
    spec = importlib.util.spec_from_file_location(
        "bcc", os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bcc"] = module
    try:
        spec.loader.exec_module(module)
    except (OSError, ImportError, AttributeError) as e:
        del sys.modules["bcc"]
        raise NoBcc(f"the package bcc in {folder} cannot be used: {e}") from e
    return module


def _declare(library: Any) -> None:
    """The prototypes of functions that the package has no use for itself. Raises NoBcc."""
    try:
        for name, (result, arguments) in _PROTOTYPES.items():
            function = getattr(library, name)
            function.restype = result
            function.argtypes = arguments
    except AttributeError as e:
        raise NoBcc(f"bcc {bcc_version()} is too old: its library has no {e.args[0]}") from e


def _source(name: str) -> str:
    try:
        with open(os.path.join(_HERE, name)) as file:
            return file.read()
    except OSError as e:
        raise NoProbe("this installation of mixstack has no source of the probe") from e


def _refused(what: str, error: Exception) -> MissingPrivilege | ProbeRejected:
    """bcc raises plain exceptions; what the kernel said is in errno."""
    lacking = missing_capabilities(effective_capabilities())
    if lacking or ctypes.get_errno() in (errno.EPERM, errno.EACCES):
        return MissingPrivilege(*explain_refusal("load a BPF program"))
    return ProbeRejected(
        f"bcc {bcc_version()} could not bring {what} into this kernel ({os.uname().release}):"
        f" {error}",
        "see why with: MIXSTACK_DEBUG=1 mixstack record ...; or try: --loader libbpf",
    )


@contextlib.contextmanager
def _kernel_source(folder: str | None) -> Iterator[None]:
    """Where bcc, and the compiler in it, look for kernel headers; None: where they always do."""
    before = os.environ.pop("BCC_KERNEL_SOURCE", None)
    if folder is not None:
        os.environ["BCC_KERNEL_SOURCE"] = folder
    try:
        yield
    finally:
        os.environ.pop("BCC_KERNEL_SOURCE", None)
        if before is not None:
            os.environ["BCC_KERNEL_SOURCE"] = before


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The compiler writes to stderr by itself; a user is shown our sentence instead."""
    if os.environ.get("MIXSTACK_DEBUG"):
        yield
        return
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)
