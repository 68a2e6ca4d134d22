"""Where the running kernel keeps a task's fs base, stack and user registers: read from its BTF."""

from __future__ import annotations

import ctypes
import os

from mixstack.bpf.libbpf import Libbpf
from mixstack.bpf.wire import Config
from mixstack.errors import NoKernelTypes

# include/uapi/linux/btf.h
_KIND_STRUCT = 4
_KIND_UNION = 5
_TYPE_HEAD = 12  # struct btf_type
_MEMBER = 12  # struct btf_member
_BITFIELDS = 1 << 31  # kind_flag: member offsets carry a bit-field size in bits 24..31

# The user's registers lie at the top of the kernel stack. THREAD_SIZE is 16 KiB on x86-64 unless
# the kernel is a KASAN build (arch/x86/include/asm/page_64_types.h); BTF does not tell it. The
# probe checks what it reads there and does without where it is wrong.
_THREAD_SIZE = 16384
_POINTER = 8
_PIDTYPE_TGID = 1  # include/linux/pid_types.h
_INITIAL_PID_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO, include/linux/proc_ns.h
_PT_REGS_BYTES = 168  # struct pt_regs of x86-64, unchanged in size since 2.6


class _Types:
    def __init__(self, library: Libbpf) -> None:
        self._library = library
        # Each search goes through a hundred thousand types.
        self._found: dict[tuple[str, int], int] = {}
        self._btf = library.btf__load_vmlinux_btf()
        if not self._btf:
            raise NoKernelTypes(
                f"this kernel ({os.uname().release}) carries no BTF type information "
                "(/sys/kernel/btf/vmlinux)"
            )

    def close(self) -> None:
        self._library.btf__free(self._btf)

    def offset(self, struct: str, *path: str) -> int:
        """Where a member of a struct is, in bytes; `path` leads through structs inside it."""
        type_id, offset = self.find(struct, _KIND_STRUCT), 0
        for name in path:
            found = self.member(type_id, name)
            if found is None:
                raise NoKernelTypes(f"this kernel's {struct} is laid out in an unknown way")
            offset, type_id = offset + found[0], found[1]
        return offset

    def size(self, struct: str) -> int:
        """In bytes."""
        return self._words(self.find(struct, _KIND_STRUCT), 3)[2]

    def find(self, name: str, kind: int) -> int:
        if (name, kind) not in self._found:
            found: int = self._library.btf__find_by_name_kind(self._btf, name.encode(), kind)
            if found < 0:
                raise NoKernelTypes(f"this kernel's BTF does not know {name}")
            self._found[name, kind] = found
        return self._found[name, kind]

    def member(self, type_id: int, name: str) -> tuple[int, int] | None:
        """(offset in bytes, type id) of a member; members of anonymous parts count as ours."""
        info = self._words(type_id, 3)[1]
        count = info & 0xFFFF
        words = self._words(type_id, 3 + 3 * count)[3:]
        for at in range(0, 3 * count, 3):
            name_offset, member_type, bits = words[at : at + 3]
            if info & _BITFIELDS:
                bits &= 0xFFFFFF
            member_name = ctypes.string_at(
                self._library.btf__name_by_offset(self._btf, name_offset)
            ).decode()
            if member_name == name:
                return bits // 8, member_type
            if not member_name and self._is_compound(member_type):
                inner = self.member(member_type, name)
                if inner is not None:
                    return bits // 8 + inner[0], inner[1]
        return None

    def _is_compound(self, type_id: int) -> bool:
        return (self._words(type_id, 3)[1] >> 24) & 0x1F in (_KIND_STRUCT, _KIND_UNION)

    def _words(self, type_id: int, count: int) -> list[int]:
        address = self._library.btf__type_by_id(self._btf, type_id)
        if not address:
            raise NoKernelTypes(f"this kernel's BTF has no type {type_id}")
        return list((ctypes.c_uint32 * count).from_address(address))


def kernel_config(library: Libbpf) -> Config:
    """The offsets that the probe needs. Raises NoKernelTypes."""
    types = _Types(library)
    try:
        return Config(
            task_fsbase=types.offset("task_struct", "thread", "fsbase"),
            task_stack=types.offset("task_struct", "stack"),
            user_regs=_THREAD_SIZE - _PT_REGS_BYTES,
            task_flags=types.offset("task_struct", "flags"),
            task_tgid=types.offset("task_struct", "tgid"),
            task_signal=types.offset("task_struct", "signal"),
            signal_live=types.offset("signal_struct", "live"),
            pid_namespace=own_pid_namespace(),
            task_pid=types.offset("task_struct", "thread_pid"),
            signal_pid=types.offset("signal_struct", "pids") + _PIDTYPE_TGID * _POINTER,
            pid_level=types.offset("pid", "level"),
            pid_numbers=types.offset("pid", "numbers"),
            upid_bytes=types.size("upid"),
            upid_namespace=types.offset("upid", "ns"),
            namespace_inode=types.offset("pid_namespace", "ns", "inum"),
        )
    finally:
        types.close()


def own_pid_namespace() -> int:
    """The inode of the namespace whose pids this process uses; 0 for the initial one."""
    inode = os.stat("/proc/self/ns/pid").st_ino
    return 0 if inode == _INITIAL_PID_NAMESPACE else inode
