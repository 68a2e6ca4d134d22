"""The clock that makes the probe run: one cpu-clock software event per CPU.

`struct perf_event_attr`, flags and ioctls: include/uapi/linux/perf_event.h.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct

from mixstack.bpf.privileges import explain_refusal
from mixstack.errors import MissingPrivilege, ProbeRejected

_SYS_PERF_EVENT_OPEN = 298  # x86-64
_PERF_TYPE_SOFTWARE = 1
_PERF_COUNT_SW_CPU_CLOCK = 0
_PERF_FLAG_FD_CLOEXEC = 8
_IOC_ENABLE = 0x2400
_IOC_SET_BPF = 0x40042408
_ATTR_SIZE = 128
_DISABLED = 1 << 0
_EXCLUDE_IDLE = 1 << 7


def cpus_in(listing: str) -> list[int]:
    """The CPU numbers of a kernel CPU list such as "0-3,8"."""
    found: list[int] = []
    for part in listing.strip().split(","):
        if part:
            first, _, last = part.partition("-")
            found.extend(range(int(first), int(last or first) + 1))
    return found


def online_cpus() -> list[int]:
    with open("/sys/devices/system/cpu/online") as f:
        return cpus_in(f.read())


def possible_cpus() -> int:
    """How many values a per-CPU map has."""
    with open("/sys/devices/system/cpu/possible") as f:
        return max(cpus_in(f.read())) + 1


class CpuClock:
    """cpu-clock events on every online CPU, each running a BPF program `rate_hz` times a second.

    Idle CPUs do not tick. Raises MissingPrivilege, ProbeRejected.
    """

    def __init__(self, program_fd: int, rate_hz: int) -> None:
        self.period_ns = 1_000_000_000 // rate_hz
        self._fds: list[int] = []
        try:
            for cpu in online_cpus():
                fd = _open_clock(cpu, self.period_ns)
                if fd is None:
                    continue
                self._fds.append(fd)
                fcntl.ioctl(fd, _IOC_SET_BPF, program_fd)
            for fd in self._fds:
                fcntl.ioctl(fd, _IOC_ENABLE, 0)
        except OSError as e:
            self.close()
            if e.errno in (errno.EPERM, errno.EACCES):
                raise MissingPrivilege(*explain_refusal("attach to a perf event")) from e
            raise ProbeRejected(f"the kernel refused the sampling clock: {e.strerror}") from e
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop sampling."""
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()


def _open_clock(cpu: int, period_ns: int) -> int | None:
    """An event on one CPU, still disabled; None if that CPU has just gone offline."""
    attr = struct.pack(
        "<IIQQQQQ",
        _PERF_TYPE_SOFTWARE,
        _ATTR_SIZE,
        _PERF_COUNT_SW_CPU_CLOCK,
        period_ns,
        0,
        0,
        _DISABLED | _EXCLUDE_IDLE,
    ).ljust(_ATTR_SIZE, b"\0")
    libc = ctypes.CDLL(None, use_errno=True)
    fd = int(
        libc.syscall(
            ctypes.c_long(_SYS_PERF_EVENT_OPEN),
            ctypes.c_char_p(attr),
            ctypes.c_int(-1),
            ctypes.c_int(cpu),
            ctypes.c_int(-1),
            ctypes.c_ulong(_PERF_FLAG_FD_CLOEXEC),
        )
    )
    if fd >= 0:
        return fd
    code = ctypes.get_errno()
    if code == errno.ENODEV:
        return None
    raise OSError(code, os.strerror(code))
