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

from mixstack.elf import Elf
from mixstack.target import interpreter
from mixstack.target.interpreter import FoundInterpreter, NotSupported, find_interpreter
from mixstack.target.layouts import COMPILED
from mixstack.target.maps import MapLine
from mixstack.target.process import TargetProcess
from mixstack.target.python_file import PythonFile, read_python_file
from mixstack.target.thread_states import has_several_interpreters, walk_thread_states
from mixstack.target.version import version_of_number
from tests.interpreters import SUPPORTED, UNSUPPORTED, Build, supported

from .memory import Memory

# Each thread tells its pthread_self(), thread state and the pthread keys that lead to it.
PROGRAM = """
import ctypes, json, sys, threading, types
api, libc = ctypes.pythonapi, ctypes.CDLL(None)
api.PyThreadState_Get.restype = ctypes.c_void_p
interpreter = getattr(api, "PyInterpreterState_Get", None) or api._PyInterpreterState_Get  # 3.8
interpreter.restype = ctypes.c_void_p
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
    "interp": interpreter(),
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
        assert answer.note is None
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
            assert answer.autotss_key in keys or build.minor >= (3, 15)
            slot = process.read(pthread_self + answer.tss_slot_offset, 8)
            assert slot == state.to_bytes(8, "little")

        assert find_interpreter(process, process.executable_maps()) == answer


# What another thread sees of a main thread that waits for good.
WAITS = """
import json, sys, threading, time
main = threading.get_ident()
lock = threading.Lock()
lock.acquire()
def w\u00e4it(): lock.acquire()
def say():
    last = None
    while True:  # until it has not moved for long
        frame = sys._current_frames()[main]
        if (id(frame), frame.f_lasti) == last and frame.f_code.co_name == "w\u00e4it": break
        last = id(frame), frame.f_lasti
        time.sleep(0.1)
    code = frame.f_code
    print(json.dumps({
        "thread_id": main, "last": frame.f_lasti, "flags": code.co_flags,
        "line": code.co_firstlineno, "code": id(code), "caller": id(frame.f_back.f_code),
        "table": list(getattr(code, "co_linetable", None) or code.co_lnotab),
    }), flush=True)
    time.sleep(100)
threading.Thread(target=say, daemon=True).start()
w\u00e4it()
"""


@pytest.mark.parametrize("build", SUPPORTED)
def test_the_layout_leads_to_the_frame_that_waits(build: Build) -> None:
    with build.running(WAITS) as child:
        truth: dict[str, Any] = json.loads(child.first_line)  # type: ignore[attr-defined]
        process = TargetProcess.open(child.pid)
        answer = found(process)
        at = answer.layout
        memory = Memory(process.read, at)
        walk = walk_thread_states(process.read, answer.interp_head, at)
        (tstate,) = (s.address for s in walk.states if s.thread_id == truth["thread_id"])
        frame = memory.word(tstate + at.tstate_frame)
        if at.cframe_current_frame is not None:
            frame = memory.word(frame + at.cframe_current_frame)

        code = memory.word(frame + at.frame_code) & ~7
        assert code == truth["code"]
        assert memory.word(code + at.object_type) == answer.code_type
        assert memory.text(memory.word(code + at.code_name)) == "w\u00e4it"
        assert memory.text(memory.word(code + at.code_filename)) == "<string>"
        assert memory.number(code + at.code_first_line) == truth["line"]
        assert memory.number(code + at.code_flags) == truth["flags"]
        table = memory.word(code + at.code_linetable)
        length = memory.word(table + at.var_size)
        assert list(memory.bytes(table + at.bytes_data, length)) == truth["table"]
        if at.instr_scale:
            assert memory.number(frame + at.frame_instr) * at.instr_scale == truth["last"]
        else:
            assert at.code_adaptive is not None
            first = code + at.code_adaptive
            assert memory.word(frame + at.frame_instr) - first == truth["last"]
        if at.code_qualname is not None:
            assert memory.text(memory.word(code + at.code_qualname)) == "w\u00e4it"
        if at.code_first_traceable is not None:
            assert memory.number(code + at.code_first_traceable) == 0
        if at.frame_owner is not None:
            assert memory.bytes(frame + at.frame_owner, 1) == b"\0"
        if at.frame_state is not None:  # f_executing, or FRAME_EXECUTING
            assert memory.bytes(frame + at.frame_state, 1) == bytes([build.minor < (3, 10)])
        previous = memory.word(frame + at.frame_previous)
        assert memory.word(previous + at.frame_code) & ~7 == truth["caller"]
        if at.tstate_cframe is not None:  # one for each of the two frames, and the thread state's
            assert at.cframe_previous is not None
            assert at.tstate_root_cframe is not None
            newest = memory.word(tstate + at.tstate_cframe)
            second = memory.word(newest + at.cframe_previous)
            assert memory.word(second + at.cframe_previous) == tstate + at.tstate_root_cframe
        if at.tstate_base_frame is not None:
            outermost = frame
            while memory.word(outermost + at.frame_previous):
                outermost = memory.word(outermost + at.frame_previous)
            assert outermost == memory.word(tstate + at.tstate_base_frame)


@pytest.mark.parametrize("build", SUPPORTED)
def test_several_interpreters_are_noticed(build: Build) -> None:
    program = """
