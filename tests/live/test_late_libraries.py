"""Libraries that are loaded in the middle of a recording: how soon they can be unwound."""

from __future__ import annotations

import shutil
import statistics
from pathlib import Path

import pytest

from ..interpreters import Build, supported
from .harness import Stack, show, stacks
from .test_children import recorded

pytestmark = [pytest.mark.live, pytest.mark.alone]

LOADING = """
import ctypes, sys, time
time.sleep(1.5)  # the recorder looks at a program often only while that is new
for path in sys.argv[1:]:
    library = ctypes.CDLL(path)
    library.spin.argtypes = [ctypes.c_double]
    library.spin(0.25)
    time.sleep(0.3)
"""
COPIES = 5
SOON_S = 0.1


@pytest.mark.parametrize("build", supported(lambda b: b.minor == (3, 12)))
def test_a_library_is_unwound_within_100_ms(
    build: Build, helpers: dict[str, Path], tmp_path: Path
) -> None:
    """By the median of several: on a busy machine the CPU is with others for as long."""
    paths = [Path(shutil.copy(helpers["spin"], tmp_path / f"late{i}.so")) for i in range(COPIES)]
    (tmp_path / "program.py").write_text(LOADING)
    command = build.command("-S", tmp_path / "program.py", *paths)
    capture = recorded(tmp_path / "out.data", command)
    found: dict[str, list[Stack]] = {str(path): [] for path in paths}
    for stack in stacks(capture):
        if stack.full and stack.full[-1].file in found:
            found[stack.full[-1].file].append(stack)
    delays = []
    for path, of_library in found.items():
        assert of_library, path
        whole = [s for s in of_library if s.merged.fit.value == "exact"]
        assert whole, show(of_library[-1].frames)
        assert [f.name for f in whole[0].frames][-2:] in (["spin", "turn"], ["spin", "clock"])
        delays.append((whole[0].sample.time_ns - of_library[0].sample.time_ns) / 1e9)
    assert statistics.median(delays) < SOON_S, delays
