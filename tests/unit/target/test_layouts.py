"""Every offset against the truth: each interpreter's own headers, compiled here.

The headers also say what a free-threaded build of the same version would be: they are compiled a
second time as one, the table of offsets that it would carry included.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mixstack.bpf import wire
from mixstack.elf import open_elf
from mixstack.target import layouts, objects
from mixstack.target.debug_offsets import (
    FIELDS,
    layout_from_debug_offsets,
    parse_debug_offsets,
)
from mixstack.target.layouts import COMPILED, NO_SHIMS, SUPPLEMENTS, SUPPORTED, Layout
from mixstack.target.python_file import PythonFile, read_python_file
from tests.interpreters import SUPPORTED as BUILDS
from tests.interpreters import Build, supported

OBJECT_MAX = 256  # of a structure, the probe reads no more at once (state.bpf.h)

# Field of Layout -> C expression; None: there is no such field. Later groups override.
EVERY_VERSION: dict[str, str | None] = {
    **{field.name: None for field in dataclasses.fields(Layout) if field.name != "chain_kind"},
    "tstate_next": "offsetof(PyThreadState, next)",
    "tstate_thread_id": "offsetof(PyThreadState, thread_id)",
    "tstate_interp": "offsetof(PyThreadState, interp)",
    "instr_scale": "0",
    "code_flags": "offsetof(PyCodeObject, co_flags)",
    "code_first_line": "offsetof(PyCodeObject, co_firstlineno)",
    "code_filename": "offsetof(PyCodeObject, co_filename)",
    "code_name": "offsetof(PyCodeObject, co_name)",
    "code_linetable": "offsetof(PyCodeObject, co_linetable)",
    "object_type": "offsetof(PyObject, ob_type)",
    "var_size": "offsetof(PyVarObject, ob_size)",
    "bytes_data": "offsetof(PyBytesObject, ob_sval)",
    "string_length": "offsetof(PyASCIIObject, length)",
    "string_state": "offsetof(PyASCIIObject, state)",
    "string_kind_shift": "FIRST_BIT(kind)",
    "string_ascii_data": "sizeof(PyASCIIObject)",
    "string_compact_data": "sizeof(PyCompactUnicodeObject)",
    "shim_owner": str(NO_SHIMS),
    "runtime_interpreters_head": "offsetof(_PyRuntimeState, interpreters.head)",
    "runtime_autotss_key": "offsetof(_PyRuntimeState, autoTSSkey._key)",
    "interp_next": "offsetof(PyInterpreterState, next)",
    "interp_threads_head": "offsetof(PyInterpreterState, threads.head)",
    "interp_modules": "offsetof(PyInterpreterState, imports.modules)",
}
MODULES = {"interp_modules": "offsetof(PyInterpreterState, modules)"}  # up to 3.11
FRAME_OBJECTS: dict[str, str | None] = {
    "tstate_frame": "offsetof(PyThreadState, frame)",
    "frame_size": "offsetof(PyFrameObject, f_blockstack)",
    "frame_code": "offsetof(PyFrameObject, f_code)",
    "frame_previous": "offsetof(PyFrameObject, f_back)",
    "frame_instr": "offsetof(PyFrameObject, f_lasti)",
    "frame_state": "offsetof(PyFrameObject, f_executing)",
    "frame_locals": "offsetof(PyFrameObject, f_localsplus)",
    "tstate_tracing": "offsetof(PyThreadState, tracing)",
    "instr_scale": "1",
    "code_size": "offsetof(PyCodeObject, co_lnotab) + sizeof(PyObject *)",
    "code_linetable": "offsetof(PyCodeObject, co_lnotab)",
    "runtime_autotss_key": "offsetof(_PyRuntimeState, gilstate.autoTSSkey._key)",
    "interp_threads_head": "offsetof(PyInterpreterState, tstate_head)",
    **MODULES,
}
INTERPRETER_FRAMES: dict[str, str | None] = {
    "frame_size": "offsetof(_PyInterpreterFrame, localsplus)",
    "frame_code": "offsetof(_PyInterpreterFrame, f_executable)",
    "frame_previous": "offsetof(_PyInterpreterFrame, previous)",
    "frame_instr": "offsetof(_PyInterpreterFrame, instr_ptr)",
    "frame_owner": "offsetof(_PyInterpreterFrame, owner)",
    "code_size": "offsetof(PyCodeObject, co_code_adaptive)",
    "code_qualname": "offsetof(PyCodeObject, co_qualname)",
    "code_first_traceable": "offsetof(PyCodeObject, _co_firsttraceable)",
    "code_version": "offsetof(PyCodeObject, co_version)",
    "code_adaptive": "offsetof(PyCodeObject, co_code_adaptive)",
    "tstate_frame": "offsetof(PyThreadState, current_frame)",
    "shim_owner": "FRAME_OWNED_BY_CSTACK",
}
CFRAMES: dict[str, str | None] = {
    "tstate_frame": "offsetof(PyThreadState, cframe)",
    "tstate_root_cframe": "offsetof(PyThreadState, root_cframe)",
    "cframe_current_frame": "offsetof(_PyCFrame, current_frame)",
    "cframe_previous": "offsetof(_PyCFrame, previous)",
    "frame_code": "offsetof(_PyInterpreterFrame, f_code)",
    "frame_instr": "offsetof(_PyInterpreterFrame, prev_instr)",
}
BY_VERSION: dict[tuple[int, int], dict[str, str | None]] = {
    (3, 8): FRAME_OBJECTS,
    (3, 9): FRAME_OBJECTS,
    (3, 10): FRAME_OBJECTS
    | {
        "tstate_cframe": "offsetof(PyThreadState, cframe)",
        "tstate_root_cframe": "offsetof(PyThreadState, root_cframe)",
        "cframe_previous": "offsetof(CFrame, previous)",
        "frame_state": "offsetof(PyFrameObject, f_state)",
        "frame_locals": None,
        "tstate_tracing": None,
        "instr_scale": "2",
        "code_size": "offsetof(PyCodeObject, co_linetable) + sizeof(PyObject *)",
        "code_linetable": "offsetof(PyCodeObject, co_linetable)",
    },
    (3, 11): INTERPRETER_FRAMES
    | CFRAMES
    | MODULES
    | {
        "frame_is_entry": "offsetof(_PyInterpreterFrame, is_entry)",
        "code_version": None,
        "runtime_autotss_key": "offsetof(_PyRuntimeState, gilstate.autoTSSkey._key)",
        "shim_owner": str(NO_SHIMS),
    },
    (3, 12): INTERPRETER_FRAMES | CFRAMES,
    (3, 13): INTERPRETER_FRAMES,
    (3, 14): INTERPRETER_FRAMES | {"shim_owner": "FRAME_OWNED_BY_INTERPRETER"},
    (3, 15): INTERPRETER_FRAMES
    | {
        "tstate_base_frame": "offsetof(PyThreadState, base_frame)",
        "runtime_autotss_key": None,
        "shim_owner": "FRAME_OWNED_BY_INTERPRETER",
    },
}
TLBC: dict[str, str | None] = {  # free-threaded builds from 3.14 on
    "frame_tlbc_index": "offsetof(_PyInterpreterFrame, tlbc_index)",
    "code_tlbc": "offsetof(PyCodeObject, co_tlbc)",
}
PROGRAM = """
#define Py_BUILD_CORE 1
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <Python.h>
#include <frameobject.h>
#if PY_VERSION_HEX >= 0x03090000
#include <internal/pycore_runtime.h>
#include <internal/pycore_interp.h>
#endif
#include <internal/pycore_pystate.h>
#include <internal/pycore_code.h>
#if PY_VERSION_HEX >= 0x030b0000
#include <internal/pycore_frame.h>
#endif
#define FIRST_BIT(field) ({ \\
    PyASCIIObject string; unsigned word; \\
    memset(&string, 0, sizeof string); \\
    string.state.field = -1; \\
    memcpy(&word, &string.state, 4); \\
    __builtin_ctz(word); })
