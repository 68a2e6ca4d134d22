"""The capability masks of a process, and what is given up."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixstack.privileges.capabilities import effective_capabilities, missing_capabilities

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
    assert [c.name for c in missing_capabilities(effective)] == missing


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
