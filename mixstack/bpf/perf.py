"""The clock that makes the probe run: one perf event per CPU, of the PMU or of the kernel's timers.

`struct perf_event_attr`, flags and ioctls: include/uapi/linux/perf_event.h.
"""

from __future__ import annotations

import ctypes
import enum
import errno
import fcntl
import mmap
import os
import struct
from typing import Final

from mixstack.errors import MissingPrivilege, NoHardwareClock, ProbeRejected
from mixstack.privileges.refusal import explain_refusal

_SYS_PERF_EVENT_OPEN = 298  # x86-64
_PERF_TYPE_HARDWARE = 0
_PERF_COUNT_HW_CPU_CYCLES = 0
_PERF_TYPE_SOFTWARE = 1
_PERF_COUNT_SW_CPU_CLOCK = 0
_PERF_FLAG_FD_CLOEXEC = 8
_IOC_ENABLE = 0x2400
_IOC_SET_BPF = 0x40042408
_ATTR_SIZE = 128
_DISABLED = 1 << 0
_EXCLUDE_IDLE = 1 << 7
_FREQUENCY = 1 << 10

# struct perf_event_mmap_page: where the kernel has written to, and we have read to; then the
# records, behind the first page, each with u32 type, u16 misc, u16 size.
_HEAD_AT = 1024
_TAIL_AT = 1032
_RECORD = struct.Struct("<IHH")
_RECORD_THROTTLE = 5


class Event(enum.Enum):
    """What is counted to take a sample: the value is perf's name of it."""

    CYCLES = "cycles"  # the CPU's own counter: its interrupt (NMI) comes also where timers are off
    CPU_CLOCK = "cpu-clock"  # a timer of the kernel: everywhere


_TYPES: Final = {
    Event.CYCLES: (_PERF_TYPE_HARDWARE, _PERF_COUNT_HW_CPU_CYCLES),
    Event.CPU_CLOCK: (_PERF_TYPE_SOFTWARE, _PERF_COUNT_SW_CPU_CLOCK),
}
# What perf_event_open(2) says of hardware events on a machine without a PMU, as virtual ones are.
_NO_SUCH_EVENT: Final = (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV)


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


def best_event() -> Event:
    """CYCLES where this machine has a PMU and we may use it, else CPU_CLOCK."""
    try:
        fd = _open(Event.CYCLES, online_cpus()[0], 1)
    except OSError:
        return Event.CPU_CLOCK
    if fd is None:
        return Event.CPU_CLOCK
    os.close(fd)
    return Event.CYCLES


class SamplingClock:
    """An event on every online CPU, each running a BPF program `rate_hz` times a second.

    Idle CPUs do not tick. Raises MissingPrivilege, NoHardwareClock, ProbeRejected.
    throttled: how often the kernel paused a CPU's event, until its next tick: more interrupts came
    than kernel.perf_event_max_sample_rate allows, and what would have been sampled then is lost.
    """

    def __init__(self, program_fd: int, rate_hz: int, event: Event = Event.CPU_CLOCK) -> None:
        self.throttled = 0
        self._fds: list[int] = []
        self._logs: list[mmap.mmap] = []
        try:
            for cpu in online_cpus():
                fd = _open(event, cpu, rate_hz)
                if fd is None:
                    continue
                self._fds.append(fd)
                self._logs.append(mmap.mmap(fd, 2 * mmap.PAGESIZE))
                fcntl.ioctl(fd, _IOC_SET_BPF, program_fd)
            for fd in self._fds:
                fcntl.ioctl(fd, _IOC_ENABLE, 0)
        except OSError as e:
            self.close()
            if e.errno in (errno.EPERM, errno.EACCES):
                raise MissingPrivilege(*explain_refusal("attach to a perf event")) from e
            if event is Event.CYCLES and e.errno in _NO_SUCH_EVENT:
                raise NoHardwareClock("this machine has no counter of CPU cycles (no PMU)") from e
            raise ProbeRejected(f"the kernel refused the sampling clock: {e.strerror}") from e
        except BaseException:
            self.close()
            raise

    def count(self) -> None:
        """Bring `throttled` up to date: samples go through the probe, so little else is logged."""
        for log in self._logs:
            head = int.from_bytes(log[_HEAD_AT : _HEAD_AT + 8], "little")
            tail = int.from_bytes(log[_TAIL_AT : _TAIL_AT + 8], "little")
            while tail < head:
                at = mmap.PAGESIZE + tail % mmap.PAGESIZE  # 8-aligned: a record's head is whole
                kind, _, size = _RECORD.unpack_from(log, at)
                self.throttled += kind == _RECORD_THROTTLE
                tail += size or head - tail
            log[_TAIL_AT : _TAIL_AT + 8] = tail.to_bytes(8, "little")

    def close(self) -> None:
        """Stop sampling."""
        self.count()
        for log in self._logs:
            log.close()
        self._logs.clear()
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()


def period_ns(rate_hz: int) -> int:
    """The time between two samples of a timer."""
    return 1_000_000_000 // rate_hz


def _open(event: Event, cpu: int, rate_hz: int) -> int | None:
    """An event on one CPU, still disabled; None if that CPU has just gone offline."""
    kind, config = _TYPES[event]
    flags = _DISABLED | _EXCLUDE_IDLE
    # A timer keeps to its period; how many cycles a second has, the kernel finds out by itself.
    period = period_ns(rate_hz)
    if event is Event.CYCLES:
        flags |= _FREQUENCY
        period = rate_hz
    attr = struct.pack("<IIQQQQQ", kind, _ATTR_SIZE, config, period, 0, 0, flags)
    libc = ctypes.CDLL(None, use_errno=True)
    fd = int(
        libc.syscall(
            ctypes.c_long(_SYS_PERF_EVENT_OPEN),
            ctypes.c_char_p(attr.ljust(_ATTR_SIZE, b"\0")),
            ctypes.c_int(-1),
            ctypes.c_int(cpu),
            ctypes.c_int(-1),
            ctypes.c_ulong(_PERF_FLAG_FD_CLOEXEC),
        )
    )
    if fd >= 0:
        return fd
    code = ctypes.get_errno()
    if code == errno.ENODEV and event is Event.CPU_CLOCK:
        return None
    raise OSError(code, os.strerror(code))
