"""Which line says what is wrong, what it offers, and the verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mixstack.doctor.checks import Check, Report, Status, examine, kernel_version
from mixstack.doctor.facts import Refusal, Target
from mixstack.doctor.look import active_lockdown
from mixstack.privileges.capabilities import Capability

from .machines import PROCESS, ROOT, WELL

OK, LIMITED, MISSING = Status.OK, Status.LIMITED, Status.MISSING
REFUSED = Refusal("not allowed", "do this", 10)


def checks(report: Report) -> dict[str, Check]:
    found = (*report.machine, *report.rights, *report.target)
    named = {check.name: check for check in found}
    assert len(named) == len(found), "a name stands twice"
    return named


def without(*capabilities: Capability) -> int:
    return ROOT & ~sum(1 << capability for capability in (*capabilities, Capability.CAP_SYS_ADMIN))


def test_a_machine_on_which_all_is_well() -> None:
    report = examine(WELL, PROCESS)
    assert report.exit_code == 0
    assert {check.status for check in checks(report).values()} == {OK}
    assert not [check for check in checks(report).values() if check.remedies]


@pytest.mark.parametrize(
    ("facts", "name", "status", "offered"),
    [
        pytest.param({"kernel": "5.4.0-1"}, "kernel", MISSING, "Linux 5.8", id="an old kernel"),
        pytest.param({"architecture": "aarch64"}, "kernel", MISSING, "x86_64", id="aarch64"),
        pytest.param(
            {"types": False}, "kernel types (BTF)", MISSING, "CONFIG_DEBUG_INFO_BTF", id="no BTF"
        ),
        pytest.param(
            {"jit": 0}, "BPF JIT", LIMITED, "sysctl -w net.core.bpf_jit_enable=1", id="no JIT"
        ),
        pytest.param({"jit": None}, "BPF JIT", OK, "", id="the JIT's setting is hidden"),
        pytest.param(
            {"lockdown": "confidentiality"}, "lockdown", MISSING, "lockdown=", id="locked down"
        ),
        pytest.param({"lockdown": "integrity"}, "lockdown", OK, "", id="half locked down"),
        pytest.param({"libbpf": None}, "libbpf", MISSING, "apt-get install libbpf1", id="libbpf"),
        pytest.param({"hardware_clock": False}, "sampling clock", OK, "", id="no PMU"),
        pytest.param({"initial_pids": False}, "process ids", LIMITED, "hostPID", id="own pids"),
        pytest.param(
            {"initial_users": False}, "user namespace", MISSING, "rootless", id="user namespace"
        ),
        pytest.param({"trial": REFUSED}, "trial", MISSING, "do this", id="the kernel refuses"),
        pytest.param(
            {"kernel_names": False, "kptr_restrict": 2},
            "kernel.kptr_restrict",
            LIMITED,
            "sysctl -w kernel.kptr_restrict=1",
            id="names hidden from all",
        ),
        pytest.param(
            {"kernel_names": False, "kptr_restrict": 1, "capabilities": 0},
            "kernel.kptr_restrict",
            OK,
            "",
            id="names hidden from us: CAP_SYSLOG has the line",
        ),
        pytest.param({"ptrace_scope": 1}, "kernel.yama.ptrace_scope", OK, "", id="Yama, root"),
        pytest.param(
            {"ptrace_scope": 1, "capabilities": without(Capability.CAP_SYS_PTRACE)},
            "kernel.yama.ptrace_scope",
            LIMITED,
            "ptrace_scope=0",
            id="Yama, a user",
        ),
        pytest.param(
            {"ptrace_scope": 3}, "kernel.yama.ptrace_scope", MISSING, "boot", id="Yama, for good"
        ),
    ],
)
def test_what_is_wrong_with_a_machine(
    facts: dict[str, Any], name: str, status: Status, offered: str
) -> None:
    check = checks(examine(replace(WELL, **facts), None))[name]
    assert check.status is status
    assert offered in " ".join(remedy.text for remedy in check.remedies)
    assert bool(check.remedies) == (status is not OK)


@pytest.mark.parametrize("capability", list(Capability), ids=lambda c: c.name)
def test_a_capability_that_is_missing(capability: Capability) -> None:
    # The one only stands for others, the other is for kernels before 5.11: the trial tells.
    if capability in (Capability.CAP_SYS_ADMIN, Capability.CAP_SYS_RESOURCE):
        assert capability.name not in checks(examine(WELL, None))
        return
    lacking = replace(WELL, capabilities=without(capability), kernel_names=False)
    needed = capability in (Capability.CAP_BPF, Capability.CAP_PERFMON)
    found = checks(examine(lacking, None))
    assert found[capability.name].status is (MISSING if needed else LIMITED)
    assert [r.text for r in found[capability.name].remedies] == ["sudo mixstack record ..."]
    inside = checks(examine(replace(lacking, container="docker"), None))[capability.name]
    assert {remedy.kind for remedy in inside.remedies} == {"container", "kubernetes"}
    assert all(capability.short in remedy.text for remedy in inside.remedies)
    others = {c.name for c in Capability if c is not capability}
    assert {check.status for name, check in found.items() if name in others} == {OK}


def test_cap_sys_admin_stands_for_what_was_split_from_it() -> None:
    found = checks(examine(replace(WELL, capabilities=1 << Capability.CAP_SYS_ADMIN), None))
    assert "by CAP_SYS_ADMIN" in found["CAP_BPF"].found
    assert found["CAP_PERFMON"].status is OK
    assert found["CAP_SYS_PTRACE"].status is LIMITED


def test_hidden_names_that_are_not_hidden_need_no_capability() -> None:
    found = checks(examine(replace(WELL, capabilities=without(Capability.CAP_SYSLOG)), None))
    assert found["CAP_SYSLOG"].status is OK


@pytest.mark.parametrize(
    ("facts", "name", "status", "said"),
    [
        pytest.param(
            {"python": None, "build": None, "note": "it runs no CPython"},
            "interpreter",
            LIMITED,
            "it runs no CPython; only native stacks",
            id="no Python",
        ),
        pytest.param(
            {"note": "it runs a pre-release of CPython 3.16"},
            "interpreter",
            LIMITED,
            "CPython 3.12.1 (it runs a pre-release",
            id="a newer one",
        ),
        pytest.param({}, "build", OK, "/usr/bin/python3.12, static, id 00ff", id="the build"),
        pytest.param({}, "process", OK, "python 'my app.py', 3 threads", id="the process"),
        pytest.param({"threads": 1}, "process", OK, ", 1 thread", id="one thread"),
        pytest.param({}, "unwind tables", OK, "of all 12 files", id="all tables"),
        pytest.param(
            {"without_table": ("/a.so", "/b.so")},
            "unwind tables",
            LIMITED,
            "2 of 12 files with no unwind table: /a.so, /b.so",
            id="files without a table",
        ),
        pytest.param(
            {"without_table": tuple(f"/{i}" for i in range(9))},
            "unwind tables",
            LIMITED,
            "/7, ...",
            id="many files",
        ),
        pytest.param({"unreadable": ("/c",)}, "files", LIMITED, "cannot be read: /c", id="closed"),
    ],
)  # fmt: skip
def test_what_is_said_of_a_process(
    facts: dict[str, Any], name: str, status: Status, said: str
) -> None:
    check = checks(examine(WELL, replace(PROCESS, **facts)))[name]
    assert check.status is status
    assert said in check.found


def test_a_process_that_may_not_be_read_offers_the_capability() -> None:
    closed = Target(7, refusal=Refusal("its memory is closed", "run as root", 4))
    lacking = replace(WELL, capabilities=without(Capability.CAP_SYS_PTRACE), container="podman")
    report = examine(lacking, closed)
    assert report.exit_code == 4
    (check,) = report.target
    assert check.status is MISSING
    assert "--cap-add SYS_PTRACE" in [remedy.text for remedy in check.remedies]


@pytest.mark.parametrize(
    ("trial", "target", "code"),
    [
        pytest.param(None, None, 0, id="all well"),
        pytest.param(REFUSED, None, 10, id="the machine"),
        pytest.param(REFUSED, PROCESS, 10, id="the machine, with a process"),
        pytest.param(None, Target(7, refusal=Refusal("", "", 3)), 3, id="the process"),
        pytest.param(REFUSED, Target(7, refusal=Refusal("", "", 3)), 3, id="both"),
    ],
)  # fmt: skip
def test_the_verdict_is_what_record_would_end_with(
    trial: Refusal | None, target: Target | None, code: int
) -> None:
    assert examine(replace(WELL, trial=trial), target).exit_code == code


@pytest.mark.parametrize(
    ("release", "version"),
    [("6.18.44-cloud", (6, 18)), ("5.8", (5, 8)), ("7.2.0+", (7, 2)), ("unknown", (0, 0))],
)
def test_a_kernels_release(release: str, version: tuple[int, int]) -> None:
    assert kernel_version(release) == version


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("[none] integrity confidentiality\n", "none"),
        ("none [integrity] confidentiality\n", "integrity"),
        ("", None),
    ],
)
def test_the_lockdown_in_force(text: str, mode: str | None) -> None:
    assert active_lockdown(text) == mode
