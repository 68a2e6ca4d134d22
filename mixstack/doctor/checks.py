"""From facts to a verdict: one line per question, with what would mend it; pure."""

from __future__ import annotations

import enum
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from mixstack.doctor.facts import Machine, Target
from mixstack.privileges.capabilities import NEEDED, Capability, has

_OLDEST: Final = (5, 8)  # ring buffers, CAP_BPF
_SHOWN: Final = 8


class Status(enum.Enum):
    OK = "ok"
    LIMITED = "limited"  # recording works, with less in it
    MISSING = "missing"  # recording does not work


@dataclass(frozen=True, slots=True)
class Remedy:
    """What mends it: a command, an option of docker and podman, a Kubernetes field, or words."""

    kind: str  # "command", "container", "kubernetes", "advice"
    text: str


@dataclass(frozen=True, slots=True)
class Check:
    """One question about this machine, user or process, and the answer."""

    name: str
    status: Status
    found: str
    remedies: tuple[Remedy, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """All checks. exit_code: 0 only if recording would work; else that of its refusal."""

    machine: tuple[Check, ...]
    rights: tuple[Check, ...]
    target: tuple[Check, ...]
    exit_code: int


@dataclass(frozen=True, slots=True)
class _Right:
    """What a capability is for, and what there is without it."""

    capability: Capability
    purpose: str
    without: str


_RIGHTS: Final = (
    _Right(Capability.CAP_BPF, "loads the probe", "the probe cannot be loaded"),
    _Right(Capability.CAP_PERFMON, "samples all CPUs", "no CPU can be sampled"),
    _Right(
        Capability.CAP_SYS_PTRACE,
        "reads other users' processes",
        "only processes of your own, with no more privileges than you have",
    ),
    _Right(Capability.CAP_SYSLOG, "names of kernel functions", "kernel frames have no names"),
    _Right(
        Capability.CAP_DAC_READ_SEARCH,
        "reads files that are closed to you",
        "files that are closed to you have no tables and names",
    ),
    _Right(
        Capability.CAP_CHECKPOINT_RESTORE,
        "reads deleted files that are still mapped",
        "libraries that were replaced on disk have no tables and names",
    ),
)


def examine(machine: Machine, target: Target | None) -> Report:
    """The verdict on a machine, and on a process if one is given."""
    # In the order in which a recording would meet them: it looks at the process first.
    refusals = [target.refusal if target is not None else None, machine.trial]
    return Report(
        tuple(_machine(machine)),
        tuple(_rights(machine)),
        tuple(_target(machine, target)) if target is not None else (),
        next((refusal.exit_code for refusal in refusals if refusal is not None), 0),
    )


def _machine(m: Machine) -> Iterator[Check]:
    in_container = m.container is not None
    enough = kernel_version(m.kernel) >= _OLDEST and m.architecture == "x86_64"
    yield Check(
        "kernel",
        Status.OK if enough else Status.MISSING,
        f"{m.kernel}, {m.architecture}",
        () if enough else _advice("mixstack needs Linux 5.8 or later on x86_64"),
    )
    if m.types:
        yield Check("kernel types (BTF)", Status.OK, "/sys/kernel/btf/vmlinux")
    else:
        yield Check(
            "kernel types (BTF)",
            Status.MISSING,
            "this kernel has none, or /sys is not mounted",
            _advice("use a kernel built with CONFIG_DEBUG_INFO_BTF=y, and mount /sys"),
        )
    yield _jit(m.jit)
    locked = m.lockdown == "confidentiality"
    yield Check(
        "lockdown",
        Status.MISSING if locked else Status.OK,
        m.lockdown or "none",
        _advice("boot with lockdown=integrity or without lockdown") if locked else (),
    )
    clock = "cycles (PMU)" if m.hardware_clock else "cpu-clock (this machine has no PMU for us)"
    yield Check("sampling clock", Status.OK, clock)
    yield Check(
        "libbpf",
        Status.OK if m.libbpf is not None else Status.MISSING,
        m.libbpf or "not installed",
        () if m.libbpf else (Remedy("command", "apt-get install libbpf1"),),
    )
    yield Check("bcc", Status.OK, m.bcc or "not installed; it is not needed")
    yield Check("tracefs", Status.OK, "not needed")
    yield Check("container", Status.OK, f"yes: {m.container}" if in_container else "no")
    if not m.initial_pids:
        yield Check(
            "process ids",
            Status.LIMITED,
            "of this container only; others cannot be recorded",
            (Remedy("container", "--pid host"), Remedy("kubernetes", "hostPID: true")),
        )
    if m.trial is None:
        yield Check("trial", Status.OK, "the probe loads and starts")
    else:
        yield Check("trial", Status.MISSING, m.trial.message, _advice(m.trial.hint))


def _jit(jit: int | None) -> Check:
    if jit == 0:
        return Check(
            "BPF JIT",
            Status.LIMITED,
            "off: the probe is interpreted and takes many times as long",
            (Remedy("command", "sysctl -w net.core.bpf_jit_enable=1"),),
        )
    return Check("BPF JIT", Status.OK, "on" if jit is not None else "not shown here")


def _rights(m: Machine) -> Iterator[Check]:
    if not m.initial_users:
        yield Check(
            "user namespace",
            Status.MISSING,
            "not the machine's own: capabilities in it do not count for BPF",
            _advice("run it outside of the rootless container, as the machine's root"),
        )
    for right in _RIGHTS:
        yield _right(m, right)
    yield Check("kernel.unprivileged_bpf_disabled", Status.OK, _setting(m.bpf_disabled))
    yield Check("kernel.perf_event_paranoid", Status.OK, _setting(m.paranoid))
    yield _kptr_restrict(m)
    yield _ptrace_scope(m)


def _right(m: Machine, right: _Right) -> Check:
    capability = right.capability
    if has(m.capabilities, capability):
        by = "" if m.capabilities >> capability & 1 else " (by CAP_SYS_ADMIN)"
        return Check(capability.name, Status.OK, right.purpose + by)
    if capability is Capability.CAP_SYSLOG and m.kernel_names:
        return Check(capability.name, Status.OK, "not held, and not needed on this machine")
    status = Status.MISSING if capability in NEEDED else Status.LIMITED
    return Check(capability.name, status, right.without, _grant(m, capability))


def _grant(m: Machine, capability: Capability) -> tuple[Remedy, ...]:
    if m.container is None or m.uid != 0:
        sudo = Remedy("command", "sudo mixstack record ...")
        if m.container is None:
            return (sudo,)
        return (sudo, *_grant_to_container(capability))
    return _grant_to_container(capability)


def _grant_to_container(capability: Capability) -> tuple[Remedy, ...]:
    return (
        Remedy("container", f"--cap-add {capability.short}"),
        Remedy("kubernetes", f"securityContext: {{capabilities: {{add: [{capability.short}]}}}}"),
    )


def _kptr_restrict(m: Machine) -> Check:
    name = "kernel.kptr_restrict"
    hidden = not m.kernel_names and has(m.capabilities, Capability.CAP_SYSLOG)
    if hidden and m.kptr_restrict is not None and m.kptr_restrict >= 2:
        mend = Remedy("command", "sysctl -w kernel.kptr_restrict=1")
        return Check(name, Status.LIMITED, "2: kernel frames have no names", (mend,))
    return Check(name, Status.OK, _setting(m.kptr_restrict))


def _ptrace_scope(m: Machine) -> Check:
    name = "kernel.yama.ptrace_scope"
    scope = m.ptrace_scope or 0
    if scope >= 3:
        found = f"{scope}: no process may be read; only a reboot changes it"
        return Check(name, Status.MISSING, found, _advice("boot with another kernel.yama setting"))
    if scope >= 1 and not has(m.capabilities, Capability.CAP_SYS_PTRACE):
        mend = Remedy("command", "sysctl -w kernel.yama.ptrace_scope=0")
        found = f"{scope}: without CAP_SYS_PTRACE only: mixstack record -- CMD"
        return Check(name, Status.LIMITED, found, (mend,))
    return Check(name, Status.OK, _setting(m.ptrace_scope))


def _target(m: Machine, target: Target) -> Iterator[Check]:
    if target.refusal is not None:
        remedies = _advice(target.refusal.hint)
        if not has(m.capabilities, Capability.CAP_SYS_PTRACE) and target.refusal.exit_code == 4:
            remedies = _grant(m, Capability.CAP_SYS_PTRACE)
        yield Check("process", Status.MISSING, target.refusal.message, remedies)
        return
    yield Check(
        "process", Status.OK, f"{shlex.join(target.command)}, {_count(target.threads, 'thread')}"
    )
    if target.python is None:
        yield Check(
            "interpreter",
            Status.LIMITED,
            f"{target.note}; only native stacks",
            _advice("docs/support.md says which builds are supported"),
        )
    else:
        status = Status.OK if target.note is None else Status.LIMITED
        note = f" ({target.note})" if target.note is not None else ""
        yield Check("interpreter", status, target.python + note)
        kind = "static" if target.static else "shared"
        yield Check("build", Status.OK, f"{target.build}, {kind}, id {target.build_id or 'none'}")
    yield _files("unwind tables", target.modules, target.without_table, "no unwind table")
    if target.unreadable:
        yield _files("files", target.modules, target.unreadable, "cannot be read")


def _files(name: str, modules: int, bad: tuple[str, ...], what: str) -> Check:
    if not bad:
        return Check(name, Status.OK, f"of all {_count(modules, 'file')}")
    shown = ", ".join(bad[:_SHOWN]) + (", ..." if len(bad) > _SHOWN else "")
    found = f"{len(bad)} of {_count(modules, 'file')} with {what}: {shown}"
    return Check(name, Status.LIMITED, found, _advice("stacks through these files may be cut"))


def kernel_version(release: str) -> tuple[int, int]:
    """(6, 18) of "6.18.44-cloud"; (0, 0) of what is no release."""
    found = re.match(r"(\d+)\.(\d+)", release)
    return (int(found[1]), int(found[2])) if found is not None else (0, 0)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _setting(value: int | None) -> str:
    return "not there" if value is None else str(value)


def _advice(text: str) -> tuple[Remedy, ...]:
    return (Remedy("advice", text),) if text else ()