import sys
try: import _interpreters as interpreters
except ImportError: import _xxsubinterpreters as interpreters
print("one", flush=True); sys.stdin.readline()
kept = interpreters.create()
print("two", flush=True); sys.stdin.read()
"""
    with build.running(program) as child:
        process = TargetProcess.open(child.pid)
        answer = found(process)
        assert not has_several_interpreters(process.read, answer.interp_head, answer.layout)
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "two\n"
        assert has_several_interpreters(process.read, answer.interp_head, answer.layout)
        again = found(process)
    assert again.ready
    assert again.tss_slot_offset == answer.tss_slot_offset


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
@pytest.mark.parametrize("build", supported(lambda b: b.minor >= (3, 15)))
@pytest.mark.parametrize(
    ("at_start", "program"),
    [
        pytest.param(True, PROGRAM, id="loaded with the program"),
        pytest.param(False, PROGRAM, id="loaded later"),
        pytest.param(False, READY, id="loaded later, one thread"),
    ],
)
def test_the_thread_state_in_a_library_s_thread_local_memory(
    build: Build, at_start: bool, program: str, tmp_path: Path
) -> None:
    name = f"libpython{build.minor[0]}.{build.minor[1]}.so.1.0"
    library = next(build.host("/usr/lib").glob(f"*/{name}"), None)
    if library is None:
        pytest.skip("this build has no shared library")
    (tmp_path / "host.c").write_text(
        "#include <dlfcn.h>\n"
        "int main(int argc, char **argv) {\n"
        f'    void *lib = dlopen("{name}", RTLD_NOW | RTLD_GLOBAL);\n'
        '    ((void (*)(int))dlsym(lib, "Py_InitializeEx"))(0);\n'
        '    return ((int (*)(const char *))dlsym(lib, "PyRun_SimpleString"))(argv[1]);\n'
        "}\n"
    )
    host = tmp_path / "host"
    linked = [str(library), "-Wl,--no-as-needed", "-Wl,--allow-shlib-undefined"]
    subprocess.run(
        ["gcc", "-Wl,--no-as-needed", str(tmp_path / "host.c"), "-o", str(host), "-ldl"]
        + (linked if at_start else []),
        check=True,
    )
    embedding = dataclasses.replace(build, executable=str(host))
    with subprocess.Popen(
        embedding.command(program), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        line = child.stdout.readline()
        process = TargetProcess.open(child.pid)
        answer = found(process)
        assert answer.ready
        assert answer.path.endswith(name)
        if at_start:
            assert answer.tss_slot_offset is not None
            for _, thread_id, state, _ in json.loads(line)["threads"]:
                slot = process.read(thread_id + answer.tss_slot_offset, 8)
                assert slot == state.to_bytes(8, "little")
        else:  # each thread's copy is allocated when it first asks for it
            assert answer.tss_slot_offset is None
        child.kill()


@pytest.mark.parametrize("build", supported(lambda b: b.minor >= (3, 15)))
def test_without_the_code_of_the_variable_the_list_is_walked(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(elf: Elf) -> PythonFile | None:
        file = read_python_file(elf)
        return file and dataclasses.replace(file, own_state=None)

    monkeypatch.setattr(interpreter, "read_python_file", without)
    monkeypatch.setattr(interpreter, "_files", {})
    with build.running(PROGRAM) as child:
        answer = found(TargetProcess.open(child.pid))
    assert answer.ready
    assert answer.tss_slot_offset is None


@pytest.mark.parametrize("build", supported(lambda b: b.minor >= (3, 13)))
@pytest.mark.parametrize(
    ("version", "note"),
    [
        pytest.param(0x031000F0, "newer than this mixstack knows", id="newer"),
        pytest.param(0x030F00B1, "a pre-release of CPython 3.15", id="a beta"),
    ],
)
def test_a_version_that_is_not_known_is_tried_by_its_own_table(
    build: Build, version: int, note: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def renumbered(elf: Elf) -> PythonFile | None:
        file = read_python_file(elf)
        return file and dataclasses.replace(file, version=version_of_number(version))

    monkeypatch.setattr(interpreter, "read_python_file", renumbered)
    monkeypatch.setattr(interpreter, "_files", {})
    with build.running(READY) as child:
        answer = found(TargetProcess.open(child.pid))
    assert answer.ready
    assert answer.note is not None
    assert note in answer.note


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
    with subprocess.Popen(build.command("-S", "-c", "input()"), stdin=subprocess.PIPE) as child:
        process = TargetProcess.open(child.pid)
        deadline = time.monotonic() + 10
        ready = 0
        while ready < 20:
            assert time.monotonic() < deadline
            answer = find_interpreter(process, process.executable_maps())
            if isinstance(answer, FoundInterpreter):
                if answer.version != build.version:  # what brings it into its tree is a Python too
                    continue
                ready += answer.ready
            answers.append(answer)
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
    with build.running(program, env={"LD_PRELOAD": str(library)}) as child:
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
    shutil.copy(build.host_executable, moved.executable)
    with moved.running(READY, env={"PYTHONHOME": "/usr"}) as child:
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
        pytest.param(0x030E00F0, "0", "0", "lacks the usual table", id="no table, 3.14"),
        pytest.param(0x031000F0, "0", "0", "CPython 3.16", id="a later version"),
        pytest.param(0x040000F0, COOKIE, "0x040000f0", "CPython 4.0", id="another major version"),
        pytest.param(0x030C00A1, "0", "0", "pre-release of CPython 3.12", id="an alpha"),
        pytest.param(0x030D00F0, "0", "0", "lacks the usual table", id="no debug offsets"),
        pytest.param(0x030D00F0, COOKIE, "0x030d00f0, 1", "differs", id="unknown, free-threaded"),
        pytest.param(0x031000F0, COOKIE, "0x031000f0, 0", "CPython 3.16", id="another table"),
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
