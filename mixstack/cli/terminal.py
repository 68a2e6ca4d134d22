"""What people read in a terminal: numbers, shares, durations, escaped text, the status line."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TextIO

_STATUS_INTERVAL_S: Final = 0.1


def escape(text: str) -> str:
    """`text` with every character that a terminal might obey written as a backslash escape.

    Names and paths come from the target: control and bidirectional characters in them could
    rewrite the screen.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def format_count(count: int) -> str:
    return f"{count:,}"


def format_size(size: int) -> str:
    """Bytes in decimal units: 312 B, 4.1 kB, 12.0 MB."""
    if size < 1000:
        return f"{size} B"
    value = float(size)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 999.95:
            return f"{value:.1f} {unit}"
    return f"{value / 1000:.1f} TB"


def format_duration(seconds: float) -> str:
    """0.25 s, 12.3 s, 2 min 05 s, 3 h 00 min 09 s."""
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min {rest:02} s"
    return f"{minutes} min {rest:02} s"


def format_share(part: int, whole: int) -> str:
    """A percentage that says 0 % and 100 % only where it is meant."""
    if whole <= 0 or part <= 0:
        return "0 %"
    if part >= whole:
        return "100 %"
    percent = 100 * part / whole
    if percent < 0.05:
        return "<0.1 %"
    if percent >= 99.95:
        return ">99.9 %"
    return f"{percent:.1f} %"


class StatusLine:
    """One line that is rewritten in place on a terminal; nothing at all elsewhere."""

    def __init__(self, stream: TextIO | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream if stream is not None and stream.isatty() else None
        self._clock = clock
        self._next_s = -1.0
        self._shown = False

    @property
    def due(self) -> bool:
        """Whether `update` would show anything now."""
        return self._stream is not None and self._clock() >= self._next_s

    def update(self, text: str) -> None:
        """Show `text`, cut to the width of the terminal; at most ten times a second."""
        if self._stream is None or not self.due:
            return
        import shutil  # and with it two archive formats: only where there is a terminal

        self._next_s = self._clock() + _STATUS_INTERVAL_S
        width = shutil.get_terminal_size().columns - 1  # the last column would wrap on some
        self._stream.write(f"\r\x1b[K{text[:width]}")
        self._stream.flush()
        self._shown = True

    def clear(self) -> None:
        """Take the line away, so that the next line starts clean."""
        if self._stream is not None and self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._shown = False
            self._next_s = -1.0
