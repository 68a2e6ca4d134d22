"""`mixstack doctor`: what it prints of a report, and its exit code."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mixstack.doctor import look
from mixstack.doctor.facts import Machine, Refusal, Target

from ..doctor.machines import PROCESS, WELL
from .conftest import Runner
from .fakes import HOSTILE


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> list[Machine]:
    """The machine that is looked at: the last of the list."""
    machines = [WELL]
    monkeypatch.setattr(look, "look_at_machine", lambda: machines[-1])
    monkeypatch.setattr(
        look, "look_at_target", lambda pid: replace(PROCESS, pid=pid, command=(HOSTILE,))
    )
    return machines


def test_all_is_well(run: Runner, machine: list[Machine]) -> None:
    result = run("doctor")
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0] == "machine"
    assert lines[1].split() == ["ok", "kernel", "6.18.44-cloud,", "x86_64"]
    assert "rights" in lines
    assert "process" not in lines
    assert lines[-1] == "recording works here"


def test_what_is_missing_comes_with_its_remedy(run: Runner, machine: list[Machine]) -> None:
    refusal = Refusal("not allowed to", "do so", 10)
    machine.append(replace(WELL, capabilities=0, container="docker", trial=refusal))
    result = run("doctor")
    assert result.code == 10
    assert "-> docker run, podman run: --cap-add BPF\n" in result.out
    assert "-> Kubernetes: securityContext: {capabilities: {add: [BPF]}}\n" in result.out
    assert result.out.endswith("recording does not work here\n")


def test_a_process_cannot_steer_the_terminal(run: Runner, machine: list[Machine]) -> None:
    out = run("doctor", "-p", "7").out
    assert "CPython 3.12.1" in out
    assert "evil" in out
    assert "\x1b" not in out
    assert "\u202e" not in out


def test_json(run: Runner, machine: list[Machine]) -> None:
    machine.append(replace(WELL, libbpf=None, trial=Refusal("no libbpf", "install it", 12)))
    result = run("doctor", "--json", "-p", "7")
    assert result.code == 12
    said = json.loads(result.out)
    assert (said["ok"], said["exit_code"]) == (False, 12)
    assert {check["part"] for check in said["checks"]} == {"machine", "rights", "target"}
    (libbpf,) = (check for check in said["checks"] if check["name"] == "libbpf")
    assert libbpf == {
        "part": "machine",
        "name": "libbpf",
        "status": "missing",
        "found": "not installed",
        "remedies": [{"kind": "command", "text": "apt-get install libbpf1"}],
    }


def test_a_process_that_is_not_there(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "look_at_machine", lambda: WELL)
    gone = Target(7, refusal=Refusal("there is no process 7", "list them", 3))
    monkeypatch.setattr(look, "look_at_target", lambda *_: gone)
    result = run("doctor", "-p", "7")
    assert result.code == 3
    assert "there is no process 7" in result.out
