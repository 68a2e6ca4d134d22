"""Real interpreters, found from outside and compared with what they say of themselves."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from mixstack.target import interpreter
from mixstack.target.interpreter import FoundInterpreter, NotSupported, find_interpreter
from mixstack.target.layouts import COMPILED
from mixstack.target.maps import MapLine
from mixstack.target.process import TargetProcess
from mixstack.target.thread_states import walk_thread_states
from tests.interpreters import SUPPORTED, UNSUPPORTED, Build, supported

# Each thread tells its pthread_self(), thread state and the pthread keys that lead to it.
PROGRAM = """
import ctypes, json, sys, threading, types
api, libc = ctypes.pythonapi, ctypes.CDLL(None)
api.PyThreadState_Get.restype = ctypes.c_void_p
api.PyInterpreterState_Get.restype = ctypes.c_void_p
libc.pthread_getspecific.restype = libc.pthread_self.restype = ctypes.c_void_p
told, done = [], threading.Event()
def tell():
    state = api.PyThreadState_Get()
    keys = [k for k in range(32) if libc.pthread_getspecific(ctypes.c_uint(k)) == state]
    told.append([threading.get_ident(), libc.pthread_self(), state, keys])
def work():
    tell()
    done.wait()
threads = [threading.Thread(target=work, daemon=True) for _ in range(5)]
tell()
for t in threads: t.start()
while len(told) < 6: pass
print(json.dumps({
    "threads": told,
    "runtime": ctypes.addressof(ctypes.c_char.in_dll(api, "_PyRuntime")),
    "code_type": id(types.CodeType),
    "evaluator": ctypes.cast(api._PyEval_EvalFrameDefault, ctypes.c_void_p).value,
    "interp": api.PyInterpreterState_Get(),
    "trampoline": [
        ctypes.addressof(ctypes.c_char.in_dll(api, "_Py_trampoline_func_" + end))
        for end in ("start", "end") if hasattr(api, "_Py_trampoline_func_start")
    ],
}), flush=True)
sys.stdin.read()
"""
READY = "import sys; print('ready', flush=True); sys.stdin.read()"


def found(process: TargetProcess) -> FoundInterpreter:
    answer = find_interpreter(process, process.maps())
    assert isinstance(answer, FoundInterpreter), answer
    return answer


def unsupported(process: TargetProcess) -> NotSupported:
    answer = find_interpreter(process, process.maps())
    assert isinstance(answer, NotSupported), answer
    return answer


@pytest.mark.parametrize("build", SUPPORTED)
def test_what_is_found_is_what_the_interpreter_says_of_itself(build: Build) -> None:
    with build.running(PROGRAM) as child:
        truth: dict[str, Any] = json.loads(child.first_line)  # type: ignore[attr-defined]
        process = TargetProcess.open(child.pid)
        answer = found(process)
        assert answer.version == build.version
        assert answer.runtime == truth["runtime"]
        assert answer.code_type == truth["code_type"]
        assert answer.evaluator is not None
        assert answer.evaluator[0] + answer.load_bias == truth["evaluator"]
        assert answer.text[0] < truth["evaluator"] < answer.text[1]
        assert answer.module_map.start <= truth["evaluator"] < answer.module_map.end
        assert process.read(answer.interp_head, 8) == truth["interp"].to_bytes(8, "little")
        assert answer.ready
        if build.trampoline:
            start, end = truth["trampoline"]
            assert answer.trampoline == process.read(start, end - start)
        else:
            assert answer.trampoline is None

        walk = walk_thread_states(process.read, answer.interp_head, answer.layout)
        assert walk.sound
        told = {(state, ident) for ident, _, state, _ in truth["threads"]}
        assert {(s.address, s.thread_id) for s in walk.states} == told

        assert answer.tss_slot_offset is not None
        for ident, pthread_self, state, keys in truth["threads"]:
            assert ident == pthread_self
            assert answer.autotss_key in keys
            slot = process.read(pthread_self + answer.tss_slot_offset, 8)
            assert slot == state.to_bytes(8, "little")

        assert find_interpreter(process, process.executable_maps()) == answer


@pytest.mark.parametrize("build", SUPPORTED)
def test_the_path_is_the_file_that_holds_the_evaluator(build: Build) -> None:
    with build.running(READY) as child:
        path = found(TargetProcess.open(child.pid)).path
    assert path == build.executable if build.static else "libpython" in path


@pytest.mark.parametrize("build", SUPPORTED)
def test_asked_again_no_file_is_read(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    with build.running(READY) as child, build.running(READY) as other:
        first = TargetProcess.open(child.pid)
        answer = found(first)
        monkeypatch.setattr(interpreter, "open_elf", None)
        assert found(first) == answer
        assert found(TargetProcess.open(other.pid)).version == answer.version


@pytest.mark.parametrize("build", SUPPORTED)
def test_a_forked_child_has_the_same_interpreter(build: Build) -> None:
    program = (
        "import os, sys, time\n"
        "pid = os.fork()\n"
        "if pid == 0: time.sleep(100)\n"
        "print(pid, flush=True)\n"
        "sys.stdin.read(); os.kill(pid, 9)"
    )
    with build.running(program) as child:
        forked = TargetProcess.open(int(child.first_line))  # type: ignore[attr-defined]
        try:
            answer = found(forked)
            parent = found(TargetProcess.open(child.pid))
        finally:
            os.kill(forked.pid, 9)
    assert answer.runtime == parent.runtime
    assert answer.tss_slot_offset == parent.tss_slot_offset is not None


@pytest.mark.parametrize("build", SUPPORTED)
def test_threads_that_come_and_go_do_not_confuse_it(build: Build) -> None:
    program = (
        "import threading\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    t = threading.Thread(target=int); t.start(); t.join()"
    )
    with build.running(program) as child:
        process = TargetProcess.open(child.pid)
        maps = process.maps()
        slots = {found(process).tss_slot_offset}
        for _ in range(200):
            answer = find_interpreter(process, maps)
            assert isinstance(answer, FoundInterpreter)
            slots.add(answer.tss_slot_offset)
    assert len(slots) == 1
    assert None not in slots


@pytest.mark.parametrize("build", SUPPORTED)
def test_from_its_first_moment_on_no_answer_is_wrong(build: Build) -> None:
    answers: list[FoundInterpreter | NotSupported] = []
    with subprocess.Popen(
        [build.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE
    ) as child:
        process = TargetProcess.open(child.pid)
        deadline = time.monotonic() + 10
        ready = 0
        while ready < 20:
            assert time.monotonic() < deadline
            answers.append(find_interpreter(process, process.executable_maps()))
            ready += isinstance(answers[-1], FoundInterpreter) and answers[-1].ready
        child.kill()
    assert isinstance(answers[-1], FoundInterpreter)
    for answer in answers:
        if isinstance(answer, NotSupported):
            assert not answer.final, answer
        else:
            assert answer.tss_slot_offset in (None, answers[-1].tss_slot_offset)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
@pytest.mark.parametrize("build", SUPPORTED)
def test_before_the_runtime_is_initialised_it_is_found_and_not_ready(
    build: Build, tmp_path: Path
) -> None:
    (tmp_path / "wait.c").write_text(
        "#include <unistd.h>\n"
        "__attribute__((constructor)) static void wait_here(void)\n"
        '{ char c; if (write(1, "early\\n", 6) && read(0, &c, 1)) {} }\n'
    )
    library = tmp_path / "wait.so"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", str(tmp_path / "wait.c"), "-o", str(library)], check=True
    )
    program = "import sys; print('ready', flush=True); sys.stdin.read()"
    with build.running(program, env={**os.environ, "LD_PRELOAD": str(library)}) as child:
        process = TargetProcess.open(child.pid)
        early = found(process)
        assert not early.ready
        assert early.tss_slot_offset is None
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "ready\n"
        late = found(process)
    assert late.ready
    assert late.tss_slot_offset is not None
    assert (late.runtime, late.version) == (early.runtime, early.version)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to open a deleted file")
@pytest.mark.parametrize("build", supported(lambda b: b.static))
def test_a_deleted_executable_is_still_read(build: Build, tmp_path: Path) -> None:
    moved = dataclasses.replace(build, executable=str(tmp_path / "app"))
    shutil.copy(build.executable, moved.executable)
    with moved.running(READY, env={**os.environ, "PYTHONHOME": "/usr"}) as child:
        Path(moved.executable).unlink()
        answer = found(TargetProcess.open(child.pid))
    assert answer.version == build.version
    assert answer.path == moved.executable


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
@pytest.mark.parametrize("build", supported(lambda b: b.minor == (3, 12)))
def test_a_cpython_inside_a_library_of_another_name(build: Build, tmp_path: Path) -> None:
    prefix = Path(build.executable).parent.parent
    library = next((prefix / "lib").glob(f"libpython{build.minor[0]}.{build.minor[1]}.so.*"), None)
    if library is None:
        pytest.skip("this build has no shared library")
    renamed = str(shutil.copy(library, tmp_path / "engine.so"))
    (tmp_path / "host.c").write_text(
        "#include <dlfcn.h>\n"
        "int main(int argc, char **argv) {\n"
        "    void *lib = dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL);\n"
        '    ((void (*)(int))dlsym(lib, "Py_InitializeEx"))(0);\n'
        '    return ((int (*)(const char *))dlsym(lib, "PyRun_SimpleString"))(argv[2]);\n'
        "}\n"
    )
    host = str(tmp_path / "host")
    subprocess.run(["gcc", str(tmp_path / "host.c"), "-o", host, "-ldl"], check=True)
    with subprocess.Popen(
        [host, renamed, READY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONHOME": str(prefix)},
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        answer = found(TargetProcess.open(child.pid))
        child.kill()
    assert answer.version == build.version
    assert answer.path == renamed
    assert answer.ready


# --- what is not supported ---------------------------------------------------------------------


@pytest.mark.parametrize("build", UNSUPPORTED)
def test_other_versions_are_named(build: Build) -> None:
    program = "import sys; sys.stdout.write('ready\\n'); sys.stdout.flush(); sys.stdin.read()"
    with build.running(program) as child:
        answer = unsupported(TargetProcess.open(child.pid))
    assert f"{build.minor[0]}.{build.minor[1]}" in answer.reason
    assert answer.final


def test_a_program_that_is_not_python_may_still_become_one() -> None:
    with subprocess.Popen(["/bin/sleep", "100"]) as child:
        process = TargetProcess.open(child.pid)
        exe = os.path.realpath("/bin/sleep")
        deadline = time.monotonic() + 10
        while not any(line.path == exe for line in process.maps()):
            assert time.monotonic() < deadline
        answer = unsupported(process)
        child.kill()
    assert answer == NotSupported("it runs no CPython", final=False)


@pytest.mark.parametrize(
    ("path", "expected", "final"),
    [
        ("/opt/pypy3.10/bin/libpypy3.10-c.so", "PyPy", True),
        ("/usr/bin/pypy3", "PyPy", True),
        ("/usr/bin/python2.7", "Python 2.7", True),
        ("/usr/lib/libpython2.7.so.1.0", "Python 2.7", True),
        ("/usr/lib/libpython3.6m.so.1.0", "CPython 3.6", True),
        ("/usr/bin/python3.6 (deleted)", "CPython 3.6", True),
        ("/usr/bin/python3.12", "no CPython", False),  # its library is still to be loaded
        ("/usr/lib/pypy_plugin.so", "no CPython", False),
        ("/usr/bin/pythonista", "no CPython", False),
        ("/usr/bin/python3-config", "no CPython", False),
        ("", "no CPython", False),
    ],
)
def test_a_file_that_cannot_be_read_is_known_by_its_name(
    path: str, expected: str, final: bool
) -> None:
    lines = [MapLine(0x1000, 0x2000, "r-xp", 0, 1, 1 if path else 0, path)]
    answer = find_interpreter(TargetProcess.open(os.getpid()), lines)
    assert isinstance(answer, NotSupported)
    assert expected in answer.reason
    assert answer.final is final


FAKE = """
unsigned long PyCode_Type = 1;
const unsigned long Py_Version = {version:#x};
struct {{ char cookie[8]; unsigned long words[40000]; }}
    _PyRuntime = {{ {{{cookie}}}, {{{words}}} }};
#include <unistd.h>
int main(void) {{ return pause(); }}
"""
COOKIE = ",".join(f"'{c}'" for c in "xdebugpy")


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
@pytest.mark.parametrize(
    ("version", "cookie", "words", "expected"),
    [
        pytest.param(0x030E00F0, "0", "0", "CPython 3.14", id="a later version"),
        pytest.param(0x030C00A1, "0", "0", "pre-release of CPython 3.12", id="an alpha"),
        pytest.param(0x030D00F0, "0", "0", "lacks the usual table", id="no debug offsets"),
        pytest.param(0x030D00F0, COOKIE, "0x030d00f0, 1", "free-threaded", id="free-threaded"),
        pytest.param(0x030D00F0, COOKIE, "0x030d00f0, 0", "differs", id="unknown build"),
        pytest.param(0, "0", "0", "does not state its version", id="no version"),
    ],
)
def test_a_file_with_a_runtime_that_is_not_a_supported_one(
    tmp_path: Path, version: int, cookie: str, words: str, expected: str
) -> None:
    (tmp_path / "app.c").write_text(FAKE.format(version=version, cookie=cookie, words=words))
    app = str(tmp_path / "app")
    subprocess.run(["gcc", "-rdynamic", str(tmp_path / "app.c"), "-o", app], check=True)
    with subprocess.Popen([app]) as child:
        process = TargetProcess.open(child.pid)
        deadline = time.monotonic() + 10
        while not any(line.path == app for line in process.maps()):
            assert time.monotonic() < deadline
        answer = unsupported(process)
        child.kill()
    assert expected in answer.reason
    assert answer.final


@pytest.mark.parametrize("field", ["interp_threads_head", "tstate_interp", "tstate_thread_id"])
@pytest.mark.parametrize("build", supported(lambda b: b.minor == (3, 11)))
def test_a_build_with_its_state_elsewhere_is_noticed(
    build: Build, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = COMPILED[3, 11]
    wrong: Any = {field: getattr(row, field) + 8}
    monkeypatch.setattr(interpreter, "COMPILED", {(3, 11): dataclasses.replace(row, **wrong)})
    with build.running(PROGRAM) as child:
        answer = unsupported(TargetProcess.open(child.pid))
    assert "elsewhere" in answer.reason
    assert not answer.final


@pytest.mark.parametrize("build", supported(lambda b: b.minor == (3, 12)))
def test_without_the_key_s_offset_the_slot_is_found_by_its_contents(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    with build.running(PROGRAM) as child:
        process = TargetProcess.open(child.pid)
        expected = found(process)
        for offset in (None, 2000):
            row = dataclasses.replace(COMPILED[3, 12], runtime_autotss_key=offset)
            monkeypatch.setattr(interpreter, "COMPILED", {(3, 12): row})
            assert found(process).tss_slot_offset == expected.tss_slot_offset
