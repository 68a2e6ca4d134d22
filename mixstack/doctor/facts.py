"""What there is: the machine, this user's rights, and the process to record, as values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """What recording would end with: the sentence, the hint and the exit code of an error."""

    message: str
    hint: str
    exit_code: int


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine and this process. None: not known, or this kernel has no such thing.

    types: the kernel's BTF can be read. capabilities: the effective mask. paranoid, bpf_disabled,
    kptr_restrict, ptrace_scope, jit: sysctls of these names. lockdown: the mode that is in force.
    kernel_names: /proc/kallsyms shows us addresses. hardware_clock: there is a PMU.
    initial_users, initial_pids: we are in the machine's own namespace of users, of process ids.
    container: what shows that this is one. libbpf, bcc: versions. trial: None if the probe could be
    loaded and started just now.
    """

    kernel: str
    architecture: str
    types: bool
    jit: int | None
    uid: int
    capabilities: int
    initial_users: bool
    initial_pids: bool
    paranoid: int | None
    bpf_disabled: int | None
    lockdown: str | None
    kptr_restrict: int | None
    kernel_names: bool
    ptrace_scope: int | None
    hardware_clock: bool
    libbpf: str | None
    bcc: str | None
    container: str | None
    trial: Refusal | None


@dataclass(frozen=True, slots=True)
class Target:
    """The process to record.

    refusal: it cannot be recorded at all. python: "CPython 3.12.1", None without one; note: why
    not, or why its frames may be wrong. build: the file of the interpreter. modules: mapped files;
    without_table: those of them whose frames have no unwind rules; unreadable: those that could
    not be opened.
    """

    pid: int
    command: tuple[str, ...] = ()
    refusal: Refusal | None = None
    python: str | None = None
    note: str | None = None
    build: str | None = None
    build_id: str | None = None
    static: bool = False
    threads: int = 0
    modules: int = 0
    without_table: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
