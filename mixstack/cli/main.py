"""The `mixstack` command: hands argv to a command and turns every outcome into an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

import click

import mixstack
from mixstack.cli.doctor import doctor
from mixstack.cli.info import info
from mixstack.cli.merge import merge
from mixstack.cli.record import record
from mixstack.cli.terminal import escape
from mixstack.errors import MixstackError

EXIT_USAGE: Final = 2
EXIT_INTERNAL: Final = 70  # a bug of ours (EX_SOFTWARE)
EXIT_INTERRUPTED: Final = 130  # 128 + SIGINT, as a shell says it
EXIT_BROKEN_PIPE: Final = 141  # 128 + SIGPIPE

EPILOG = """\b
Examples:
  mixstack record -p 1234            record a running process until Ctrl-C
  mixstack record -- python app.py   start a program and record it
  mixstack merge out.data            write out.speedscope.json
  mixstack info out.data             say what is in a recording
  mixstack doctor                    say whether recording works here

\b
Exit codes:
  0    done (record -- CMD: the exit code of CMD, 128+N for signal N)
  2    wrong option or argument        3-4    the process cannot be recorded
  10+  this machine or user lacks something      20  output not written
  30+  the recording cannot be read    70   a bug in mixstack
  130  interrupted    126, 127  CMD cannot be run, is not found
"""


@click.group(
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(mixstack.__version__, prog_name="mixstack")
def cli() -> None:
    """Profile a running, unmodified CPython: native and Python frames in one stack.

    Record a process into a file (as root), then merge the file into a profile (as anyone).
    """


cli.add_command(record)
cli.add_command(merge)
cli.add_command(info)
cli.add_command(doctor)


def main(argv: Sequence[str]) -> int:
    """Run `mixstack ARGV...` and return its exit code; every failure is shown on stderr, once."""
    try:
        return _run(argv)
    except MixstackError as error:
        _fail(error.message, error.hint)
        return error.exit_code
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx is not None else "mixstack"
        _fail(error.format_message(), f"see: {command} --help")
        return EXIT_USAGE
    except KeyboardInterrupt:
        _say("\nmixstack: interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return EXIT_BROKEN_PIPE
    except Exception as error:  # the last resort: what arrives here is a bug, and is called one
        _fail(
            f"internal error: {type(error).__name__}: {error}",
            "please report this; MIXSTACK_DEBUG=1 in the environment shows where it happened",
        )
        if os.environ.get("MIXSTACK_DEBUG") == "1":
            import traceback

            traceback.print_exc()
        return EXIT_INTERNAL


def entry() -> None:
    """The console script."""
    status = main(sys.argv[1:])
    # CPython 3.11.2 closes it along with a wrapper that could not flush
    if sys.stdout is not None and not sys.stdout.closed:
        try:
            sys.stdout.flush()
        except OSError:  # shown already; Python would fail on it once more when it exits
            _drop_stdout()
    sys.exit(status)


def _run(argv: Sequence[str]) -> int:
    # not `cli.main`: that one has exit codes of its own for interrupts and broken pipes
    try:
        with cli.make_context("mixstack", list(argv) or ["--help"]) as context:
            status = cli.invoke(context)
    except click.exceptions.Exit as done:  # --help and --version
        status = done.exit_code
    if sys.stdout is not None:
        sys.stdout.flush()  # here, where a closed pipe can still be told
    return int(status)


def _fail(message: str, hint: str) -> None:
    _say(f"mixstack: {escape(message)}")
    if hint:
        _say(f"hint: {escape(hint)}")


def _say(line: str) -> None:
    click.echo(line, err=True)


def _drop_stdout() -> None:
    """Point stdout at nothing: what it still buffers has nowhere to go."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)
