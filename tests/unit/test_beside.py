"""A call in a thread of its own."""

from __future__ import annotations

import threading

import pytest

from mixstack.beside import Beside
from mixstack.errors import NoSuchProcess


def test_it_runs_while_the_caller_goes_on() -> None:
    go_on = threading.Event()
    with Beside(lambda: go_on.wait(10)) as call:
        go_on.set()
    assert call.result() is True


def test_what_it_raises_is_raised_where_it_is_asked() -> None:
    def fail() -> None:
        raise NoSuchProcess("gone")

    with Beside(fail) as call:
        pass
    for _ in range(2):
        with pytest.raises(NoSuchProcess, match="gone"):
            call.result()


def test_it_has_ended_where_the_block_ends_with_an_error() -> None:
    done = threading.Event()
    go_on = threading.Event()

    def work() -> None:
        go_on.wait(10)
        done.set()

    def fail_beside() -> None:
        with Beside(work):
            go_on.set()
            raise KeyError

    with pytest.raises(KeyError):
        fail_beside()
    assert done.is_set()
