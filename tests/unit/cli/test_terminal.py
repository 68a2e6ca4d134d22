"""Numbers, escapes and the status line."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixstack.cli.terminal import (
    StatusLine,
    escape,
    format_count,
    format_duration,
    format_share,
    format_size,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain naïve 名", "plain naïve 名"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202egpj", "\\u202egpj"),
        ("\udcff", "\\udcff"),
        ("\U000e0001", "\\U000e0001"),
        ("", ""),
    ],
)
def test_escape(text: str, shown: str) -> None:
    assert escape(text) == shown


@given(st.text())
def test_escaped_text_is_printable_and_stays(text: str) -> None:
    assert escape(text).isprintable()
    assert escape(escape(text)) == escape(text)


@pytest.mark.parametrize(
    ("part", "whole", "shown"),
    [
        (0, 0, "0 %"),
        (0, 5, "0 %"),
        (5, 5, "100 %"),
        (1, 3, "33.3 %"),
        (1, 1_000_000, "<0.1 %"),
        (999_999, 1_000_000, ">99.9 %"),
        (9_994, 10_000, "99.9 %"),
        (9_995, 10_000, ">99.9 %"),
        (5, 10_000, "0.1 %"),
    ],
)
def test_share(part: int, whole: int, shown: str) -> None:
    assert format_share(part, whole) == shown


@given(st.integers(1, 10**9), st.integers(0, 10**9))
def test_a_share_is_0_or_100_only_where_it_is_meant(whole: int, part: int) -> None:
    shown = format_share(min(part, whole), whole)
    assert (shown == "0 %") == (part == 0)
    assert (shown == "100 %") == (part >= whole)
    assert shown not in ("0.0 %", "100.0 %")


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_960, "1.0 MB"),
        (12_345_678, "12.3 MB"),
        (5 * 10**9, "5.0 GB"),
        (5 * 10**12, "5.0 TB"),
    ],
)
def test_size(size: int, shown: str) -> None:
    assert format_size(size) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "0.00 s"),
        (0.25, "0.25 s"),
        (12.34, "12.3 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (125.0, "2 min 05 s"),
        (3599.9, "1 h 00 min 00 s"),
        (10809.0, "3 h 00 min 09 s"),
    ],
)
def test_duration(seconds: float, shown: str) -> None:
    assert format_duration(seconds) == shown


def test_count() -> None:
    assert format_count(1234567) == "1,234,567"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_status_line_is_rewritten_in_place_ten_times_a_second() -> None:
    terminal, clock = Terminal(), Clock()
    status = StatusLine(terminal, clock)
    for text in ("one", "too soon"):
        status.update(text)
        clock.now += 0.05
    clock.now += 0.06
    status.update("two")
    status.clear()
    status.clear()
    assert terminal.getvalue() == "\r\x1b[Kone\r\x1b[Ktwo\r\x1b[K"


def test_status_line_returns_at_once_after_a_note() -> None:
    terminal, clock = Terminal(), Clock()
    status = StatusLine(terminal, clock)
    status.update("one")
    status.clear()
    status.update("two")
    assert terminal.getvalue().endswith("\r\x1b[Ktwo")


def test_status_line_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    terminal = Terminal()
    StatusLine(terminal).update("x" * 50)
    assert terminal.getvalue() == "\r\x1b[K" + "x" * 19


@pytest.mark.parametrize("stream", [io.StringIO(), None], ids=["a pipe", "closed"])
def test_no_status_line_elsewhere(stream: io.StringIO | None) -> None:
    status = StatusLine(stream)
    status.update("one")
    status.clear()
    assert stream is None or stream.getvalue() == ""
