"""Libraries that cannot just be opened by their paths, or lie in memory in an unusual way."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mixstack.elf import open_elf

from ..interpreters import Build, supported
from .conftest import HERE
from .harness import record_enough, running, show, stacks

pytestmark = pytest.mark.live

PROGRAM = """
import ctypes, os, sys
path, after = sys.argv[1:]
if after == "memfd":
    fd = os.memfd_create("library")
    os.write(fd, open(path, "rb").read())
    path = f"/proc/self/fd/{fd}"
library = ctypes.CDLL(path)
if after == "unlink":
    os.unlink(path)
elif after == "replace":
    with open(path + ".new", "wb") as file:
        file.write(open("/proc/self/exe", "rb").read())
    os.rename(path + ".new", path)
library.spin.argtypes = [ctypes.c_double]
print("ready", flush=True)
while True:
    library.spin(0.05)
"""
NEWEST = supported(lambda b: b.minor == (3, 12))
LEAST = 100  # samples

# Puts a library somewhere, and says where: its path and what happens to it once it is mapped.
Place = Callable[[Path, Path, ExitStack], tuple[Path, str]]


def mount(stack: ExitStack, target: Path, *options: str | Path) -> None:
    subprocess.run(["mount", *map(str, options), str(target)], check=True, capture_output=True)
    stack.callback(subprocess.run, ["umount", "--lazy", str(target)], check=True)


def after(what: str) -> Place:
    def place(library: Path, folder: Path, _stack: ExitStack) -> tuple[Path, str]:
        return Path(shutil.copy(library, folder / "libcopy.so")), what

    return place


def overlay(library: Path, folder: Path, stack: ExitStack) -> tuple[Path, str]:
    for name in ("lower", "layer", "merged"):
        (folder / name).mkdir()
    shutil.copy(library, folder / "lower")
    # The folder itself may already lie on an overlay, which cannot be another's upper layer.
    mount(stack, folder / "layer", "-t", "tmpfs", "none")
    for name in ("upper", "work"):
        (folder / "layer" / name).mkdir()
    layers = f"lowerdir={folder}/lower,upperdir={folder}/layer/upper,workdir={folder}/layer/work"
    mount(stack, folder / "merged", "-t", "overlay", "overlay", "-o", layers)
    return folder / "merged" / library.name, ""


def image(library: Path, folder: Path, stack: ExitStack) -> tuple[Path, str]:
    if "squashfs" not in Path("/proc/filesystems").read_text():
        pytest.skip("this kernel has no squashfs")
    command = ["mksquashfs", str(library), str(folder / "image"), "-quiet", "-no-progress"]
    subprocess.run(command, check=True, capture_output=True)
    (folder / "mounted").mkdir()
    mount(stack, folder / "mounted", "-t", "squashfs", "-o", "loop,ro", folder / "image")
    return folder / "mounted" / library.name, ""


def linked(*options: str, segments: int) -> Place:
    """The library linked again, `turn` in a section of its own; `segments`: how many hold code."""

    def place(_library: Path, folder: Path, _stack: ExitStack) -> tuple[Path, str]:
        source, built = HERE / "native" / "spin.c", folder / "liblinked.so"
        flags = ("-O2", "-fPIC", "-fomit-frame-pointer", "-ffunction-sections")
        part, renamed = folder / "spin.o", "--rename-section=.text.turn=.hot"
        subprocess.run(["gcc", *flags, "-c", "-o", part, source], check=True)
        subprocess.run(["objcopy", renamed, part], check=True)
        subprocess.run(["gcc", "-shared", *options, "-o", built, part], check=True)
        with open_elf(str(built)) as elf:
            assert sum(s.executable for s in elf.segments) == segments
        return built, ""

    return place


PLACES = [
    pytest.param(after("memfd"), id="a memfd"),
    pytest.param(after("unlink"), id="deleted once it was mapped"),
    pytest.param(after("replace"), id="replaced by another file once it was mapped"),
    pytest.param(overlay, id="an overlay"),
    pytest.param(image, id="a squashfs image"),
    pytest.param(
        linked("-Wl,-Ttext-segment=0x3000000000", segments=1), id="prelinked to an address"
    ),
    pytest.param(
        linked("-Wl,--section-start=.hot=0x800000", segments=2), id="two segments with code"
    ),
]


@pytest.fixture
def undone() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("build", NEWEST)
@pytest.mark.parametrize("place", PLACES)
def test_its_functions_are_named_and_left(
    place: Place, build: Build, helpers: dict[str, Path], tmp_path: Path, undone: ExitStack
) -> None:
    path, happens = place(helpers["spin"], tmp_path, undone)
    with running(build.command("-S", "-c", PROGRAM, path, happens)) as target:
        assert happens == "memfd" or _is_mapped(target.pid, path)
        output = tmp_path / "out.data"
        capture = record_enough(target.pid, output, LEAST, seconds=0.3, rate_hz=1999)
        found = [s for s in stacks(capture) if s.frames and s.frames[-1].name == "turn"]
        assert len(found) > 0.8 * capture.sample_count, show(next(stacks(capture)).frames)
    for stack in found:
        assert stack.merged.fit.value == "exact", show(stack.full)
        assert [f.name for f in stack.frames[-2:]] == ["spin", "turn"]
        assert any(f.name == "_start" for f in stack.full), show(stack.full)


def _is_mapped(pid: int, path: Path) -> bool:
    return os.fspath(path) in Path(f"/proc/{pid}/maps").read_text()
