"""From the path of a capture to its profile: the offline half of the line, for every command."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mixstack.capture.reader import Capture
    from mixstack.merge.profile import Wanted
    from mixstack.model import Profile


def load_profile(
    capture: Capture,
    *,
    show_interpreter: bool = False,
    short_names: bool = False,
    wanted: Wanted | None = None,
    progress: Callable[[int], None] | None = None,
) -> Profile:
    """Join and name the samples of `capture` that are wanted, by default all of them.

    short_names: without the arguments of templates. progress: hears how many samples are done.
    """
    from mixstack.collector import paused_collector
    from mixstack.merge.profile import ALL, build_profile
    from mixstack.symbolize.names import Namer

    with paused_collector():
        return build_profile(
            capture,
            Namer(capture, short_names=short_names),
            show_interpreter=show_interpreter,
            wanted=ALL if wanted is None else wanted,
            progress=progress,
        )


def load_capture(
    path: str,
    *,
    resymbolize: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    warn: Callable[[str], None] = lambda _sentence: None,
) -> Capture:
    """Read the capture at `path`, complete with names as far as this machine has them.

    resymbolize: names of native code from this machine replace those of the capture. progress:
    hears how many of how many addresses are done. warn: hears of files that cannot be understood.
    Raises a `CaptureError` that says what is wrong with it.
    """
    from mixstack.capture.reader import read_capture

    capture = read_capture(path)
    # Without a footer, the recorder was killed before it could look up what it had seen.
    if capture.footer is not None and not resymbolize:
        return capture

    from dataclasses import replace

    from mixstack.symbolize.offline import Listener, look_up

    names = look_up(capture, Listener(progress, warn), anew=resymbolize)
    return replace(capture, symbols=names.symbols, source_calls=names.source_calls)
