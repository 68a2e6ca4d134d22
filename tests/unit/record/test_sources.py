"""Lines of what was sampled: each address once, bounded in time, ended by a signal."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from mixstack.capture.writer import CaptureWriter
from mixstack.model import Module, SourceCall, SourceCalls
from mixstack.record import sources
from mixstack.record.modules import LoadedModule
from mixstack.record.roots import Roots
from mixstack.record.sources import SourceBook

CALLS = (SourceCall("f", "/a.c", 3),)


class Written:
    def __init__(self) -> None:
        self.calls: list[SourceCalls] = []

    def add_source_calls(self, calls: Iterable[SourceCalls]) -> None:
        self.calls += calls


class FakeLines:
    """Knows the even addresses."""

    def __init__(self, warn: object) -> None:
        pass

    def calls_at(self, file: object, vaddr: int) -> tuple[SourceCall, ...]:
        return CALLS if vaddr % 2 == 0 else ()


def loaded(number: int, path: str | None = "/proc/self/fd/9") -> LoadedModule:
    return LoadedModule(Module(number, f"/lib/{number}.so", "aa"), (), None, path, None)


@pytest.fixture
def book(monkeypatch: pytest.MonkeyPatch) -> SourceBook:
    monkeypatch.setattr("mixstack.symbolize.native.SourceLines", FakeLines)
    made = SourceBook()
    made.note(loaded(1), {2, 3, 4, 6}, ("/",))
    made.note(loaded(2), {8}, ("/",))
    made.note(loaded(1), {4, 7}, ("/",))
    made.note(loaded(3, path=None), {2}, ("/",))
    return made


def found(book: SourceBook, most: int = 100, seconds: float = 0.0) -> tuple[list[int], list[str]]:
    """What is written if the user lets `most` addresses pass, each of which takes so long."""
    written, notes = Written(), list[str]()
    now = SimpleNamespace(s=0.0)

    def clock() -> float:
        now.s += seconds
        return float(now.s)

    book.write(cast(CaptureWriter, written), lambda done, total: done < most, notes.append, clock)
    assert all(calls.calls == CALLS for calls in written.calls)
    return [calls.vaddr for calls in written.calls], notes


def test_each_address_once_and_the_small_module_first(book: SourceBook) -> None:
    assert found(book) == ([8, 2, 4, 6], [])


def test_a_signal_ends_it(book: SourceBook) -> None:
    assert found(book, most=2) == ([8, 2], [])


def test_the_time_is_bounded_and_that_is_said(book: SourceBook) -> None:
    vaddrs, (note,) = found(book, seconds=sources.MOST_S / 2.5)
    assert vaddrs == [8, 2]
    assert "4 of 6 native addresses are left without source lines" in note


def test_the_root_of_a_process_outlives_it(tmp_path: Path) -> None:
    """Here it is a folder of ours: to have another root takes privileges."""
    roots = Roots()
    assert roots.of(os.getpid()) == ("/",), "our own is looked into once"
    assert roots.of(1 << 30) == ("/",), "no such process"
    roots.close()
