"""What a refusal of the kernel is explained by."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixstack.bpf import privileges
from mixstack.bpf.privileges import effective_capabilities, explain_refusal, missing_capabilities

BPF, PERFMON, ADMIN = 1 << 39, 1 << 38, 1 << 21  # include/uapi/linux/capability.h
BOTH = BPF | PERFMON


@pytest.mark.parametrize(
    ("effective", "missing"),
    [
        pytest.param(0, ["CAP_BPF", "CAP_PERFMON"], id="none"),
        pytest.param(BPF, ["CAP_PERFMON"], id="only CAP_BPF"),
        pytest.param(PERFMON, ["CAP_BPF"], id="only CAP_PERFMON"),
        pytest.param(BOTH, [], id="both"),
        pytest.param(ADMIN, [], id="CAP_SYS_ADMIN stands for both"),
        pytest.param((1 << 41) - 1, [], id="root"),
        pytest.param(((1 << 41) - 1) & ~(BOTH | ADMIN), ["CAP_BPF", "CAP_PERFMON"], id="all else"),
    ],
)
def test_missing_capabilities(effective: int, missing: list[str]) -> None:
    assert missing_capabilities(effective) == missing


@pytest.mark.parametrize(
    ("text", "mask"),
    [
        pytest.param("CapPrm:\t01\nCapEff:\t000001ffffffffff\n", (1 << 41) - 1, id="root"),
        pytest.param("CapEff:\t0000000000000000\nCapBnd:\t000001ffffffffff\n", 0, id="a user"),
        pytest.param("Name:\tpython\n", 0, id="no such line"),
    ],
)  # fmt: skip
def test_effective_capabilities(tmp_path: Path, text: str, mask: int) -> None:
    status = tmp_path / "status"
    status.write_text(text)
    assert effective_capabilities(str(status)) == mask


def test_a_status_that_cannot_be_read() -> None:
    assert effective_capabilities("/proc/self/no such file") == 0


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
    monkeypatch.setattr(privileges, "effective_capabilities", lambda: effective)
    monkeypatch.setattr(privileges, "_read", lambda path: files.get(path, ""))
    message, hint = explain_refusal("load a BPF program")
    assert message.startswith("not allowed to load a BPF program")
    assert said in message
    assert ("kernel." in message) == ("kernel." in said)
    assert hinted in hint
