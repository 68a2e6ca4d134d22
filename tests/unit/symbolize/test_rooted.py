"""Paths below a root: links lead where they would for a process whose root it is."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from mixstack.symbolize.rooted import open_below

ROWS = [
    ("plain", "lib/file", "inside"),
    ("absolute", "/lib/file", "inside"),
    ("with dots", "./lib/../lib//file", "inside"),
    ("above the root is the root", "../../../lib/file", "inside"),
    ("link beside it", "lib/beside", "inside"),
    ("absolute link", "lib/absolute", "inside"),
    ("link to a folder", "folder/file", "inside"),
    ("link that climbs", "lib/climbs", "inside"),
    ("link in a chain", "lib/chain", "inside"),
    ("link to what is only outside", "lib/outside", None),
    ("link that climbs to what is only outside", "lib/above", None),
    ("link to itself", "lib/loop", None),
    ("missing", "lib/missing", None),
    ("a folder", "lib", "a folder"),
    ("nothing", "", None),
    ("the root", "/", None),
    ("through a file", "lib/file/more", None),
    ("longer than any", "lib/../" * 200 + "lib/file", None),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree with links; `secret` lies outside of it."""
    (tmp_path / "secret").write_text("outside")
    root = tmp_path / "root"
    (root / "lib").mkdir(parents=True)
    (root / "lib" / "file").write_text("inside")
    for name, target in {
        "lib/beside": "file",
        "lib/absolute": "/lib/file",
        "folder": "lib",
        "lib/climbs": "../../../../lib/file",
        "lib/chain": "absolute",
        "lib/outside": str(tmp_path / "secret"),
        "lib/above": "../../secret",
        "lib/loop": "loop",
    }.items():
        (root / name).symlink_to(target)
    return root


@pytest.mark.parametrize(("path", "expected"), [r[1:] for r in ROWS], ids=[r[0] for r in ROWS])
def test_row(root: Path, path: str, expected: str | None) -> None:
    gc.collect()  # what other tests left behind is not closed in between
    before = len(os.listdir("/proc/self/fd"))
    if expected is None:
        with pytest.raises(OSError):  # noqa: PT011 - which one is the kernel's to say
            open_below(str(root), path)
    else:
        descriptor = open_below(str(root), path)
        try:
            if expected != "a folder":
                assert os.read(descriptor, 100).decode() == expected
        finally:
            os.close(descriptor)
    assert len(os.listdir("/proc/self/fd")) == before, "descriptors are left open"


def test_the_real_root() -> None:
    descriptor = open_below("/", os.__file__)
    os.close(descriptor)
