"""Where CPython keeps its fields, by the interpreter's own headers and a C compiler.

This is the oracles' source of offsets: nothing of `mixstack.target` is asked.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ..interpreters import Build

Offsets = dict[str, int]

_SOURCE = """
#define Py_BUILD_CORE 1
#include <stddef.h>
#include <stdio.h>
#include <Python.h>
%s
int main(void)
{
%s
	return 0;
}
"""
_INTERNAL = ("runtime", "interp", "pystate", "frame", "code", "tstate")

_EVERY = {
    "runtime.interpreters": "offsetof(_PyRuntimeState, interpreters.head)",
    "interp.next": "offsetof(PyInterpreterState, next)",
    "tstate.next": "offsetof(PyThreadState, next)",
    "tstate.thread_id": "offsetof(PyThreadState, thread_id)",
    "code.name": "offsetof(PyCodeObject, co_name)",
    "code.filename": "offsetof(PyCodeObject, co_filename)",
    "str.data": "sizeof(PyASCIIObject)",
    "code.size": "sizeof(PyCodeObject)",
}
_FRAME_OBJECT = {
    "interp.threads": "offsetof(PyInterpreterState, tstate_head)",
    "tstate.frame": "offsetof(PyThreadState, frame)",
    "frame.previous": "offsetof(PyFrameObject, f_back)",
    "frame.code": "offsetof(PyFrameObject, f_code)",
    "frame.instr": "offsetof(PyFrameObject, f_lasti)",
    "frame.size": "sizeof(PyFrameObject)",
}
_FRAME_3_8 = {"frame.executing": "offsetof(PyFrameObject, f_executing)"}
_CFRAME = {
    "tstate.cframe": "offsetof(PyThreadState, cframe)",
    "tstate.root_cframe": "offsetof(PyThreadState, root_cframe)",
}
_FRAME_3_10 = {
    "cframe.previous": "offsetof(CFrame, previous)",
    "cframe.size": "sizeof(CFrame)",
}
_PY_CFRAME = {
    "cframe.frame": "offsetof(_PyCFrame, current_frame)",
    "cframe.previous": "offsetof(_PyCFrame, previous)",
    "cframe.size": "sizeof(_PyCFrame)",
}
_INTERPRETER_FRAME = {
    "interp.threads": "offsetof(PyInterpreterState, threads.head)",
    "frame.previous": "offsetof(_PyInterpreterFrame, previous)",
    "frame.owner": "offsetof(_PyInterpreterFrame, owner)",
    "frame.size": "sizeof(_PyInterpreterFrame)",
    "code.qualname": "offsetof(PyCodeObject, co_qualname)",
    "code.adaptive": "offsetof(PyCodeObject, co_code_adaptive)",
    "code.first_traceable": "offsetof(PyCodeObject, _co_firsttraceable)",
}
_CODE = {
    "frame.code": "offsetof(_PyInterpreterFrame, f_code)",
    "frame.instr": "offsetof(_PyInterpreterFrame, prev_instr)",
}
_EXECUTABLE = {
    "tstate.frame": "offsetof(PyThreadState, current_frame)",
    "frame.code": "offsetof(_PyInterpreterFrame, f_executable)",
    "frame.instr": "offsetof(_PyInterpreterFrame, instr_ptr)",
}
_IS_ENTRY = {"frame.is_entry": "offsetof(_PyInterpreterFrame, is_entry)"}
_BASE_FRAME = {"tstate.base_frame": "offsetof(PyThreadState, base_frame)"}

BY_VERSION = {
    (3, 8): _FRAME_OBJECT | _FRAME_3_8,
    (3, 9): _FRAME_OBJECT | _FRAME_3_8,
    (3, 10): _FRAME_OBJECT | _FRAME_3_10 | _CFRAME,
    (3, 11): _INTERPRETER_FRAME | _CFRAME | _PY_CFRAME | _CODE | _IS_ENTRY,
    (3, 12): _INTERPRETER_FRAME | _CFRAME | _PY_CFRAME | _CODE,
    (3, 13): _INTERPRETER_FRAME | _EXECUTABLE,
    (3, 14): _INTERPRETER_FRAME | _EXECUTABLE,
    (3, 15): _INTERPRETER_FRAME | _EXECUTABLE | _BASE_FRAME,
}


def offsets_of(build: Build, folder: Path) -> Offsets:
    """Bytes from the start of each structure to the field, and sizes; skips without headers."""
    internal = build.include / "internal"
    if shutil.which("gcc") is None or not internal.is_dir():
        pytest.skip(f"needs gcc and the internal headers of {build.id}")
    headers = (f"internal/pycore_{name}.h" for name in _INTERNAL)
    includes = [f"#include <{name}>" for name in headers if (build.include / name).exists()]
    if build.minor < (3, 11):
        includes.append("#include <frameobject.h>")
    fields = _EVERY | BY_VERSION[build.minor]
    prints = [f'\tprintf("{key} %zu\\n", (size_t)({what}));' for key, what in fields.items()]
    source = folder / f"offsets-{build.id}.c"
    source.write_text(_SOURCE % ("\n".join(includes), "\n".join(prints)), encoding="utf-8")
    program = source.with_suffix("")
    folders = [f"-I{build.include}", f"-I{internal}"]
    if build.tree is not None:  # a distribution divides the headers: the rest is by architecture
        folders += [f"-I{build.tree}/usr/include", f"-I{build.tree}/usr/include/x86_64-linux-gnu"]
    subprocess.run(["gcc", "-w", *folders, str(source), "-o", str(program)], check=True)
    said = subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout
    return {key: int(value) for key, value in map(str.split, said.splitlines())}