%s
"""

with_table = supported(lambda b: b.minor >= (3, 13))


def build_program(build: Build, folder: Path, body: str, free_threaded: bool = False) -> Path:
    """A program compiled with the build's headers; nothing of the interpreter is linked."""
    internal = build.include / "internal" / "pycore_pystate.h"
    if not internal.exists() or shutil.which("gcc") is None:
        pytest.skip(f"needs gcc and the internal headers of {build.id}")
    source, program = folder / "offsets.c", folder / "offsets"
    source.write_text(PROGRAM % body)
    options = [
        *(["-DPy_GIL_DISABLED=1"] if free_threaded else []),
        *(f"-I{folder}" for folder in (build.include, build.include / "internal")),
        f"-idirafter{build.host('/usr/include')}",  # Debian's pyconfig.h includes another one there
    ]
    command = ["gcc", "-w", "-O1", "-rdynamic", *options, str(source), "-o", str(program)]
    subprocess.run(command, check=True)
    return program


def run(build: Build, folder: Path, body: str, free_threaded: bool = False) -> bytes:
    """What such a program prints."""
    program = build_program(build, folder, body, free_threaded)
    return subprocess.run([str(program)], capture_output=True, check=True).stdout


def compiled(build: Build, folder: Path, free_threaded: bool = False) -> dict[str, Any]:
    """The fields of Layout as the compiler has them."""
    expressions = EVERY_VERSION | BY_VERSION[build.minor]
    if free_threaded and build.minor >= (3, 14):
        expressions |= TLBC
    lines = [
        f'printf("{name} %zu\\n", (size_t)({expression}));'
        for name, expression in expressions.items()
        if expression is not None
    ]
    # The probe derives these two from the first.
    lines.append('printf("%d %d", FIRST_BIT(compact), FIRST_BIT(ascii));')
    body = "int main(void) {\n" + "\n".join(lines) + "\nreturn 0;\n}"
    *printed, bits = run(build, folder, body, free_threaded).decode().splitlines()
    truth: dict[str, Any] = dict.fromkeys(expressions)
    truth.update({name: int(value) for name, value in map(str.split, printed)})
    shift = truth["string_kind_shift"]
    assert bits == f"{shift + 3} {shift + 4}"
    return truth


