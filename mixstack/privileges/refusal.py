"""Why the kernel refused: a capability, a setting, a namespace, and what to do about it."""

from __future__ import annotations

from mixstack.privileges.capabilities import (
    effective_capabilities,
    in_initial_user_namespace,
    missing_capabilities,
)


def explain_refusal(what: str) -> tuple[str, str]:
    """A sentence and a hint for a refusal of the kernel: the missing capability or the setting."""
    missing = missing_capabilities(effective_capabilities())
    if missing:
        names = " and ".join(capability.name for capability in missing)
        settings = _restrictive_settings()
        because = f" ({settings})" if settings else ""
        return (
            f"not allowed to {what}: this process lacks {names}{because}",
            "run as root: sudo mixstack record ...; in a container add: "
            + " ".join(f"--cap-add {capability.short}" for capability in missing),
        )
    if not in_initial_user_namespace():
        return (
            f"not allowed to {what}: capabilities of a user namespace do not count for it",
            "run it outside of the rootless container or user namespace, as the machine's root",
        )
    lockdown = _read("/sys/kernel/security/lockdown")
    if "[confidentiality]" in lockdown:
        return (
            f"not allowed to {what}: the kernel is locked down (lockdown=confidentiality)",
            "lockdown=integrity or none allows it; it is set at boot",
        )
    return (
        f"not allowed to {what}, although the capabilities are there",
        "a seccomp filter or a security module forbids bpf(2) or perf_event_open(2); "
        "in a container try: --security-opt seccomp=unconfined",
    )


def _restrictive_settings() -> str:
    parts = []
    bpf = _read("/proc/sys/kernel/unprivileged_bpf_disabled").strip()
    if bpf not in ("", "0"):
        parts.append(f"kernel.unprivileged_bpf_disabled={bpf}")
    perf = _read("/proc/sys/kernel/perf_event_paranoid").strip()
    if perf not in ("", "-1", "0"):
        parts.append(f"kernel.perf_event_paranoid={perf}")
    return ", ".join(parts)


def _read(path: str) -> str:
    try:
        with open(path) as f:
            return f.read()
    except OSError:
        return ""
