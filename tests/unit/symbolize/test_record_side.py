"""Symbols while recording: caching, bad files, images."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixstack.model import Symbol
from mixstack.symbolize.record_side import ModuleSymbols
from tests.unit.symbolize.images import Sym, elf

IMAGE = elf([Sym("f", 0x1100, 0x40), Sym("g", 0x1200, 8)])
F, G = Symbol(7, 0x1100, 0x1140, "f"), Symbol(7, 0x1200, 0x1208, "g")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "lib.so"
    file.write_bytes(IMAGE)
    return file


def test_distinct_symbols_sorted(path: Path) -> None:
    found = ModuleSymbols().find_symbols(7, str(path), [0x1204, 0x1100, 0x1101, 0x113F, 0x1180])
    assert found == [F, G]


def test_read_once(path: Path) -> None:
    symbols = ModuleSymbols()
    assert symbols.find_symbols(7, str(path), [0x1100]) == [F]
    path.unlink()
    assert symbols.find_symbols(7, str(path), [0x1200]) == [G]


def test_unopened_file_is_tried_again(path: Path) -> None:
    symbols = ModuleSymbols()
    assert symbols.find_symbols(7, str(path) + ".none", [0x1100]) == []
    assert symbols.find_symbols(7, str(path), [0x1100]) == [F]


def test_no_elf_file(path: Path) -> None:
    path.write_bytes(b"#!/bin/sh\n")
    assert ModuleSymbols().find_symbols(7, str(path), [0x1100]) == []


def test_image() -> None:
    symbols = ModuleSymbols()
    assert symbols.find_symbols_in_image(7, IMAGE, [0x1100]) == [F]
    assert symbols.find_symbols_in_image(8, b"no image", [0x1100]) == []
