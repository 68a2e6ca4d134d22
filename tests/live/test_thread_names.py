"""What a program calls its threads, read from its memory while it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixstack.capture.reader import read_capture

from ..interpreters import SUPPORTED, Build, supported
from .harness import LOADER, record, run_mixstack, running

pytestmark = pytest.mark.live

NEWEST = supported(lambda b: b.minor == (3, 12))

# Each says its own kernel number, so that no name can be another's; a name is longer than what the
# kernel has room for, a class sets attributes first, and one thread gets its name late.
PROGRAM = """
import os, threading, time
class Own(threading.Thread):
    def __init__(self, name):
        self.early = 1
        super().__init__(target=work, name=name, daemon=True)
def work():
    line = "%d %s\\n" % (threading.get_native_id(), threading.current_thread().name)
    os.write(2, line.encode())  # at once: others write as well
    if threading.current_thread().name == "later": threading.current_thread().name = "renamed"
    while True: sum(range(500))
names = ["feeder of the database", "w\\u00f6rker \\u4e16", "later"]
threads = [threading.Thread(target=work, name=n, daemon=True) for n in names] + [Own("own class")]
for t in threads: t.start()
vars(threads[0])["more"] = 1
for i in range(50): setattr(threads[1], "a%d" % i, i)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("build", SUPPORTED)
def test_python_s_names(build: Build, tmp_path: Path) -> None:
    said = tmp_path / "said"
    script = '2>"$0" exec "$@"'
    with running(["/bin/sh", "-c", script, said, *build.command("-X", "utf8", "-c", PROGRAM)]) as t:
        capture = record(t.pid, tmp_path / "out.data", rate_hz=999)
    lines = [line.split(" ", 1) for line in said.read_text(encoding="utf-8").splitlines()]
    own = {int(tid): name for tid, name in lines}
    assert len(own) == 4
    expected = {tid: "renamed" if name == "later" else name for tid, name in own.items()}
    assert {tid: n for (pid, tid), n in capture.thread_names.items() if pid == t.pid} == expected


# The thread that execs goes on with its number; its name was the old program's.
BEFORE = """
import os, sys, threading, time
threading.current_thread().name = "before"
threading.Thread(target=time.sleep, args=(60,), name="gone with it", daemon=True).start()
time.sleep(0.6)
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
"""
AFTER = """
import os, threading, time
def work():
    os.write(1, b"%d\\n" % threading.get_native_id())
    time.sleep(60)
threading.Thread(target=work, name="after", daemon=True).start()
end = time.time() + 0.6
while time.time() < end: pass
os._exit(0)
"""


@pytest.mark.parametrize("build", NEWEST)
def test_names_after_an_exec(build: Build, tmp_path: Path) -> None:
    output = tmp_path / "out.data"
    command = build.command("-c", BEFORE, AFTER)
    done = run_mixstack("record", "-o", output, "--loader", LOADER, "--", *command)
    assert done.returncode == 0, done.stderr
    capture = read_capture(str(output))
    (pid,) = capture.processes
    names = dict(capture.thread_names)
    assert names.pop((pid, int(done.stdout))) == "after"
    assert set(names.values()) <= {"gone with it"}  # of a thread that is no more
    assert (pid, pid) not in names
