"""`mixstack merge`: a capture becomes a profile that can be looked at."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TextIO

import click

from mixstack.errors import UsageProblem

if TYPE_CHECKING:
    from mixstack.capture.reader import Capture
    from mixstack.model import Profile

EPILOG = """\b
Examples:
  mixstack merge out.data                       write out.speedscope.json
  mixstack merge --pid 1234 out.data            only what that process did
  mixstack merge -f collapsed -o - out.data | flamegraph.pl > out.svg
"""

EXTENSIONS: Final = {"speedscope": ".speedscope.json", "collapsed": ".collapsed.txt"}
HOW_TO_OPEN: Final = {
    "speedscope": "open it: drag the file onto https://www.speedscope.app",
    "collapsed": "open it: flamegraph.pl {file} > flame.svg",
}
_CAPTURE_EXTENSION: Final = ".data"


@click.command(epilog=EPILOG, short_help="Turn a recording into a profile to look at.")
@click.argument("capture", default="out.data")
@click.option("-o", "--output", metavar="FILE", help="Where to write; - is standard output.")
@click.option(
    "-f",
    "--format",
    "format_",
    type=click.Choice(sorted(EXTENSIONS)),
    default="speedscope",
    show_default=True,
    help="The format of the profile.",
)
@click.option(
    "--pid", "pids", type=int, multiple=True, metavar="PID", help="Only this process (repeatable)."
)
@click.option(
    "--thread",
    "threads",
    multiple=True,
    metavar="TID|NAME",
    help="Only threads with this number or Python name (repeatable).",
)
@click.option(
    "--comm",
    "comms",
    multiple=True,
    metavar="NAME",
    help="Only threads while they have this name (repeatable).",
)
@click.option(
    "--show-interpreter",
    is_flag=True,
    help="Show the interpreter's own C frames (_PyEval_EvalFrameDefault and the like) as well.",
)
@click.option(
    "--short-names",
    is_flag=True,
    help="Leave out the arguments of templates: std::vector<...>::push_back.",
)
@click.option(
    "--resymbolize",
    is_flag=True,
    help="Look up native names and lines again, in this machine's files of the same build-id.",
)
def merge(
    capture: str,
    output: str | None,
    format_: str,
    pids: tuple[int, ...],
    threads: tuple[str, ...],
    comms: tuple[str, ...],
    show_interpreter: bool,
    short_names: bool,
    resymbolize: bool,
) -> int:
    """Merge CAPTURE (default: out.data) into one profile per thread and one of all threads.

    Needs no privileges and not the machine that recorded. Without -o the profile stands beside
    the capture: out.data becomes out.speedscope.json.
    """
    from mixstack.cli.load import load_capture, load_profile
    from mixstack.cli.output import STDOUT, open_output
    from mixstack.cli.quality import quality_line
    from mixstack.cli.terminal import StatusLine, escape, format_count, format_share, format_size
    from mixstack.merge.profile import Wanted

    output = default_output(capture, format_) if output is None else output
    if output != STDOUT and _same_file(capture, output):
        raise UsageProblem(f"{output} is the recording itself", "choose another place: -o FILE")

    wanted = Wanted(frozenset(pids), frozenset(map(_thread, threads)), frozenset(comms))
    status = StatusLine(sys.stderr)
    problems: list[str] = []
    try:
        loaded = load_capture(
            capture,
            resymbolize=resymbolize,
            progress=lambda done, total: status.update(
                f"reading line tables: {format_share(done, total)}"
            ),
            warn=problems.append,
        )
    finally:
        status.clear()
    for problem in problems:
        _say(f"mixstack: {escape(problem)}")
    if not loaded.complete:
        _say(f"mixstack: {escape(cut_off_text(capture, loaded))}; what is there is merged")
    try:
        profile = load_profile(
            loaded,
            show_interpreter=show_interpreter,
            short_names=short_names,
            wanted=wanted,
            progress=lambda done: status.update(
                f"merging: {format_share(done, loaded.sample_count)}"
            ),
        )
        if any(wanted) and not profile.threads:
            raise UsageProblem(
                f"no sample of {capture} is of such a process and thread",
                f"see which there are: mixstack info {shlex.quote(capture)}",
            )
        status.update("writing")
        with open_output(output) as stream:
            _writer(format_)(profile, stream)
    finally:
        status.clear()

    if output != STDOUT:
        size = format_size(os.stat(output).st_size)
        count = len(profile.threads)
        _say(
            f"wrote {escape(output)}: {size}, {format_count(profile.quality.samples)} samples of "
            f"{count} thread{'' if count == 1 else 's'}"
        )
    _say(quality_line(profile.quality))
    if profile.thinned_ns and format_ == "speedscope":
        _say(thinned_text(profile.thinned_ns))
    if output != STDOUT:
        _say(HOW_TO_OPEN[format_].format(file=escape(shlex.quote(output))))
    return 0


def default_output(capture: str, format_: str) -> str:
    """The name of the profile beside its capture: `out.data` gives `out.speedscope.json`."""
    stem = capture.removesuffix(_CAPTURE_EXTENSION)
    if not os.path.basename(stem):  # the file is called ".data"
        stem = capture
    return stem + EXTENSIONS[format_]


def cut_off_text(path: str, capture: Capture) -> str:
    """That, and if known why, a capture has no proper end."""
    return f"{path} is cut off" + (f" ({capture.problem})" if capture.problem else "")


def thinned_text(window_ns: int) -> str:
    """What of a long recording a speedscope file does not show."""
    window = f"{window_ns / 1e9:.3g} s"
    return (
        f"too long for a browser: equal stacks within {window} became one, so their order in time "
        "is lost; all durations are exact (without times: -f collapsed)"
    )


def _writer(format_: str) -> Callable[[Profile, TextIO], None]:
    if format_ == "collapsed":
        from mixstack.export.collapsed import write_collapsed

        return write_collapsed
    from mixstack.export.speedscope import write_speedscope

    return write_speedscope


def _thread(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() else text


def _same_file(first: str, second: str) -> bool:
    try:
        return os.path.samefile(first, second)
    except OSError:
        return False


def _say(line: str) -> None:
    click.echo(line, err=True)
