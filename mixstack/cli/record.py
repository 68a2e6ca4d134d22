"""`mixstack record`: attach to a process, or start a command, and write a capture."""

from __future__ import annotations

import os
import shlex
import sys
from typing import TYPE_CHECKING

import click

from mixstack.errors import UsageProblem
from mixstack.record.options import (
    DEFAULT_OUTPUT,
    DEFAULT_RATE_HZ,
    DEFAULT_TABLE_MEMORY_MB,
    EVENTS,
    LOADERS,
    MAX_RATE_HZ,
    MIN_RATE_HZ,
    STDOUT,
    Progress,
    RecordOptions,
    RecordResult,
)

if TYPE_CHECKING:
    from mixstack.cli.terminal import StatusLine
    from mixstack.model import Quality

EPILOG = """\b
Examples:
  mixstack record -p 1234 -d 30                 30 seconds of a running process
  mixstack record -r 999 -o app.data -- python app.py --its-own option
"""


@click.command(
    epilog=EPILOG,
    short_help="Record a running process, or a command.",
    # whatever follows CMD belongs to CMD, its options too
    context_settings={"allow_interspersed_args": False},
    options_metavar="[OPTIONS]",
)
@click.option("-p", "--pid", type=int, metavar="PID", help="The running process to record.")
@click.option("-a", "--all", "everything", is_flag=True, help="Record all processes.")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    default=DEFAULT_OUTPUT,
    show_default=True,
    help="The recording; one that is there already is kept as FILE.old; - is standard output.",
)
@click.option(
    "-d",
    "--duration",
    type=float,
    metavar="SECONDS",
    help="Stop after so long; a started CMD goes on.  [default: until Ctrl-C or the target's end]",
)
@click.option(
    "-r",
    "--rate",
    type=int,
    metavar="HZ",
    default=DEFAULT_RATE_HZ,
    show_default=True,
    help=f"Samples per second of CPU time, {MIN_RATE_HZ} to {MAX_RATE_HZ}.",
)
@click.option(
    "--children/--no-children",
    default=True,
    help="Record the processes that the target starts as well.  [default: children]",
)
@click.option(
    "--no-lines",
    is_flag=True,
    help="Leave out source lines and inlined calls of native code.",
)
@click.option(
    "-e",
    "--event",
    type=click.Choice(EVENTS),
    help="The clock that samples.  [default: cycles where there is a PMU, else cpu-clock]",
)
@click.option(
    "--buffer",
    type=int,
    metavar="MIB",
    help="Memory for samples that wait to be written.  [default: by rate and CPUs]",
)
@click.option(
    "--loader",
    type=click.Choice(LOADERS),
    default=LOADERS[0],
    show_default=True,
    envvar="MIXSTACK_LOADER",
    help="What loads the probe; auto is libbpf where the kernel has BTF, else bcc.",
)
@click.option(
    "--as-root",
    is_flag=True,
    help="Under sudo: run CMD and write FILE as root, not as the user who called sudo.",
)
@click.option(
    "--table-memory",
    type=int,
    metavar="MB",
    default=DEFAULT_TABLE_MEMORY_MB,
    show_default=True,
    help="The most kernel memory for unwind tables; libraries that do not fit cut stacks.",
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- CMD ARG...]")
def record(
    pid: int | None,
    everything: bool,
    output: str,
    duration: float | None,
    rate: int,
    children: bool,
    no_lines: bool,
    event: str | None,
    buffer: int | None,
    loader: str,
    as_root: bool,
    table_memory: int,
    command: tuple[str, ...],
) -> int:
    """Record a process (-p PID), a command (-- CMD ARG...) or all (-a) into a file.

    Every thread is sampled, whether it holds the GIL, has released it or never saw Python. Ctrl-C,
    the end of -d and the end of the target each leave a complete file. The exit code is that of
    CMD (128+N if signal N ended it), or 0 with -p.
    """
    from mixstack.cli.terminal import StatusLine
    from mixstack.collector import paused_collector

    # What an import makes stays: to look through it over and over is a tenth of its time.
    with paused_collector():
        from mixstack.privileges.user import environment_of, invoking_user
        from mixstack.record.session import record as record_session

    user = None if as_root else invoking_user(os.environ)
    options = RecordOptions(
        pid,
        command,
        output,
        duration,
        rate,
        children=children,
        everything=everything,
        lines=not no_lines,
        event=event,
        buffer_mb=buffer,
        table_memory_mb=table_memory,
        loader=loader,
        user=user,
        environment=environment_of(user, os.environ) if user is not None else None,
        sheds_privileges=True,
    )
    if output == STDOUT and sys.stdout is not None and sys.stdout.isatty():
        raise UsageProblem(
            "a recording is no text: standard output is a terminal",
            "send it on: mixstack record -o - ... > FILE",
        )
    status = StatusLine(sys.stderr)
    shown: set[str] = set()

    def on_progress(progress: Progress) -> None:
        if progress.note is not None:
            _show_note(progress.note, shown, status)
        if status.due:
            status.update(status_text(progress))

    try:
        result = record_session(options, on_progress)
    finally:
        status.clear()
    for note in result.notes:
        _show_note(note, shown, status)
    quality = _read_back(output, status) if output != STDOUT else None
    for line in footer_lines(options, result, quality):
        _say(line)
    return exit_code(result.exit_status)


