"""What a program calls its threads, read from its memory while it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..interpreters import SUPPORTED, Build
from .harness import record, running

pytestmark = pytest.mark.live

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
