"""What this process may do: capabilities and the sysctls that restrict BPF and perf events."""

from __future__ import annotations

# Numbers: include/uapi/linux/capability.h
_NEEDED = {"CAP_BPF": 39, "CAP_PERFMON": 38}
_CAP_SYS_ADMIN = 21


def missing_capabilities(effective: int) -> list[str]:
    """The names of the capabilities that recording needs and the mask `effective` lacks."""
    if effective >> _CAP_SYS_ADMIN & 1:
        return []
    return [name for name, bit in _NEEDED.items() if not effective >> bit & 1]


def effective_capabilities(status: str = "/proc/self/status") -> int:
    """The CapEff mask of this process (proc(5)); 0 if it cannot be read."""
    try:
        with open(status) as f:
            for line in f:
                if line.startswith("CapEff:"):
                    return int(line.split()[1], 16)
    except OSError:
        return 0
    return 0


def explain_refusal(what: str) -> tuple[str, str]:
    """A sentence and a hint for a refusal of the kernel: the missing capability or the sysctl."""
    missing = missing_capabilities(effective_capabilities())
    if missing:
        names = " and ".join(missing)
        settings = _restrictive_settings()
        because = f" ({settings})" if settings else ""
        return (
            f"not allowed to {what}: this process lacks {names}{because}",
            "run as root: sudo mixstack record ...; in a container add: "
            + " ".join(f"--cap-add {name.removeprefix('CAP_')}" for name in missing),
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
