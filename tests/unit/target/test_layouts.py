"""Every offset against the truth: each interpreter's own headers, compiled here."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from pathlib import Path

import pytest

from mixstack.bpf import wire
from mixstack.elf import open_elf
from mixstack.target import layouts
from mixstack.target.debug_offsets import layout_from_debug_offsets
from mixstack.target.layouts import COMPILED, NO_SHIMS, SUPPLEMENTS, SUPPORTED, Layout
from mixstack.target.python_file import PythonFile, read_python_file
from tests.interpreters import SUPPORTED as BUILDS
from tests.interpreters import Build

# Field of Layout -> C expression. A version's dictionary overrides; None: there is no such field.
COMMON = {
    "tstate_next": "offsetof(PyThreadState, next)",
    "tstate_thread_id": "offsetof(PyThreadState, thread_id)",
    "tstate_interp": "offsetof(PyThreadState, interp)",
    "tstate_frame": "offsetof(PyThreadState, cframe)",
    "tstate_root_cframe": "offsetof(PyThreadState, root_cframe)",
    "cframe_current_frame": "offsetof(_PyCFrame, current_frame)",
    "cframe_previous": "offsetof(_PyCFrame, previous)",
    "frame_size": "offsetof(_PyInterpreterFrame, localsplus)",
    "frame_code": "offsetof(_PyInterpreterFrame, f_code)",
    "frame_previous": "offsetof(_PyInterpreterFrame, previous)",
    "frame_instr": "offsetof(_PyInterpreterFrame, prev_instr)",
    "frame_owner": "offsetof(_PyInterpreterFrame, owner)",
    "frame_is_entry": None,
    "code_size": "offsetof(PyCodeObject, co_code_adaptive)",
    "code_flags": "offsetof(PyCodeObject, co_flags)",
    "code_first_line": "offsetof(PyCodeObject, co_firstlineno)",
    "code_filename": "offsetof(PyCodeObject, co_filename)",
    "code_name": "offsetof(PyCodeObject, co_name)",
    "code_qualname": "offsetof(PyCodeObject, co_qualname)",
    "code_linetable": "offsetof(PyCodeObject, co_linetable)",
    "code_first_traceable": "offsetof(PyCodeObject, _co_firsttraceable)",
    "code_version": "offsetof(PyCodeObject, co_version)",
    "code_adaptive": "offsetof(PyCodeObject, co_code_adaptive)",
    "string_ascii_data": "sizeof(PyASCIIObject)",
    "string_compact_data": "sizeof(PyCompactUnicodeObject)",
    "string_length": "offsetof(PyASCIIObject, length)",
    "string_state": "offsetof(PyASCIIObject, state)",
    "shim_owner": "FRAME_OWNED_BY_CSTACK",
    "runtime_interpreters_head": "offsetof(_PyRuntimeState, interpreters.head)",
    "runtime_autotss_key": "offsetof(_PyRuntimeState, autoTSSkey._key)",
    "interp_next": "offsetof(PyInterpreterState, next)",
    "interp_threads_head": "offsetof(PyInterpreterState, threads.head)",
}
BY_VERSION: dict[tuple[int, int], dict[str, str | None]] = {
    (3, 11): {
        "frame_is_entry": "offsetof(_PyInterpreterFrame, is_entry)",
        "code_version": None,
        "runtime_autotss_key": "offsetof(_PyRuntimeState, gilstate.autoTSSkey._key)",
        "shim_owner": str(NO_SHIMS),
    },
    (3, 12): {},
    (3, 13): {
        "tstate_frame": "offsetof(PyThreadState, current_frame)",
        "tstate_root_cframe": None,
        "cframe_current_frame": None,
        "cframe_previous": None,
        "frame_code": "offsetof(_PyInterpreterFrame, f_executable)",
        "frame_instr": "offsetof(_PyInterpreterFrame, instr_ptr)",
    },
}
PROGRAM = """
#define Py_BUILD_CORE 1
#include <stddef.h>
#include <stdio.h>
#include <Python.h>
#include <internal/pycore_runtime.h>
#include <internal/pycore_interp.h>
#include <internal/pycore_pystate.h>
#include <internal/pycore_frame.h>
#include <internal/pycore_code.h>
int main(void) {
%s
    return 0;
}
"""


@pytest.mark.parametrize("build", BUILDS)
def test_every_offset_is_what_the_compiler_says(build: Build, tmp_path: Path) -> None:
    if not build.internal_headers or shutil.which("gcc") is None:
        pytest.skip(f"needs gcc and the internal headers of {build.executable}")
    expressions: dict[str, str | None] = {**COMMON, **BY_VERSION[build.minor]}
    source = tmp_path / "offsets.c"
    source.write_text(
        PROGRAM
        % "\n".join(
            f'    printf("{name} %zu\\n", (size_t)({expression}));'
            for name, expression in expressions.items()
            if expression is not None
        )
    )
    program = tmp_path / "offsets"
    includes = [f"-I{build.include}", f"-I{build.include / 'internal'}"]
    # The sizes are compile-time constants: nothing of the library is linked.
    subprocess.run(["gcc", "-w", "-O1", *includes, str(source), "-o", str(program)], check=True)
    printed = subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout
    truth: dict[str, int | None] = dict.fromkeys(expressions)
    truth.update({name: int(value) for name, value in map(str.split, printed.splitlines())})

    ours = dataclasses.asdict(layout_of(build))
    del ours["chain_kind"]
    assert ours == truth


@pytest.mark.parametrize("build", BUILDS)
def test_the_kind_of_chain(build: Build) -> None:
    expected = {
        (3, 11): wire.ChainKind.CFRAME,
        (3, 12): wire.ChainKind.CFRAME_SHIM,
        (3, 13): wire.ChainKind.SHIM,
    }
    assert layout_of(build).chain_kind is expected[build.minor]


def test_every_field_of_the_wire_is_a_field_of_the_layout() -> None:
    ours = [field.name for field in dataclasses.fields(Layout)]
    wired = [name for name, *_ in wire.Layout._fields_ if name != "reserved"]
    assert wired == ours[: len(wired)]


def test_a_version_has_one_row() -> None:
    assert not set(COMPILED) & set(SUPPLEMENTS)
    assert set(SUPPORTED) == set(COMPILED) | set(SUPPLEMENTS)
    assert list(layouts.SUPPORTED) == sorted(layouts.SUPPORTED)


def layout_of(build: Build) -> Layout:
    if build.minor in COMPILED:
        return COMPILED[build.minor]
    offsets = python_file(build).debug_offsets
    assert offsets is not None
    layout = layout_from_debug_offsets(offsets, SUPPLEMENTS[build.minor])
    assert layout is not None
    return layout


def python_file(build: Build) -> PythonFile:
    path = build.executable
    if not build.static:
        folder = Path(build.executable).parent.parent / "lib"
        path = str(next(folder.glob(f"libpython{build.minor[0]}.{build.minor[1]}.so.*")))
    with open_elf(path) as elf:
        found = read_python_file(elf)
    assert found is not None
    return found
