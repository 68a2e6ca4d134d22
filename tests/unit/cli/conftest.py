"""The commands with everything behind them replaced by values."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import mixstack.record
from mixstack.cli import load
from mixstack.cli.main import main
from tests.unit.export.profiles import TWO_THREADS

from .fakes import QUALITY, FakeCapture, FakeSession


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Runner = Callable[..., Outcome]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Runner:
    """Run `mixstack ARGS...` in this process."""
    monkeypatch.delenv("MIXSTACK_DEBUG", raising=False)

    def runner(*arguments: str) -> Outcome:
        capfd.readouterr()
        code = main(arguments)
        out, err = capfd.readouterr()
        return Outcome(code, out, err)

    return runner


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def capture(monkeypatch: pytest.MonkeyPatch) -> FakeCapture:
    """Every path is this capture; its profile is `TWO_THREADS`."""
    value = FakeCapture()

    def load_profile(_: object, *, progress: Callable[[int], None] | None, **__: Any) -> object:
        if progress is not None:
            progress(2)
        return replace(TWO_THREADS, quality=QUALITY)

    monkeypatch.setattr(load, "load_capture", lambda path, **_: replace(value, path=path))
    monkeypatch.setattr(load, "load_profile", load_profile)
    return value


@pytest.fixture
def use_session(monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeSession], FakeSession]:
    def use(session: FakeSession) -> FakeSession:
        monkeypatch.setitem(sys.modules, "mixstack.record.session", session)  # type: ignore[arg-type]
        monkeypatch.setattr(mixstack.record, "session", session, raising=False)
        return session

    return use
