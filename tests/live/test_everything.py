"""`record -a`: all processes of the machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mixstack.capture.reader import read_capture
from mixstack.model import FrameKind
from mixstack.record.options import RecordOptions
from mixstack.record.session import record as record_session

from ..interpreters import Build, supported
from .harness import LOADER, running, spinning
from .test_children import BURN, all_named, burned, by_process

pytestmark = [pytest.mark.live, pytest.mark.alone]
NEWEST = supported(lambda b: b.minor == (3, 12))


@pytest.mark.parametrize("build", NEWEST)
def test_all_processes_but_the_recorder(build: Build, tmp_path: Path) -> None:
    """What runs already and what begins meanwhile; Pythons with both stacks, others native."""
    parent = BURN + "import subprocess\nprint('ready', flush=True)\n"
    # It would hardly be sampled if it did no more than wait.
    parent += "while True: subprocess.run([sys.executable, '-S', '-c', sys.argv[1]]);"
    parent += " sum(range(500_000))"
    child = BURN + "burn(0.3)"
    with (
        running(spinning()) as known,
        running(build.command("-S", "-c", parent, child)) as starting,
        running(["/bin/sh", "-c", "echo ready; while :; do :; done"]) as shell,
    ):
        options = RecordOptions(
            None,
            (),
            str(tmp_path / "out.data"),
            3.0,
            rate_hz=999,
            everything=True,
            lines=False,
            loader=LOADER,
        )
        done = record_session(options, lambda _progress: None)
        assert done.footer.reason == "duration"
        capture = read_capture(str(tmp_path / "out.data"))
        assert capture.complete
        found = by_process(capture)
        assert os.getpid() not in found
        assert 0 not in found
        # At first the files of all processes have to be read.
        later = found[known.pid][len(found[known.pid]) // 2 :]
        assert all(any(f.kind is FrameKind.PYTHON for f in s.frames) for s in later)
        later = found[shell.pid][len(found[shell.pid]) // 2 :]
        native = [s for s in later if s.merged.fit.value == "native-only"]
        assert len(native) > 0.9 * len(later)
        children = [each for pid, each in found.items() if burned(each)]
        assert starting.pid in capture.processes
        assert len(children) >= 2
        for each in children:
            all_named(each)
        wanted = capture.processes[children[0][0].sample.pid]
        assert wanted.interpreter is not None
        assert wanted.interpreter.version == build.version