def table_in_c(build: Build) -> str:
    """The initializer of `_Py_DebugOffsets` in these headers."""
    header = build.include / "internal" / "pycore_runtime_init.h"
    inline = re.search(r"\.debug_offsets = (\{.*?\n {8}\}),", header.read_text(), re.DOTALL)
    if inline:  # 3.13
        return re.sub(r"\\\n", "\n", inline[1]).replace("debug_cookie", '"xdebugpy"')
    return '_Py_DebugOffsets_INIT("xdebugpy")'


@pytest.mark.parametrize("build", BUILDS)
def test_every_offset_is_what_the_compiler_says(build: Build, tmp_path: Path) -> None:
    ours = dataclasses.asdict(layout_of(build))
    del ours["chain_kind"]
    assert ours == compiled(build, tmp_path)


@pytest.mark.parametrize("build", BUILDS)
def test_where_objects_have_what_names_are_read_from(build: Build, tmp_path: Path) -> None:
    expressions = {
        "offsetof(PyObject, ob_type)": objects.HEAD,
        "offsetof(PyDictObject, ma_keys)": objects.DICT_KEYS,
        "offsetof(PyDictObject, ma_values)": objects.DICT_VALUES,
        "offsetof(PyTypeObject, tp_basicsize)": objects.TYPE_BASICSIZE,
        "offsetof(PyTypeObject, tp_flags)": objects.TYPE_FLAGS,
        "offsetof(PyTypeObject, tp_dictoffset)": objects.TYPE_DICTOFFSET,
        "offsetof(PyHeapTypeObject, ht_cached_keys)": objects.OBJECTS[build.minor].cached_keys,
    }
    lines = [f'printf("%zu ", (size_t)({expression}));' for expression in expressions]
    body = "int main(void) {\n" + "\n".join(lines) + "\nreturn 0;\n}"
    assert [int(word) for word in run(build, tmp_path, body).split()] == [*expressions.values()]


