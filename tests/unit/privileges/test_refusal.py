"""What a refusal of the kernel is explained by."""

from __future__ import annotations

import pytest

from mixstack.privileges import refusal
from mixstack.privileges.refusal import explain_refusal

BPF = 1 << 39  # include/uapi/linux/capability.h
DISABLED = "/proc/sys/kernel/unprivileged_bpf_disabled"
PARANOID = "/proc/sys/kernel/perf_event_paranoid"
LOCKDOWN = "/sys/kernel/security/lockdown"
ROOT = (1 << 41) - 1


@pytest.mark.parametrize(
    ("effective", "files", "said", "hinted"),
    [
        pytest.param(
            0,
            {DISABLED: "2\n", PARANOID: "3\n"},
            "lacks CAP_BPF and CAP_PERFMON (kernel.unprivileged_bpf_disabled=2, "
            "kernel.perf_event_paranoid=3)",
            "--cap-add BPF --cap-add PERFMON",
            id="a user under strict settings",
        ),
        pytest.param(
            BPF,
            {DISABLED: "0\n", PARANOID: "-1\n"},
            "lacks CAP_PERFMON",
            "--cap-add PERFMON",
            id="one capability, no setting to blame",
        ),
        pytest.param(
            ROOT,
            {LOCKDOWN: "none integrity [confidentiality]\n"},
            "lockdown=confidentiality",
            "set at boot",
            id="a locked kernel",
        ),
        pytest.param(
            ROOT,
            {LOCKDOWN: "none [integrity] confidentiality\n"},
            "although the capabilities are there",
            "seccomp",
            id="a filter",
        ),
        pytest.param(
            ROOT, {}, "although the capabilities are there", "seccomp", id="no securityfs"
        ),
    ],
)
def test_a_refusal_names_what_is_in_the_way(
    monkeypatch: pytest.MonkeyPatch,
    effective: int,
    files: dict[str, str],
    said: str,
    hinted: str,
) -> None:
    monkeypatch.setattr(refusal, "effective_capabilities", lambda: effective)
    monkeypatch.setattr(refusal, "_read", lambda path: files.get(path, ""))
    message, hint = explain_refusal("load a BPF program")
    assert message.startswith("not allowed to load a BPF program")
    assert said in message
    assert ("kernel." in message) == ("kernel." in said)
    assert hinted in hint
