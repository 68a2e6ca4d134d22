"""`mixstack doctor`: what this machine and user can do, and what would mend the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mixstack.doctor.checks import Check, Remedy, Report

EPILOG = """\b
Examples:
  mixstack doctor
  mixstack doctor -p 1234            would this process be recorded, and how well?
  mixstack doctor --json | jq '.checks[] | select(.status == "missing")'
"""

_LABELS = {
    "command": "mend with: {}",
    "container": "docker run, podman run: {}",
    "kubernetes": "Kubernetes: {}",
    "advice": "{}",
}


@click.command(epilog=EPILOG, short_help="Say whether recording would work here.")
@click.option("-p", "--pid", type=int, metavar="PID", help="Look at this process as well.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def doctor(pid: int | None, as_json: bool) -> int:
    """Say whether recording would work here, as this user, and what would mend it.

    The probe is loaded and started for a moment; nothing is recorded. "limited" means: recording
    works, with less in it. The exit code is 0 if recording would work, else the one that mixstack
    record would end with.
    """
    from mixstack.cli.output import STDOUT, open_output
    from mixstack.doctor.checks import examine
    from mixstack.doctor.look import look_at_machine, look_at_target

    # The process first: what the trial of the probe costs is not to be seen in it.
    target = look_at_target(pid) if pid is not None else None
    report = examine(look_at_machine(), target)
    lines = [to_json(report)] if as_json else list(to_lines(report))
    with open_output(STDOUT) as stream:
        stream.writelines(f"{line}\n" for line in lines)
    return report.exit_code


def to_json(report: Report) -> str:
    """One object: `ok`, `exit_code`, and `checks`, each with its part and its remedies."""
    import json

    parts = {"machine": report.machine, "rights": report.rights, "target": report.target}
    checks = [
        {
            "part": part,
            "name": check.name,
            "status": check.status.value,
            "found": check.found,
            "remedies": [{"kind": r.kind, "text": r.text} for r in check.remedies],
        }
        for part, found in parts.items()
        for check in found
    ]
    verdict = {"ok": report.exit_code == 0, "exit_code": report.exit_code, "checks": checks}
    return json.dumps(verdict, indent=2)


def to_lines(report: Report) -> Iterator[str]:
    """The report as people read it; nothing in it can steer a terminal."""
    for title, checks in (
        ("machine", report.machine),
        ("rights", report.rights),
        ("process", report.target),
    ):
        if checks:
            yield title
            yield from _table(checks)
            yield ""
    yield "recording works here" if report.exit_code == 0 else "recording does not work here"


def _table(checks: Iterable[Check]) -> Iterator[str]:
    from mixstack.cli.terminal import escape

    checks = list(checks)
    width = max(len(check.name) for check in checks)
    for check in checks:
        yield f"  {check.status.value:<8} {check.name:<{width}}  {escape(check.found)}"
        for remedy in check.remedies:
            yield f"  {'':<8} {'':<{width}}  -> {escape(_remedy_text(remedy))}"


def _remedy_text(remedy: Remedy) -> str:
    return _LABELS[remedy.kind].format(remedy.text)
