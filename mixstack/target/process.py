"""A live process, read through /proc and process_vm_readv(2); it is never stopped."""

from __future__ import annotations

import ctypes
import errno
import os
import pwd
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, NamedTuple, TypeAlias

from mixstack.errors import NoSuchProcess, NotPermitted, UsageProblem
from mixstack.target.maps import MapLine, parse_executable_maps, parse_maps

__all__ = ["ExeIdentity", "MapLine", "TargetProcess", "check_proc_is_ours", "running_processes"]

ExeIdentity: TypeAlias = tuple[int, int, str]  # st_dev, st_ino and path of a program's file
READ_LIMIT: Final = 16 << 20  # bytes; a length that comes from the target may be anything
_PF_KTHREAD: Final = 0x00200000  # linux/sched.h
_ENDED: Final = frozenset("ZXx")
_TICKS: Final = os.sysconf("SC_CLK_TCK")

_libc = ctypes.CDLL(None, use_errno=True)


class _IoVector(ctypes.Structure):
    """`struct iovec`, readv(2)."""

    _fields_ = (("base", ctypes.c_uint64), ("size", ctypes.c_uint64))


class _Stat(NamedTuple):
    """What is wanted of /proc/PID/stat. `start_time`: clock ticks after boot."""

    name: str
    state: str
    flags: int
    start_time: int


class TargetProcess:
    """A process, known by its pid and the time it started at, so that a reused pid is noticed.

    Nothing here raises because the process ended meanwhile: what cannot be read any more is
    None or empty.
    """

    __slots__ = ("command", "inner_pid", "pid", "start_time")

    def __init__(
        self,
        pid: int,
        start_time: int | None,
        command: tuple[str, ...],
        inner_pid: int | None = None,
    ) -> None:
        """start_time: clock ticks after boot; None where any process with this pid is meant.

        inner_pid: what it is to itself, if it is in a PID namespace inside of ours.
        """
        self.inner_pid = inner_pid
        self.pid = pid
        self.start_time = start_time
        self.command = command

    @classmethod
    def open(cls, pid: int) -> TargetProcess:
        """The process with this pid.

        Raises NoSuchProcess if there is none, it has ended, it is a thread or the kernel's own;
        NotPermitted if its mappings or memory may not be read.
        """
        found = _stat(pid) if pid > 0 else None
        if found is None:
            raise NoSuchProcess(f"there is no process {pid}")
        if found.state in _ENDED:
            raise NoSuchProcess(
                f"process {pid} ({found.name}) has ended; its parent has not yet collected it",
                "record a process that is still running",
            )
        if found.flags & _PF_KTHREAD:
            raise NoSuchProcess(
                f"{pid} ({found.name}) is a thread of the kernel, not a program",
                "record a program's process; perf shows the kernel's threads",
            )
        status = _status(pid)
        owner = int(status.get("Tgid", str(pid)))
        if owner != pid:
            raise NoSuchProcess(
                f"{pid} is a thread of process {owner}, not a process",
                f"record the whole process: mixstack record -p {owner}",
            )
        pids = status.get("NSpid", "").split()  # ours first; proc_pid_status(5)
        inner_pid = int(pids[-1]) if len(pids) > 1 else None
        process = cls(pid, found.start_time, _command(pid, found.name), inner_pid)
        process._check_permission(found.name, status.get("Uid", "").split("\t")[0])
        return process

    def _check_permission(self, name: str, uid: str) -> None:
        try:
            with open(f"/proc/{self.pid}/maps", "rb") as file:
                line = next(iter(parse_maps(file.readline())), None)
            # The owner of a process may read its maps but, under Yama, not its memory.
            if line is None or _read_memory(self.pid, line.start, 1) != errno.EPERM:
                return
        except PermissionError:
            pass
        except OSError as e:
            raise NoSuchProcess(f"process {self.pid} ({name}) has just ended") from e
        if uid == str(os.geteuid()):
            raise NotPermitted(
                f"the memory of process {self.pid} ({name}) is closed even to you, its owner: "
                "without CAP_SYS_PTRACE",
                "run as root; where it is Yama that forbids: sysctl kernel.yama.ptrace_scope=0",
            )
        raise NotPermitted(
            f"process {self.pid} ({name}) belongs to {_user(uid)}: its memory is closed to you "
            "without CAP_SYS_PTRACE"
        )

    def alive(self) -> bool:
        """Whether this process, not a later one with its pid, is still running."""
        found = _stat(self.pid)
        return (
            found is not None
            and self.start_time in (None, found.start_time)
            and found.state not in _ENDED
        )

    def exe_identity(self) -> ExeIdentity | None:
        """Of the program that runs; another one's after an exec."""
        link = f"/proc/{self.pid}/exe"
        try:
            info = os.stat(link)
            return info.st_dev, info.st_ino, os.readlink(link)
        except OSError:
            return None

    def read(self, address: int, size: int) -> bytes | None:
        """Exactly `size` bytes of its memory; None on a fault, or beyond READ_LIMIT."""
        if not (0 < size <= READ_LIMIT and 0 <= address < 1 << 64):
            return None
        got = _read_memory(self.pid, address, size)
        return got if isinstance(got, bytes) and len(got) == size else None

    def maps(self) -> tuple[MapLine, ...]:
        """Its mappings by address; empty if the process is gone."""
        return parse_maps(_contents(f"/proc/{self.pid}/maps") or b"")

    def executable_maps(self) -> tuple[MapLine, ...]:
        """Its executable mappings by address; empty if the process is gone."""
        return parse_executable_maps(_contents(f"/proc/{self.pid}/maps") or b"")

    def open_path(self, line: MapLine) -> str:
        """A path by which this process (not the target) can open the file of a mapping.

        By name if the name still leads to the mapped file, for that works without privileges;
        else through the process itself, which also reaches a deleted or replaced file.
        """
        through_process = f"/proc/{self.pid}/map_files/{line.start:x}-{line.end:x}"
        if line.file_path is None:
            return through_process
        # The kernel prints paths as the reader's root sees them. That is the path below the
        # target's root for a container, and the path as it stands for a plain chroot.
        for path in (f"/proc/{self.pid}/root{line.path}", line.path):
            try:
                info = os.stat(path)
            except (OSError, ValueError):
                continue
            # Btrfs and overlayfs show a different device in maps than in stat.
            if info.st_ino == line.inode and (
                info.st_dev == line.device or _same_file(path, through_process, line.device)
            ):
                return path
        return through_process

    def threads(self) -> list[int]:
        """The ids of its threads, ascending; empty if the process is gone."""
        try:
            return sorted(int(name) for name in os.listdir(f"/proc/{self.pid}/task"))
        except OSError:
            return []

    def thread_name(self, tid: int) -> str | None:
        """The kernel's name of a thread (at most 15 bytes), or None if it is gone."""
        name = _contents(f"/proc/{self.pid}/task/{tid}/comm")
        return None if name is None else name.removesuffix(b"\n").decode("utf-8", "replace")

    def own_pid(self) -> int:
        """Its pid as it sees it itself, in its own PID namespace."""
        return self.own_tid(self.pid)

    def own_tid(self, tid: int) -> int:
        """The id of one of its threads as it sees it itself."""
        numbers = _status(f"{self.pid}/task/{tid}").get("NSpid", "").split()
        return int(numbers[-1]) if numbers else tid

    def user(self) -> int | None:
        """The effective user id, or None if it is gone."""
        ids = _status(self.pid).get("Uid", "").split()
        return int(ids[1]) if len(ids) > 1 else None

    def started_unix_s(self) -> float:
        """The wall clock when it started, in seconds; to about 1/100 s. Now, if it is gone."""
        found = _stat(self.pid) if self.start_time is None else None
        start_time = found.start_time if found is not None else self.start_time
        if start_time is None:
            return time.time()
        age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - start_time / _TICKS
        return time.time() - age_s

    def vdso(self) -> bytes | None:
        """The image of the kernel's vDSO as it is mapped: an ELF file, whole pages."""
        for line in self.maps():
            if line.path == "[vdso]":
                return self.read(line.start, line.end - line.start)
        return None


