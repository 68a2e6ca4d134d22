"""In which order the files of a process are read."""

from __future__ import annotations

from typing import Any, cast

import pytest

from mixstack.record.file_queue import FileQueue
from mixstack.record.modules import ModuleRegistry
from mixstack.target.maps import MapLine
from mixstack.target.process import TargetProcess

SIZES = {"exe": 50, "libpython": 400, "small": 10, "large": 900, "known": 1}
PROCESS = TargetProcess(1, None, ())


def line(name: str) -> MapLine:
    start = 0x10000 * list(SIZES).index(name)
    return MapLine(start, start + SIZES[name], "r-xp", 0, 1, start + 1, f"/lib/{name}")


class Registry:
    """Notes what is read."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def knows(self, mapped: MapLine) -> bool:
        return mapped.path == "/lib/known"

    def find(self, _process: TargetProcess, mapped: MapLine) -> None:
        self.read.append(mapped.path.removeprefix("/lib/"))


@pytest.mark.parametrize(
    ("first", "wanted", "order"),
    [
        pytest.param([], [], "small exe libpython large", id="the smallest first"),
        pytest.param(
            ["libpython", "exe"], [], "exe libpython small large", id="what may be a Python first"
        ),
        pytest.param(
            ["exe"], ["large"], "large exe small libpython", id="where a walk died before all"
        ),
    ],
)
def test_the_order(first: list[str], wanted: list[str], order: str) -> None:
    registry = Registry()
    files = FileQueue(cast("ModuleRegistry", cast(Any, registry)), None)
    files.fill(tuple(map(line, SIZES)), [line(name) for name in first])
    while files:
        assert files.step(PROCESS, [line(name).start for name in wanted])
    assert registry.read == order.split()
