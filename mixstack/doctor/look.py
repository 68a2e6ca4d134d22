"""Looking at the machine and at a process: the facts that the checks judge."""

from __future__ import annotations

import os
import platform
from contextlib import closing
from itertools import islice
from typing import Final

from mixstack.bpf.bcc import bcc_version
from mixstack.bpf.libbpf import libbpf_version
from mixstack.bpf.perf import Event, best_event
from mixstack.bpf.probe import Probe, Sizes
from mixstack.doctor.facts import Machine, Refusal, Target
from mixstack.errors import MixstackError
from mixstack.privileges.capabilities import effective_capabilities, in_initial_user_namespace
from mixstack.record.launch import Launched
from mixstack.record.modules import VDSO, ModuleRegistry
from mixstack.target.interpreter import FoundInterpreter, find_interpreter
from mixstack.target.maps import MapLine
from mixstack.target.process import TargetProcess

_INITIAL_PID_NAMESPACE: Final = 0xEFFFFFFC  # PROC_PID_INIT_INO, include/linux/proc_ns.h
_LINES: Final = 500
_SMALLEST: Final = Sizes(mappings=1, pages=1, rows=1, ring_bytes=4096)
_CONTAINER_FILES: Final = {"/.dockerenv": "docker", "/run/.containerenv": "podman"}
_CGROUPS: Final = ("kubepods", "docker", "containerd", "lxc", "libpod")


def look_at_machine() -> Machine:
    """Reads settings, and loads and starts the probe for a moment."""
    return Machine(
        kernel=platform.release(),
        architecture=platform.machine(),
        types=os.access("/sys/kernel/btf/vmlinux", os.R_OK),
        jit=_number("/proc/sys/net/core/bpf_jit_enable"),
        uid=os.geteuid(),
        capabilities=effective_capabilities(),
        initial_users=in_initial_user_namespace(),
        initial_pids=_inode("/proc/self/ns/pid") in (None, _INITIAL_PID_NAMESPACE),
        paranoid=_number("/proc/sys/kernel/perf_event_paranoid"),
        bpf_disabled=_number("/proc/sys/kernel/unprivileged_bpf_disabled"),
        lockdown=active_lockdown(_text("/sys/kernel/security/lockdown")),
        kptr_restrict=_number("/proc/sys/kernel/kptr_restrict"),
        kernel_names=_shows_addresses("/proc/kallsyms"),
        ptrace_scope=_number("/proc/sys/kernel/yama/ptrace_scope"),
        hardware_clock=best_event() is Event.CYCLES,
        libbpf=libbpf_version(),
        bcc=bcc_version(),
        container=_container(),
        trial=_try(),
    )


def look_at_target(pid: int) -> Target:
    """Reads the process as a recording would, tables included; it is not stopped."""
    try:
        process = TargetProcess.open(pid)
    except MixstackError as e:
        return Target(pid, refusal=_refusal(e))
    with closing(ModuleRegistry()) as registry:
        return _look(process, registry)


def _look(process: TargetProcess, registry: ModuleRegistry) -> Target:
    without, unreadable, modules = [], [], 0
    build_id = None
    found = find_interpreter(process, process.maps())
    for line in _one_per_file(process):
        name = line.file_path or line.path
        loaded = registry.find(process, line)
        modules += 1
        if loaded is None:
            unreadable.append(name)
        elif loaded.table is None:
            without.append(name)
        if isinstance(found, FoundInterpreter) and loaded is not None and name == found.path:
            build_id = loaded.module.build_id
    threads = len(process.threads())
    if not isinstance(found, FoundInterpreter):
        return Target(
            process.pid,
            process.command,
            note=found.reason,
            threads=threads,
            modules=modules,
            without_table=tuple(without),
            unreadable=tuple(unreadable),
        )
    exe = process.exe_identity()
    return Target(
        process.pid,
        process.command,
        python="CPython " + ".".join(map(str, found.version)),
        note=found.note,
        build=found.path,
        build_id=build_id,
        static=exe is not None and exe[1] == found.module_map.inode,
        threads=threads,
        modules=modules,
        without_table=tuple(without),
        unreadable=tuple(unreadable),
    )


def active_lockdown(text: str) -> str | None:
    """The mode in brackets: "none [integrity] confidentiality"; None for a kernel without it."""
    return text.partition("[")[2].partition("]")[0] or None


def _one_per_file(process: TargetProcess) -> list[MapLine]:
    chosen: dict[tuple[int, int, str], MapLine] = {}
    for line in process.executable_maps():
        if line.file_path is not None or line.path == VDSO:
            chosen.setdefault((line.device, line.inode, line.path), line)
    return list(chosen.values())


def _try() -> Refusal | None:
    """What `record -- CMD` does first, with a program that is never let go."""
    launched = Launched(("true",))
    try:
        TargetProcess.open(launched.pid)
        probe = Probe(_SMALLEST)
        try:
            probe.start(1)
        finally:
            probe.close()
    except MixstackError as e:
        return _refusal(e)
    finally:
        launched.cancel()
    return None


def _refusal(error: MixstackError) -> Refusal:
    return Refusal(error.message, error.hint, error.exit_code)


def _container() -> str | None:
    for path, name in _CONTAINER_FILES.items():
        if os.path.exists(path):
            return name
    cgroup = _text("/proc/self/cgroup")
    return next((name for name in _CGROUPS if name in cgroup), None)


def _shows_addresses(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            # Some kernels begin with per-CPU variables, whose addresses do count from 0.
            return any(line.split(b" ")[0].strip(b"0") for line in islice(file, _LINES))
    except OSError:
        return False


def _inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino
    except OSError:
        return None


def _number(path: str) -> int | None:
    text = _text(path).strip()
    return int(text) if text.lstrip("-").isdigit() else None


def _text(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""
