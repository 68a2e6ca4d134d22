"""What a command took is its own, whatever the process that asks has taken."""

from __future__ import annotations

import sys

import pytest

from tests.bench.running import run

MANY_MB = 150


def test_memory_is_the_command_s_and_not_that_of_who_asks() -> None:
    held = bytearray(b"x" * (MANY_MB << 20))
    small = run([sys.executable, "-c", "pass"])
    assert small.rss_mb < MANY_MB / 2
    assert len(held) == MANY_MB << 20
    large = run([sys.executable, "-c", f"bytearray(b'x' * ({MANY_MB} << 20))"])
    assert large.rss_mb > MANY_MB


def test_cpu_time_is_of_the_command_and_its_children() -> None:
    took = run(["sh", "-c", f"{sys.executable} -c 'sum(range(3_000_000))'"])
    assert 0.01 < took.cpu_s < 10
    assert took.wall_s > 0.01


def test_a_command_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match="no such luck"):
        run([sys.executable, "-c", "import sys; sys.exit('no such luck')"])
