"""From the path of a capture to its profile: the offline half of the line, for every command."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mixstack.capture.reader import Capture
    from mixstack.model import Profile


def load_profile(
    capture: Capture,
    *,
    show_interpreter: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Profile:
    """Join and name the samples of `capture`; `progress` hears how many samples are done."""
    from mixstack.collector import paused_collector
    from mixstack.merge.profile import build_profile
    from mixstack.symbolize.names import Namer

    with paused_collector():
        return build_profile(
            capture, Namer(capture), show_interpreter=show_interpreter, progress=progress
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
