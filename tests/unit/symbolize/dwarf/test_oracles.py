"""Lines and inlined calls against addr2line and llvm-symbolizer, for all that compilers write."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from os.path import normpath
from pathlib import Path

import pytest

from mixstack.elf import open_elf
from mixstack.model import SourceCall
from mixstack.symbolize.dwarf.debug_info import DebugInfo
from tests.interpreters import SUPPORTED
from tests.interpreters import Build as Interpreter
from tests.unit.symbolize.dwarf.oracles import Call, addr2line, llvm_symbolizer
from tests.unit.symbolize.programs import BUILDS, Build, build, functions_of, tool
from tests.unit.symbolize.test_elf_symbols import interpreter_file

MOST = 2000  # addresses of a file

# Where addr2line (binutils 2.40) is wrong, as llvm-symbolizer and the sources show.
ADDR2LINE_ERRS = {
    "gcc, DWARF 2": "it knows only the first piece of a unit",
    "gcc, 64-bit DWARF": "it knows nothing",
    "gcc, compressed in the old way": "it knows nothing",
    "gcc, not optimised": "DWARF 5: it takes the file before the one that is meant",
    "gcc, link time": "the same",
    "g++": "the same; and it names an inlined call after the symbol",
    "clang++": "it loses inlined calls that are made of several ranges",
    "rustc, DWARF 5": "DWARF 5: it takes the file before the one that is meant",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Build], Path]:
    """Builds each program once."""
    return cache(lambda how: build(how, tmp_path_factory.mktemp("built")))


def addresses_of(path: Path, most: int = MOST) -> list[int]:
    """Addresses in functions: all, or a part of them chosen by chance."""
    every = [a for start, end in functions_of(path) for a in range(start, end)]
    random.seed(len(every))
    return sorted(set(every) if len(every) <= most else set(random.sample(every, most)))


def ours(path: Path, addresses: list[int]) -> list[tuple[SourceCall, ...]]:
    with open_elf(str(path)) as elf:
        info = DebugInfo(elf, elf.segments)
        found = [info.calls_at(a) for a in addresses]
        assert info.problem is None
        return found


def as_calls(frames: tuple[SourceCall, ...]) -> list[Call]:
    return [Call(f.function, f.file and normpath(f.file), f.line) for f in frames]


def places(calls: list[Call]) -> list[Call]:
    """Without the outermost name, which the tools take from the symbol table where they can."""
    return [calls[0]._replace(function=None), *calls[1:]] if calls else []


def known(calls: list[Call]) -> bool:
    """Whether that is from DWARF: a file without any line is from the symbol table."""
    return any(call.line is not None for call in calls)


@pytest.mark.parametrize("how", BUILDS, ids=lambda how: how.name)
def test_equals_llvm_symbolizer(how: Build, built: Callable[[Build], Path]) -> None:
    program = built(how)
    addresses = addresses_of(program)
    found = [as_calls(frames) for frames in ours(program, addresses)]
    assert sum(len(calls) > 1 for calls in found) > (1 if "-O0" in how.command else 50)
    assert sum(map(known, found)) > 200
    expected = llvm_symbolizer(program, addresses)
    assert differences(addresses, found, expected) == []


@pytest.mark.parametrize(
    "how", [how for how in BUILDS if how.name not in ADDR2LINE_ERRS], ids=lambda how: how.name
)
def test_equals_addr2line(how: Build, built: Callable[[Build], Path]) -> None:
    program = built(how)
    addresses = addresses_of(program)
    found = [as_calls(frames) for frames in ours(program, addresses)]
    assert differences(addresses, found, addr2line(program, addresses)) == []


@pytest.mark.parametrize("interpreter", SUPPORTED)
def test_interpreter_equals_llvm_symbolizer(interpreter: Interpreter) -> None:
    tool("llvm-symbolizer")
    path = Path(interpreter_file(interpreter))
    addresses = addresses_of(path, 20)
    found = [as_calls(frames) for frames in ours(path, addresses)]
    if not any(found):
        pytest.skip("it has no debug information")
    assert differences(addresses, found, llvm_symbolizer(path, addresses)) == []


def differences(
    addresses: list[int], found: list[list[Call]], expected: list[list[Call]]
) -> list[tuple[str, list[Call], list[Call]]]:
    """What is not the same; that we know nothing where the tool knows no line is no difference."""
    return [
        (hex(address), ours, theirs)
        for address, ours, theirs in zip(addresses, found, expected, strict=True)
        if places(ours) != places(theirs) and (ours or known(theirs))
    ]