def status_text(progress: Progress) -> str:
    """The line that a terminal shows meanwhile."""
    from mixstack.cli.quality import throttled_text
    from mixstack.cli.terminal import format_count, format_duration
    from mixstack.model import Losses

    if progress.lines is not None:
        done, total = progress.lines
        return f"reading line tables: {format_count(done)} of {format_count(total)} addresses"
    return (
        f"recording: {format_duration(progress.elapsed_s)}, "
        f"{format_count(progress.samples)} samples, {format_count(progress.lost)} lost"
        f"{throttled_text(Losses(throttled=progress.throttled))}"
    )


def footer_lines(
    options: RecordOptions, result: RecordResult, quality: Quality | None
) -> list[str]:
    """What was recorded, how good it is, and what to type next; `quality` is None if unknown."""
    from mixstack.cli.quality import fit_text, throttled_text, truncated_text, unresolved_text
    from mixstack.cli.terminal import escape, format_count, format_share, format_size

    footer = result.footer
    lost = footer.losses.ring_full
    achieved = result.rate_achieved_hz
    rate = "not known" if achieved is None else f"{achieved:.1f} Hz"
    where = "to standard output" if options.output == STDOUT else escape(options.output)
    lines = [
        f"recorded {where} ({footer.reason})",
        f"  samples     {format_count(footer.samples)}",
        f"  rate        {rate} (asked for {options.rate_hz} Hz, by {result.event})",
        f"  lost        {format_count(lost)} ({format_share(lost, footer.samples + lost)})"
        + throttled_text(footer.losses),
    ]
    if quality is not None:
        lines += [
            f"  fit         {fit_text(quality)}",
            f"  truncated   {truncated_text(quality)}",
            f"  unresolved  {unresolved_text(quality)}",
        ]
    size = format_size(result.file_size)
    each = f", {result.file_size // footer.samples} B per sample" if footer.samples else ""
    lines.append(f"  file        {size}{each}")
    if options.output != STDOUT:
        lines.append(f"next: mixstack merge {escape(shlex.quote(options.output))}")
    return lines


def exit_code(exit_status: int | None) -> int:
    """What a shell would say of the command: its exit code, or 128+N for signal N."""
    if exit_status is None:
        return 0
    return 128 - exit_status if exit_status < 0 else exit_status


def _read_back(path: str, status: StatusLine) -> Quality | None:
    """The quality of the finished capture; a capture that cannot be read is said, not fatal."""
    from mixstack.cli.load import load_capture, load_profile
    from mixstack.cli.terminal import escape, format_count
    from mixstack.errors import CaptureError

    try:
        capture = load_capture(path)
        return load_profile(
            capture,
            progress=lambda done: status.update(f"checking: {format_count(done)} samples"),
        ).quality
    except CaptureError as error:
        _say(f"mixstack: {escape(error.message)}")
        return None
    finally:
        status.clear()


def _show_note(note: str, shown: set[str], status: StatusLine) -> None:
    from mixstack.cli.terminal import escape

    if note not in shown:
        shown.add(note)
        status.clear()
        _say(f"mixstack: {escape(note)}")


def _say(line: str) -> None:
    click.echo(line, err=True)
