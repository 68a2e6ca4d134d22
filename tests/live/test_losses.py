"""What is lost is counted where it is lost; what was written stays, however a recording ends."""

from __future__ import annotations

import random
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mixstack.capture.reader import read_capture
from mixstack.errors import OutputError, ReaderGone

from .harness import MIXSTACK, environment, run_mixstack, running, spinning, until
from .programs import program

pytestmark = pytest.mark.live

KILLS = 10
# All of them compute at once: their C gives the GIL away.
CROWD = """
import sys, threading, zlib
data = bytes(range(256)) * 400
def work():
    while True:
        zlib.compress(data, 1)
for _ in range(int(sys.argv[1])):
    threading.Thread(target=work, daemon=True).start()
print("ready", flush=True)
threading.Event().wait(float(sys.argv[2]))
"""


@pytest.mark.alone
def test_the_highest_rate_with_many_threads(tmp_path: Path) -> None:
    """No sample is unaccounted for: what the probe took is in the file, or said to be lost."""
    output = tmp_path / "out.data"
    # It outlives the recorder's start, which takes bcc some seconds on a busy machine.
    with running([sys.executable, "-c", CROWD, "20", "60"]) as target:
        command = ("record", "-p", str(target.pid), "-d", "1", "-r", "9999", "-o", output)
        done = run_mixstack(*command, timeout_s=110)
    assert done.returncode == 0, done.stderr
    capture = read_capture(str(output))
    assert capture.footer is not None
    samples, losses = capture.footer.samples, capture.footer.losses
    assert sum(1 for _ in capture.samples()) == samples > 1000
    assert f"lost        {losses.ring_full:,} (" in done.stderr
    assert len({sample.tid for sample in capture.samples()}) > 10


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """The long form of this is `python -m tests.bench.kills 200`."""
    chance = random.Random(5)
    with running([sys.executable, program("sorted_key")]) as target:
        for number in range(KILLS):
            killed(target.pid, tmp_path / f"{number}.data", chance.uniform(0, 0.8))


def killed(pid: int, output: Path, after_s: float) -> float | None:
    """Kill a recording so long after its first sample; how much is missing, in seconds.

    None: it had not written a sample yet. Fails if what is there cannot be merged, or if more
    than the last second is missing.
    """
    command = [*MIXSTACK, "record", "-p", str(pid), "-r", "999", "-o", str(output)]
    recorder = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment())
    try:
        until(output.exists, 60)
        time.sleep(after_s)
    finally:
        killed_ns = time.monotonic_ns()
        recorder.kill()
        recorder.wait()
    capture = read_capture(str(output))
    assert not capture.complete
    times = [sample.time_ns for sample in capture.samples()]
    merged = run_mixstack("merge", output, "-f", "collapsed", "-o", "-")
    assert merged.returncode == 0, merged.stderr
    assert ("work" in merged.stdout) == bool(times)
    if not times:
        assert killed_ns - capture.recording.start_ns < 2e9
        return None
    missing_s = (killed_ns - max(times)) / 1e9
    assert missing_s < 1.1
    return missing_s


def test_a_recording_through_a_pipe(tmp_path: Path) -> None:
    kept = tmp_path / "kept.data"
    body = "print('not in the recording')\nsum(range(10_000_000))"
    command = [*MIXSTACK, "record", "-r", "999", "-o", "-", "--", sys.executable, "-c", body]
    with kept.open("wb") as pipe:
        done = subprocess.run(
            command, stdout=pipe, stderr=subprocess.PIPE, text=True, env=environment(), timeout=60
        )
    assert done.returncode == 0, done.stderr
    assert "not in the recording" in done.stderr
    capture = read_capture(str(kept))
    assert capture.complete, capture.problem
    assert capture.sample_count > 0


def test_the_reader_of_a_pipe_goes_away(tmp_path: Path) -> None:
    """A clear end; what the reader took is a recording.

    It takes more than one block of samples is, and that is as much as comes in a second: on a busy
    machine 60 kB at this rate.
    """
    kept, told = tmp_path / "kept.data", tmp_path / "told"
    with running(spinning()) as target:
        ours = shlex.join([*MIXSTACK, "record", "-p", str(target.pid), "-r", "4999", "-o", "-"])
        pipeline = f"{ours} 2>{told} | head -c 200000 >{kept}; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", pipeline], env=environment(), timeout=90, check=False)
        assert target.process.poll() is None
    assert done.returncode == ReaderGone.exit_code
    assert "went away" in told.read_text()
    assert "Traceback" not in told.read_text()
    assert read_capture(str(kept)).sample_count > 0


def test_a_command_is_waited_for_when_the_disk_is_full(tmp_path: Path) -> None:
    disk, done_file = tmp_path / "disk", tmp_path / "done"
    disk.mkdir()
    body = "import time\nend = time.monotonic() + 3\nwhile time.monotonic() < end: str(end)\n"
    body += f"open({str(done_file)!r}, 'w')"
    record = [*MIXSTACK, "record", "-r", "4999", "-o", str(disk / "out.data"), "--"]
    small = shlex.join(["mount", "-t", "tmpfs", "-o", "size=20k", "tmpfs", str(disk)])
    script = f'set -e\n{small}\n"$@"'
    command = ["unshare", "--mount", "sh", "-c", script, "sh", *record, sys.executable, "-c", body]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60)
    assert done.returncode == OutputError.exit_code, done.stderr
    assert "no space left" in done.stderr
    assert done_file.exists()
