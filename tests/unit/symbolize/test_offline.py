"""Symbols from this machine's files, only where they are surely the right ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mixstack.model import NativeFrame, Step, Symbol
from mixstack.symbolize.offline import missing_symbols
from tests.unit.symbolize.captures import LIBC, FakeCapture, capture, sample
from tests.unit.symbolize.images import Sym, elf

BUILD_ID = bytes(range(20))
F, G = Symbol(LIBC, 0x1100, 0x1140, "f"), Symbol(LIBC, 0x1200, 0x1208, "g")


@pytest.fixture
def salvaged(tmp_path: Path) -> FakeCapture:
    """A capture with addresses in a module whose symbols were not written."""
    file = tmp_path / "libc.so.6"
    file.write_bytes(elf([Sym("f", 0x1100, 0x40), Sym("g", 0x1200, 8)], build_id=BUILD_ID))
    of = capture()
    of.modules[LIBC] = replace(of.modules[LIBC], path=str(file), build_id=BUILD_ID.hex())
    of.recorded = [
        sample(
            NativeFrame(0x31140, 1, Step.CALLER),  # the call is the last instruction of f
            NativeFrame(0x31208, 2, Step.LEAF),  # behind g
            NativeFrame(None, 3, Step.RESYNC),
        ),
        sample(NativeFrame(0x99999, 1, Step.LEAF)),
        sample(NativeFrame(0x80010, 1, Step.LEAF)),
    ]
    return of


def test_fills_in(salvaged: FakeCapture) -> None:
    before = dict(salvaged.symbols)
    assert missing_symbols(salvaged) == {**before, LIBC: (F,)}
    assert salvaged.symbols == before


def test_completes_what_is_there(salvaged: FakeCapture) -> None:
    salvaged.symbols[LIBC] = (G,)
    assert missing_symbols(salvaged)[LIBC] == (F, G)


@pytest.mark.parametrize("build_id", [None, "00" * 20])
def test_other_file(salvaged: FakeCapture, build_id: str | None) -> None:
    salvaged.modules[LIBC] = replace(salvaged.modules[LIBC], build_id=build_id)
    assert missing_symbols(salvaged) == salvaged.symbols


def test_no_file(salvaged: FakeCapture) -> None:
    Path(salvaged.modules[LIBC].path).unlink()
    assert missing_symbols(salvaged) == salvaged.symbols


def test_damaged_file(salvaged: FakeCapture) -> None:
    Path(salvaged.modules[LIBC].path).write_bytes(b"\x7fELF")
    assert missing_symbols(salvaged) == salvaged.symbols


def test_unknown_module(salvaged: FakeCapture) -> None:
    del salvaged.modules[LIBC]
    assert missing_symbols(salvaged) == salvaged.symbols
