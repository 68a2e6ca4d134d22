"""The capabilities of this process: which it has, which recording needs, and giving the rest up."""

from __future__ import annotations

import ctypes
import enum
import os
from collections.abc import Collection
from typing import Final


class Capability(enum.IntEnum):
    """Those that matter here, by name; numbers: include/uapi/linux/capability.h."""

    CAP_DAC_READ_SEARCH = 2
    CAP_SYS_PTRACE = 19
    CAP_SYS_ADMIN = 21
    CAP_SYS_RESOURCE = 24
    CAP_SYSLOG = 34
    CAP_PERFMON = 38
    CAP_BPF = 39
    CAP_CHECKPOINT_RESTORE = 40

    @property
    def short(self) -> str:
        """As container engines write it: without CAP_."""
        return self.name.removeprefix("CAP_")


NEEDED: Final = (Capability.CAP_BPF, Capability.CAP_PERFMON)
# What CAP_SYS_ADMIN stood for before each got a capability of its own (5.8, 5.9): it still does.
_SPLIT_OFF: Final = {*NEEDED, Capability.CAP_CHECKPOINT_RESTORE}

# Once events and probe are set up: the programs that only some interpreters need, updates of the
# probe's maps (before 5.19 with CAP_BPF only), the target's memory, its files (also deleted ones),
# and the names of the kernel's functions.
FOR_RECORDING: Final = (
    *NEEDED,
    Capability.CAP_SYS_PTRACE,
    Capability.CAP_DAC_READ_SEARCH,
    Capability.CAP_CHECKPOINT_RESTORE,
    Capability.CAP_SYSLOG,
)
# Before 5.11 the probe's memory counts against RLIMIT_MEMLOCK, which libbpf raises.
FOR_SETTING_UP: Final = (*FOR_RECORDING, Capability.CAP_SYS_RESOURCE)

_INITIAL_USER_NAMESPACE: Final = 0xEFFFFFFD  # PROC_USER_INIT_INO, include/linux/proc_ns.h
_VERSION_3: Final = 0x20080522  # _LINUX_CAPABILITY_VERSION_3
_PR_SET_KEEPCAPS: Final = 8
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4

_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    """`struct __user_cap_header_struct`."""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def effective_capabilities(status: str = "/proc/self/status") -> int:
    """The CapEff mask of this process (proc(5)); 0 if it cannot be read."""
    return _mask(status, "CapEff")


def has(effective: int, capability: Capability) -> bool:
    """Whether the mask allows what the capability is for."""
    if capability in _SPLIT_OFF and effective >> Capability.CAP_SYS_ADMIN & 1:
        return True
    return bool(effective >> capability & 1)


def missing_capabilities(effective: int) -> list[Capability]:
    """The capabilities that every recording needs and the mask `effective` lacks."""
    return [capability for capability in NEEDED if not has(effective, capability)]


def in_initial_user_namespace(namespace: str = "/proc/self/ns/user") -> bool:
    """Whether capabilities count: BPF and perf events ask for them in the initial namespace."""
    try:
        return os.stat(namespace).st_ino == _INITIAL_USER_NAMESPACE
    except OSError:  # a kernel without user namespaces
        return True


def keep_only(wanted: Collection[Capability]) -> None:
    """Give up all other capabilities for good: these stay, as far as they are held.

    Nothing that this process starts later inherits any of them. Raises OSError.
    """
    permitted = _mask("/proc/self/status", "CapPrm")
    # CAP_SYS_ADMIN may be all there is for those that it stands for, and is needed then.
    stands_in = any(
        c in _SPLIT_OFF and not permitted >> c & 1 and has(permitted, c) for c in wanted
    )
    kept = {*wanted, Capability.CAP_SYS_ADMIN} if stands_in else set(wanted)
    mask = permitted & sum(1 << capability for capability in kept)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    # effective, permitted, inheritable: the lower halves, then the upper ones
    words = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)
    header = _Header(_VERSION_3, 0)
    _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    if _libc.capset(ctypes.byref(header), ctypes.byref(words)):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def keep_across_user_change() -> None:
    """Let the permitted capabilities survive the next setresuid(2); the effective ones do not."""
    if _libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _mask(status: str, field: str) -> int:
    try:
        with open(status) as file:
            for line in file:
                name, _, value = line.partition(":")
                if name == field:
                    return int(value, 16)
    except OSError:
        return 0
    return 0
