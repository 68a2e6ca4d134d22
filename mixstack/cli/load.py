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
    wanted: Wanted | None = None,
    progress: Callable[[int], None] | None = None,
) -> Profile:
    """Join and name the samples of `capture` that are wanted, by default all of them.

    `progress` hears how many samples are done.
    """
    from mixstack.merge.profile import ALL, build_profile
    from mixstack.symbolize.names import Namer

    return build_profile(
        capture,
        Namer(capture),
        show_interpreter=show_interpreter,
        wanted=ALL if wanted is None else wanted,
        progress=progress,
    )


def load_capture(path: str) -> Capture:
    """Read the capture at `path`, complete with symbols as far as this machine has them.

    Raises a `CaptureError` that says what is wrong with it.
    """
    from mixstack.capture.reader import read_capture

    capture = read_capture(path)
    if capture.footer is not None:
        return capture

    # The recorder was killed before it could look up the symbols of what it had seen.
    from dataclasses import replace

    from mixstack.symbolize.offline import missing_symbols

    return replace(capture, symbols=missing_symbols(capture))
