"""A machine on which all is well, and a process on it: tests replace what they are about."""

from __future__ import annotations

from mixstack.doctor.facts import Machine, Target

ROOT = (1 << 41) - 1

WELL = Machine(
    kernel="6.18.44-cloud",
    architecture="x86_64",
    types=True,
    jit=1,
    uid=0,
    capabilities=ROOT,
    initial_users=True,
    initial_pids=True,
    paranoid=2,
    bpf_disabled=2,
    lockdown=None,
    kptr_restrict=0,
    kernel_names=True,
    ptrace_scope=None,
    hardware_clock=True,
    libbpf="1.1",
    bcc=None,
    container=None,
    trial=None,
)

PROCESS = Target(
    pid=7,
    command=("python", "my app.py"),
    python="CPython 3.12.1",
    build="/usr/bin/python3.12",
    build_id="00ff",
    static=True,
    threads=3,
    modules=12,
)