def check_proc_is_ours() -> None:
    """Raises UsageProblem if /proc has other pids than ours: those of another PID namespace."""
    try:
        own = os.readlink("/proc/self")
    except OSError:
        own = "missing"
    if own != str(os.getpid()):
        raise UsageProblem(
            "/proc is not of this PID namespace: its processes have other numbers",
            "mount it anew: mount -t proc proc /proc",
        )


def running_processes() -> Iterator[TargetProcess]:
    """All that run now and may be read, but this one."""
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with suppress(NoSuchProcess, NotPermitted):
                yield TargetProcess.open(int(name))


def _read_memory(pid: int, address: int, size: int) -> bytes | int:
    """Up to `size` bytes, or the errno of the failure; process_vm_readv(2).

    Not through an open /proc/PID/mem: that stays with the old memory when the process execs.
    """
    buffer = ctypes.create_string_buffer(size)
    local = _IoVector(ctypes.addressof(buffer), size)
    remote = _IoVector(address, size)
    got: int = _process_vm_readv(pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)
    return buffer.raw[:got] if got >= 0 else ctypes.get_errno()


_process_vm_readv = _libc.process_vm_readv
_process_vm_readv.restype = ctypes.c_ssize_t
_process_vm_readv.argtypes = (
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_ulong,
    ctypes.c_void_p,
    ctypes.c_ulong,
    ctypes.c_ulong,
)


def _same_file(path: str, through_process: str, device: int) -> bool:
    """Whether both paths lead to one file, for a file system whose devices cannot be compared."""
    try:
        return os.path.samefile(path, through_process)
    except PermissionError:
        # Without the privilege for map_files the inode has to do, unless the device is an
        # ordinary one: those are the same in maps and in stat.
        return os.major(device) == 0
    except OSError:
        return False


def _contents(path: str) -> bytes | None:
    try:
        with open(path, "rb", buffering=0) as file:  # /proc: read whole, and a few times a second
            return file.read()
    except OSError:
        return None


def _stat(pid: int) -> _Stat | None:
    """proc(5), /proc/PID/stat. The name stands in brackets and may itself hold any of them."""
    text = _contents(f"/proc/{pid}/stat")
    if text is None:
        return None
    head, _, tail = text.rpartition(b")")
    fields = tail.split()
    name = head.partition(b"(")[2].decode("utf-8", "replace")
    if len(fields) < 20:
        return None
    return _Stat(name, fields[0].decode("ascii"), int(fields[6]), int(fields[19]))


def _status(pid: int | str) -> dict[str, str]:
    lines = (_contents(f"/proc/{pid}/status") or b"").decode("utf-8", "replace").splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _command(pid: int, name: str) -> tuple[str, ...]:
    """The argument vector; "[name]" where it is empty. Not UTF-8: as \\xNN, it is only shown."""
    # A program that overwrites its title leaves the rest of the area zero.
    raw = (_contents(f"/proc/{pid}/cmdline") or b"").rstrip(b"\0")
    if not raw:
        return (f"[{name}]",)
    return tuple(part.decode("utf-8", "backslashreplace") for part in raw.split(b"\0"))


def _user(uid: str) -> str:
    try:
        return f"user {pwd.getpwuid(int(uid)).pw_name}"
    except (KeyError, ValueError):
        return f"user {uid}" if uid else "another user"
