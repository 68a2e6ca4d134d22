"""Unwind rules that only the debug file of a stripped library has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mixstack.model import Fit, FrameKind

from .conftest import BARE, HERE
from .harness import Stack, record, running, show, stacks
from .programs import program

pytestmark = pytest.mark.live


@pytest.mark.parametrize("build_id", ["sha1", "none"])
def test_they_are_used_from_the_first_sample_on(build_id: str, tmp_path: Path) -> None:
    found = _stacks(_split(tmp_path, build_id), tmp_path)
    for stack in found:
        assert stack.merged.fit is Fit.EXACT, show(stack.full)
        assert not _has_mark(stack), show(stack.full)
        assert stack.full[0].name == "_start", show(stack.full)


def test_without_the_debug_file_a_first_sample_stops_there(tmp_path: Path) -> None:
    """What the test above rests on."""
    library = _split(tmp_path, "sha1")
    library.with_suffix(".debug").unlink()
    assert any(map(_has_mark, _stacks(library, tmp_path)))


def _split(folder: Path, build_id: str) -> Path:
    """A library without unwind rules; its debug file lies beside it and has them."""
    library = folder / "libbare.so"
    debug = library.with_suffix(".debug")
    compiler = ("gcc", "-g", "-O2", "-shared", "-fPIC", "-fomit-frame-pointer", *BARE)
    source = HERE / "native" / "bare.c"
    _run(*compiler, f"-Wl,--build-id={build_id}", "-o", library, source)
    _run("objcopy", "--only-keep-debug", library, debug)
    _run("objcopy", "--strip-all", f"--add-gnu-debuglink={debug}", library)
    return library


def _stacks(library: Path, folder: Path) -> list[Stack]:
    """Those with a frame of the library, in order of time."""
    with running([sys.executable, program("no_unwind_table"), library]) as target:
        capture = record(target.pid, folder / "out.data", rate_hz=999)
    found = [s for s in stacks(capture) if any(f.file == str(library) for f in s.full)]
    assert len(found) > 30
    return found


def _has_mark(stack: Stack) -> bool:
    return any(frame.kind is FrameKind.MARK for frame in stack.full)


def _run(*command: str | Path) -> None:
    subprocess.run([*map(str, command)], check=True)
