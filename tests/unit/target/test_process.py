"""A live process from outside: its memory, files, threads, and every way not to be one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mixstack.elf import Elf, open_elf
from mixstack.errors import MixstackError, NoSuchProcess, NotPermitted
from mixstack.target.maps import MapLine
from mixstack.target.process import READ_LIMIT, TargetProcess

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
MEMORY = """
import ctypes, sys
block = ctypes.create_string_buffer(bytes(range(256)) * 64)
print(ctypes.addressof(block), flush=True)
sys.stdin.read()
"""


@contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def first_line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    line = child.stdout.readline().strip()
    assert line
    return line


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_memory_is_read_as_the_process_has_it() -> None:
    with running(sys.executable, "-c", MEMORY) as child:
        address = int(first_line(child))
        process = TargetProcess.open(child.pid)
        assert process.read(address, 16384) == bytes(range(256)) * 64
        assert process.read(address + 3, 5) == bytes([3, 4, 5, 6, 7])
        end_of_heap = next(line.end for line in process.maps() if line.path == "[stack]")
        for bad_address, size in [
            (0, 8),
            (8, 8),
            (end_of_heap - 4, 8),  # begins in mapped memory, ends outside
            (2**64 - 4, 8),
            (2**64, 8),
            (-8, 8),
            (address, 0),
            (address, -1),
            (address, READ_LIMIT + 1),
        ]:
            assert process.read(bad_address, size) is None
        child.kill()
        child.wait()
        assert process.read(address, 8) is None
        assert not process.alive()
        assert process.maps() == process.executable_maps() == ()
        assert process.threads() == []
        assert process.vdso() is None
        assert process.exe_identity() is None


def test_maps_are_those_of_the_kernel() -> None:
    process = TargetProcess.open(os.getpid())
    raw = Path("/proc/self/maps").read_text().splitlines()
    lines = {(f"{line.start:x}-{line.end:x}", line.permissions) for line in process.maps()}
    assert len({tuple(line.split()[:2]) for line in raw} & lines) > 0.8 * len(raw)
    assert process.executable_maps() == tuple(
        line for line in process.maps() if line.permissions[2] == "x"
    )


def test_a_command_line_a_title_and_none() -> None:
    with running("/bin/sleep", "100") as child:
        until(lambda: TargetProcess.open(child.pid).command == ("/bin/sleep", "100"))
    with running(sys.executable, "-c", "print(1, flush=True); input()", "ä", "b c") as child:
        first_line(child)
        command = TargetProcess.open(child.pid).command
        assert command[-2:] == ("ä", "b c")
    nameless = "import os; os.execv('/bin/sleep', [b'\\xff', '100'])"
    with running(sys.executable, "-c", nameless) as child:
        until(lambda: TargetProcess.open(child.pid).command == ("\\xff", "100"))


def test_threads_and_their_names() -> None:
    program = (
        "import threading, sys, time\n"
        "t = threading.Thread(target=time.sleep, args=(100,), daemon=True); t.start()\n"
        "open(f'/proc/self/task/{t.native_id}/comm', 'w').write('worker (1) x')\n"
        "print(t.native_id, flush=True); sys.stdin.read()"
    )
    with running(sys.executable, "-c", program) as child:
        tid = int(first_line(child))
        process = TargetProcess.open(child.pid)
        assert process.threads() == sorted([child.pid, tid])
        assert process.thread_name(tid) == "worker (1) x"
        assert process.thread_name(2**30) is None


def test_an_exec_changes_the_program_and_not_the_process() -> None:
    program = "import os; print('ready', flush=True); input(); os.execv('/bin/sleep', ['z', '9'])"
    with running(sys.executable, "-c", program) as child:
        first_line(child)
        process = TargetProcess.open(child.pid)
        before = process.exe_identity()
        assert before is not None
        assert before[:2] == (os.stat(sys.executable).st_dev, os.stat(sys.executable).st_ino)
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
        sleep = os.path.realpath("/bin/sleep")
        until(lambda: any(line.path == sleep for line in process.maps()))
        after = process.exe_identity()
        assert after is not None
        assert after != before
        assert after[2] == sleep
        assert process.alive()
        # Memory is the new program's: its ELF header.
        first = next(line for line in process.maps() if line.path == sleep)
        assert process.read(first.start, 4) == b"\x7fELF"


def test_a_later_process_with_the_same_pid_is_not_this_one() -> None:
    process = TargetProcess.open(os.getpid())
    assert process.alive()
    earlier = TargetProcess(process.pid, process.start_time - 1, process.command)
    assert not earlier.alive()


def test_the_vdso_is_an_elf_file() -> None:
    image = TargetProcess.open(os.getpid()).vdso()
    assert image is not None
    assert Elf(memoryview(image), "[vdso]").section(".eh_frame") is not None


# --- opening what is mapped --------------------------------------------------------------------


def mapped(process: TargetProcess, name: str) -> MapLine:
    return next(line for line in process.executable_maps() if name in line.path)


def copy_of_sleep(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return Path(shutil.copy("/bin/sleep", folder / "my sleep"))


def test_a_file_is_opened_by_its_name_below_the_target_s_root(tmp_path: Path) -> None:
    program = copy_of_sleep(tmp_path)
    with running(str(program), "100") as child:
        process = TargetProcess.open(child.pid)
        until(lambda: any("my sleep" in line.path for line in process.maps()))
        path = process.open_path(mapped(process, "my sleep"))
        assert path == f"/proc/{child.pid}/root{program}"
        assert Path(path).read_bytes() == Path("/bin/sleep").read_bytes()


@pytest.mark.parametrize("replaced", [False, True], ids=["deleted", "replaced"])
@needs_root
def test_a_file_that_is_gone_is_opened_through_the_process(tmp_path: Path, replaced: bool) -> None:
    program = copy_of_sleep(tmp_path)
    content = program.read_bytes()
    with running(str(program), "100") as child:
        process = TargetProcess.open(child.pid)
        until(lambda: any("my sleep" in line.path for line in process.maps()))
        before = mapped(process, "my sleep")
        program.unlink()
        if replaced:
            program.write_bytes(b"another file")
        after = mapped(process, "my sleep")
        assert after.path.endswith("my sleep (deleted)")
        for line in (before, after):
            path = process.open_path(line)
            assert "/map_files/" in path
            assert Path(path).read_bytes() == content
            with open_elf(path) as elf:
                assert elf.segments


@needs_root
def test_a_file_of_another_mount_namespace_is_opened(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    script = f"mount -t tmpfs none {tmp_path} && cp /bin/sleep {inner} && exec {inner} 100"
    with running("unshare", "--mount", "sh", "-c", script) as child:
        process = TargetProcess.open(child.pid)
        try:
            until(lambda: any("inner" in line.path for line in process.maps()))
        except NoSuchProcess:
            pytest.skip("this machine forbids mount namespaces")
        line = mapped(process, "inner")
        assert not inner.exists()
        assert process.open_path(line) == f"/proc/{child.pid}/root{inner}"
        assert Path(process.open_path(line)).read_bytes() == Path("/bin/sleep").read_bytes()


def test_memory_without_a_file_has_only_the_way_through_the_process() -> None:
    process = TargetProcess.open(os.getpid())
    line = next(line for line in process.maps() if line.path == "[stack]")
    assert "/map_files/" in process.open_path(line)


# --- what cannot be opened ---------------------------------------------------------------------


def refusal(pid: int) -> MixstackError:
    with pytest.raises(MixstackError) as caught:
        TargetProcess.open(pid)
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("pid", [-1, 0, 2**22 + 1, 2**31, 2**70])
def test_no_such_process(pid: int) -> None:
    error = refusal(pid)
    assert isinstance(error, NoSuchProcess)
    assert str(pid) in error.message


def test_a_zombie_has_ended() -> None:
    with running("/bin/true") as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        error = refusal(child.pid)
    assert isinstance(error, NoSuchProcess)
    assert "has ended" in error.message


def test_a_process_that_becomes_a_zombie_is_no_longer_alive() -> None:
    with running("/bin/sleep", "100") as child:
        process = TargetProcess.open(child.pid)
        assert process.alive()
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not process.alive()


def test_a_thread_is_told_its_process() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        assert thread.native_id is not None
        error = refusal(thread.native_id)
    finally:
        stop.set()
        thread.join()
    assert isinstance(error, NoSuchProcess)
    assert f"mixstack record -p {os.getpid()}" in error.hint


def test_a_thread_of_the_kernel() -> None:
    comm = Path("/proc/2/comm")
    if not comm.exists() or comm.read_text().strip() != "kthreadd":
        pytest.skip("the kernel's threads are not visible here")
    error = refusal(2)
    assert isinstance(error, NoSuchProcess)
    assert "kthreadd" in error.message
    assert "kernel" in error.message


# Becomes nobody only after the imports, for the interpreter may lie where nobody may not read.
AS_NOBODY = """
import os, sys, time
from mixstack.errors import NotPermitted
from mixstack.target.process import TargetProcess
os.setgroups([]); os.setgid(65534); os.setuid(65534)
pid = int(sys.argv[1])
if pid == 0:  # a child of nobody's own, whose memory is closed: setuid made it so
    pid = os.fork()
    if pid == 0:
        time.sleep(100)
try:
    TargetProcess.open(pid)
except NotPermitted as e:
    print(e.message, "|", e.hint)
finally:
    if sys.argv[1] == "0":
        os.kill(pid, 9)
"""


def refusal_of_nobody(pid: int) -> str:
    return subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(pid)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    ).stdout


@needs_root
def test_another_user_s_process_names_its_owner() -> None:
    with running("/bin/sleep", "100") as child:
        said = refusal_of_nobody(child.pid)
        assert f"process {child.pid} (sleep) belongs to user root" in said
        assert NotPermitted.default_hint in said


@needs_root
def test_one_s_own_process_that_is_closed_says_so() -> None:
    said = refusal_of_nobody(0)
    assert "closed even to you" in said
    assert "ptrace_scope" in said