@pytest.mark.parametrize("build", with_table)
def test_every_offset_of_a_free_threaded_build(build: Build, tmp_path: Path) -> None:
    body = (
        f"static const _Py_DebugOffsets table = {table_in_c(build)};\n"
        "int main(void) { fwrite(&table, sizeof table, 1, stdout); return 0; }"
    )
    table = parse_debug_offsets(run(build, tmp_path, body, free_threaded=True))
    assert table is not None
    assert table.free_threaded
    layout = layout_from_debug_offsets(table, SUPPLEMENTS[build.minor, True])
    assert layout is not None
    ours = dataclasses.asdict(layout)
    assert ours.pop("chain_kind") is wire.ChainKind.SHIM
    assert ours == compiled(build, tmp_path, free_threaded=True)
    assert max(layout.code_size, layout.frame_size) < OBJECT_MAX


@pytest.mark.parametrize("build", with_table)
def test_the_table_s_fields_are_those_of_the_header(build: Build, tmp_path: Path) -> None:
    names = FIELDS[build.minor]
    body = (
        "int main(void) {\n"
        + "\n".join(f'printf("%zu ", offsetof(_Py_DebugOffsets, {name}) / 8);' for name in names)
        + '\nprintf("%zu", sizeof(_Py_DebugOffsets) / 8);\nreturn 0;\n}'
    )
    printed = [int(word) for word in run(build, tmp_path, body).split()]
    assert printed == list(range(3, 3 + len(names) + 1))


@pytest.mark.parametrize("build", BUILDS)
def test_the_kind_of_chain(build: Build) -> None:
    expected = {
        (3, 8): wire.ChainKind.FRAME,
        (3, 9): wire.ChainKind.FRAME,
        (3, 10): wire.ChainKind.FRAME_CFRAME,
        (3, 11): wire.ChainKind.CFRAME,
        (3, 12): wire.ChainKind.CFRAME_SHIM,
    }
    assert layout_of(build).chain_kind is expected.get(build.minor, wire.ChainKind.SHIM)


def test_every_field_of_the_wire_is_a_field_of_the_layout() -> None:
    ours = [field.name for field in dataclasses.fields(Layout)]
    wired = [name for name, *_ in wire.Layout._fields_ if not name.startswith("reserved")]
    assert wired == ours[: len(wired)]


def test_a_version_has_one_row() -> None:
    with_tables = {row for row, _ in SUPPLEMENTS}
    assert not set(COMPILED) & with_tables
    assert set(SUPPORTED) == set(COMPILED) | with_tables
    assert list(layouts.SUPPORTED) == sorted(layouts.SUPPORTED)
    assert set(SUPPLEMENTS) == set(itertools.product(FIELDS, (False, True)))


def layout_of(build: Build) -> Layout:
    if build.minor in COMPILED:
        return COMPILED[build.minor]
    offsets = python_file(build).debug_offsets
    assert offsets is not None
    layout = layout_from_debug_offsets(offsets, SUPPLEMENTS[build.minor, False])
    assert layout is not None
    return layout


def python_file(build: Build) -> PythonFile:
    path = build.host_executable
    if not build.static:
        folder = Path(build.executable).parent.parent / "lib"
        path = str(next(folder.glob(f"libpython{build.minor[0]}.{build.minor[1]}.so.*")))
    with open_elf(path) as elf:
        found = read_python_file(elf)
    assert found is not None
    return found
