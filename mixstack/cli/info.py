"""`mixstack info`: what a capture says of itself."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from mixstack.cli.summary import ProcessSummary, StopSummary, Summary
    from mixstack.model import Quality

EPILOG = """\b
Examples:
  mixstack info out.data
  mixstack info --json out.data | jq '.threads[] | .name'
"""


@click.command(epilog=EPILOG, short_help="Say what is in a recording.")
@click.argument("capture", default="out.data")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def info(capture: str, as_json: bool) -> int:
    """Say what is in CAPTURE (default: out.data) and how far it can be trusted.

    Command line, machine, interpreter, duration, threads, modules with build-id, fit shares,
    losses, and the files in which native stacks could not be followed.
    """
    from mixstack.cli.load import load_capture, load_profile
    from mixstack.cli.output import STDOUT, open_output
    from mixstack.cli.summary import summarize
    from mixstack.cli.terminal import StatusLine, format_share

    loaded = load_capture(capture)
    status = StatusLine(sys.stderr)
    try:
        quality = load_profile(
            loaded,
            progress=lambda done: status.update(
                f"reading: {format_share(done, loaded.sample_count)}"
            ),
        ).quality
        summary = summarize(loaded, loaded.samples(), quality)
    finally:
        status.clear()
    lines = [to_json(summary)] if as_json else to_lines(summary, quality)
    with open_output(STDOUT) as stream:
        stream.writelines(f"{line}\n" for line in lines)
    return 0


def to_json(summary: Summary) -> str:
    """One object, in ASCII, its fields in the order of `Summary`."""
    import dataclasses
    import json

    return json.dumps(dataclasses.asdict(summary), indent=2)


def to_lines(summary: Summary, quality: Quality) -> list[str]:
    """The summary as people read it; nothing in it can steer a terminal."""
    from mixstack.cli.quality import fit_text, lost_text, truncated_text, unresolved_text
    from mixstack.cli.terminal import escape, format_count, format_duration, format_size

    state = "complete" if summary.complete else f"cut off: {escape(summary.problem or 'no end')}"
    end = f", ended: {escape(summary.end)}" if summary.end is not None else ""
    if summary.exit_status is not None:
        end += f", exit status {summary.exit_status}"
    size = format_size(summary.file_size)
    cpus = f"{summary.cpus} CPU{'' if summary.cpus == 1 else 's'}"
    fields = [
        ("file", f"{escape(summary.file)} ({size}, {state})"),
        ("command", escape(shlex.join(summary.command))),
        ("recorded", f"{escape(summary.started)} by mixstack {escape(summary.mixstack_version)}"),
        ("machine", f"{escape(summary.hostname)}, {escape(summary.machine)}, {cpus}"),
        ("kernel", escape(summary.kernel)),
        ("duration", format_duration(summary.duration_s) + end),
        ("rate", f"{summary.rate_hz} Hz, {escape(summary.event)}"),
        ("samples", format_count(summary.samples)),
        ("fit", fit_text(quality)),
        ("lost", lost_text(quality)),
        ("truncated", truncated_text(quality)),
        ("unresolved", unresolved_text(quality)),
        ("new process", f"{format_count(summary.lost.process_unknown)} samples of only the leaf"),
        ("tables", _tables_text(summary)),
    ]
    lines = [f"{label:<12}{text}" for label, text in fields]
    lines += _section("processes", [_process_line(process) for process in summary.processes])
    threads = [(f"{thread.pid}/{thread.tid}", thread) for thread in summary.threads]
    numbers = max((len(number) for number, _ in threads), default=0)
    lines += _section(
        "threads",
        [
            f"{number:<{numbers}}  {format_count(thread.samples):>11}  {escape(thread.name)}"
            for number, thread in threads
        ],
    )
    if summary.stops:
        lines += _section("unwinding stopped", [_stop_line(stop) for stop in summary.stops])
    build_ids = max((len(module.build_id or "") for module in summary.modules), default=0)
    return lines + _section(
        "modules",
        [
            f"{escape(module.build_id or '-'):<{build_ids}}  {escape(module.path)}"
            for module in summary.modules
        ],
    )


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return ["", f"{title} ({len(lines)})", *(f"  {line}" for line in lines)]


# Why a native walk died, by `StopSummary.reason`.
_REASONS: Final = {
    None: "why is not known",
    "no_mapping": "no code known, or not yet",
    "no_table": "no unwind table, or not yet",
    "no_rule": "the unwind table has no rule there",
    "read_fault": "the stack could not be read",
    "no_progress": "the rule leads nowhere",
}


def _tables_text(summary: Summary) -> str:
    from mixstack.cli.terminal import format_count, format_size

    missing = f"{format_count(summary.lost.tables_missing)} modules without unwind table"
    if summary.table_bytes is None:
        return missing
    return f"{format_size(summary.table_bytes)} of kernel memory, {missing}"


def _stop_line(stop: StopSummary) -> str:
    from mixstack.cli.terminal import escape, format_count

    why = _REASONS.get(stop.reason, stop.reason)
    if stop.went_on:
        why = f"{why}; went on further out, frames may be missing"
    return f"{format_count(stop.samples):>11}  {escape(stop.module)}: {why}"


def _process_line(process: ProcessSummary) -> str:
    from mixstack.cli.terminal import escape

    python = "no CPython" if process.python is None else f"CPython {process.python}"
    note = f" ({escape(process.note)})" if process.note is not None else ""
    return f"{process.pid}  {python}{note}  {escape(shlex.join(process.command))}"
