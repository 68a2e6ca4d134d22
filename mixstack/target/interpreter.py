"""Which CPython runs in a process: its file, version, layout, and where its state lies."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from mixstack.elf import BadElf, open_elf
from mixstack.target.debug_offsets import OLDEST_TABLE, layout_from_debug_offsets
from mixstack.target.layouts import COMPILED, SUPPLEMENTS, SUPPORTED, Layout, Minor
from mixstack.target.maps import MapLine
from mixstack.target.process import TargetProcess
from mixstack.target.python_file import RUNTIME_SYMBOL, PythonFile, read_python_file
from mixstack.target.thread_states import (
    ThreadState,
    find_tss_slot,
    is_own_state,
    walk_thread_states,
)
from mixstack.target.tls_variable import offset_from_thread_pointer
from mixstack.target.version import Version

_CACHE_LIMIT: Final = 4096
_FIRST_RUNTIME: Final = (3, 7)  # the first version that has a `_PyRuntime`
_SEARCH_LIMIT: Final = 64 << 20  # bytes at the start of a file; its dynamic names lie there
_WALK_LIMIT: Final = 16  # thread states looked at
_ATTEMPTS: Final = 32  # at a list that may change while it is read
_LIBPYTHON: Final = re.compile(r"libpython\d[^/]*\.so[^/]*\Z")
_PYTHON_NAME: Final = re.compile(r"(?:lib)?python(\d)(?:\.?(\d+))?(?!\d)[^/]*\Z")
_LIBRARY_FOLDER: Final = re.compile(r"/python(\d)\.(\d+)/")
_PYPY_NAME: Final = re.compile(r"(?:lib)?pypy[\d.]*(?:-c\.so[^/]*)?\Z")


@dataclass(frozen=True, slots=True)
class FoundInterpreter:
    """A supported CPython in a process.

    module_map: the mapping of its file that runs. An address in the process is the file's own
    plus load_bias. runtime, code_type: `_PyRuntime`, `PyCode_Type`; interp_head: the pointer to
    the newest interpreter state; text: `[start, end)`; all four in the process. evaluator:
    `[start, end)` in the file's own addresses, as far as its symbol covers it.
    autotss_key: the pthread key of the thread state. tss_slot_offset: from the FS base to its
    slot, perhaps negative, verified in live threads; None: walk the list of threads instead.
    trampoline: the code of which perf trampolines are copies, if this version has them.
    ready: there is a thread state; until then ask again. note: why its frames might be wrong
    nevertheless, as a clause without a full stop.
    """

    version: tuple[int, int, int]
    module_map: MapLine
    load_bias: int
    layout: Layout
    runtime: int
    code_type: int
    interp_head: int
    autotss_key: int | None
    tss_slot_offset: int | None
    evaluator: tuple[int, int] | None
    text: tuple[int, int]
    trampoline: bytes | None
    ready: bool
    note: str | None = None

    @property
    def path(self) -> str:
        """The file that holds the evaluator, as the target sees it."""
        return self.module_map.file_path or self.module_map.path


@dataclass(frozen=True, slots=True)
class NotSupported:
    """Why a process has no interpreter whose frames can be read, as a clause without a full stop.

    final: nothing that the process may still map would change it.
    """

    reason: str
    final: bool


class _FileIdentity(NamedTuple):
    device: int
    inode: int
    modified_ns: int
    size: int


_files: dict[_FileIdentity, PythonFile | None] = {}


def find_interpreter(
    process: TargetProcess, maps: Iterable[MapLine], search: bool = True
) -> FoundInterpreter | NotSupported:
    """The CPython of a process, from its maps (all, or the executable ones).

    search: in any file if it is not in a likely one. Reads the ELF files once per file; asked
    again, it only reads the process' memory.
    """
    lines = _one_line_per_file(maps)
    for line in lines:
        if _PYPY_NAME.match(_name(line)):
            return NotSupported("it runs PyPy, which is not supported", final=True)
    found: list[FoundInterpreter | NotSupported] = []
    for line, file in _python_files(process, lines, search):
        answer = _inspect(process, line, file, lines)
        if isinstance(answer, FoundInterpreter) and answer.ready:
            return answer
        found.append(answer)
    if found:
        return found[0]
    return _unrecognised(lines)


def read_ahead(path: str, search: bool = False) -> Layout | None:
    """Read a file that a process runs or will run, so that `find_interpreter` answers at once.

    search: it may be any file, not just one that is likely to hold an interpreter. Gives the layout
    of a supported CPython in it.
    """
    file = _python_file(path, search)
    if file is None or file.version is None:
        return None
    layout = _layout(file, file.version)
    return layout if isinstance(layout, Layout) else None


def _one_line_per_file(maps: Iterable[MapLine]) -> list[MapLine]:
    """One mapping of each mapped file, the first executable one if there is any."""
    chosen: dict[tuple[int, int], MapLine] = {}
    for line in maps:
        if line.file_path is not None:
            key = (line.device, line.inode)
            if key not in chosen or (line.executable and not chosen[key].executable):
                chosen[key] = line
    return list(chosen.values())


def likely_interpreters(process: TargetProcess, lines: Iterable[MapLine]) -> list[MapLine]:
    """Of these mappings those in whose file a CPython is looked for first: program, libpython*."""
    exe = process.exe_identity()
    return [
        line
        for line in lines
        if (exe is not None and line.inode == exe[1] and line.path == exe[2])
        or _LIBPYTHON.match(_name(line))
    ]


def _python_files(
    process: TargetProcess, lines: list[MapLine], search: bool
) -> Iterator[tuple[MapLine, PythonFile]]:
    """The files with a CPython in them: the likely ones, and only without these, any."""
    likely = likely_interpreters(process, lines)
    any_found = False
    for line in likely:
        file = _python_file(process.open_path(line), search=False)
        if file is not None:
            any_found = True
            yield line, file
    if any_found or not search:
        return
    for line in lines:
        if line.executable and line not in likely:
            file = _python_file(process.open_path(line), search=True)
            if file is not None:
                yield line, file


def _python_file(path: str, search: bool) -> PythonFile | None:
    """What the file says, remembered by its identity.

    search: look for the runtime's name in the bytes first, which takes a fraction of reading the
    ELF structure.
    """
    try:
        info = os.stat(path)
    except OSError:
        return None
    if not stat.S_ISREG(info.st_mode):
        return None
    identity = _FileIdentity(info.st_dev, info.st_ino, info.st_mtime_ns, info.st_size)
    if identity not in _files:
        if len(_files) >= _CACHE_LIMIT:
            _files.clear()
        _files[identity] = None
        with contextlib.suppress(OSError, BadElf):
            if not search or _mentions_runtime(path):
                with open_elf(path) as elf:
                    _files[identity] = read_python_file(elf)
    return _files[identity]


def _mentions_runtime(path: str) -> bool:
    with open(path, "rb") as file:
        return RUNTIME_SYMBOL + b"\0" in file.read(_SEARCH_LIMIT)


def _inspect(
    process: TargetProcess, line: MapLine, file: PythonFile, lines: list[MapLine]
) -> FoundInterpreter | NotSupported:
    if file.version is None:
        return _unsupported_version(_named_version([line, *lines]))
    layout = _layout(file, file.version)
    if isinstance(layout, NotSupported):
        return layout
    name = _named(file.version)
    bias = file.bias(line)
    if bias is None:
        return NotSupported(f"the file of its {name} is not mapped as it states", final=False)
    if file.code_type is None:
        return NotSupported(f"its {name} was stripped of the symbol PyCode_Type", final=True)
    runtime = bias + file.runtime
    interp_head = runtime + layout.runtime_interpreters_head
    key = _autotss_key(process, runtime, layout)
    ready = fits = False
    for _ in range(_ATTEMPTS):
        walk = walk_thread_states(process.read, interp_head, layout, _WALK_LIMIT)
        slot = _own_state(process, file, bias, layout, walk.states)
        if slot is None:
            slot = find_tss_slot(process.read, walk.states, key)
        ready |= bool(walk.states)
        fits |= bool(walk.states) or walk.sound
        if slot is not None or (walk.sound and not walk.states):
            break
    if not fits:
        return NotSupported(
            f"its {name} keeps its state elsewhere than the usual builds do"
            " (a debug or a patched build?)",
            final=False,
        )
    return FoundInterpreter(
        version=(file.version.major, file.version.minor, file.version.micro),
        module_map=line,
        load_bias=bias,
        layout=layout,
        runtime=runtime,
        code_type=bias + file.code_type,
        interp_head=interp_head,
        autotss_key=key,
        tss_slot_offset=slot,
        evaluator=file.evaluator,
        text=(bias + file.text[0], bias + file.text[1]),
        trampoline=file.trampoline,
        ready=ready,
        note=_note(file.version),
    )


def _layout(file: PythonFile, version: Version) -> Layout | NotSupported:
    table = file.debug_offsets
    if version.row in COMPILED and version.settled:
        return COMPILED[version.row]
    if version.row < OLDEST_TABLE or table is None:
        if version.row not in SUPPORTED:
            return _unsupported_version(version.row)
        if not version.settled:
            return NotSupported(
                f"it runs a pre-release of {_named(version)}, which is not supported", True
            )
        return NotSupported(f"its {_named(version)} lacks the usual table of its own offsets", True)
    layout = layout_from_debug_offsets(table, SUPPLEMENTS[table.row, table.free_threaded])
    if layout is not None:
        return layout
    if version.row not in SUPPORTED:
        return _unsupported_version(version.row)
    return NotSupported(f"its {_named(version)} differs from the builds that are known", True)


def _note(version: Version) -> str | None:
    if version.row > SUPPORTED[-1]:
        newest = ".".join(map(str, SUPPORTED[-1]))
        return (
            f"it runs {_named(version)}, which is newer than this mixstack knows (up to {newest})"
        )
    if not version.settled:
        return f"it runs a pre-release of {_named(version)}"
    return None


def _named(version: Version) -> str:
    return f"CPython {version.major}.{version.minor}"


def _own_state(
    process: TargetProcess,
    file: PythonFile,
    bias: int,
    layout: Layout,
    states: tuple[ThreadState, ...],
) -> int | None:
    """The offset of the thread-local variable that holds a thread's state (3.15+), if proven."""
    if file.own_state is None or not states:
        return None
    offset = offset_from_thread_pointer(file.own_state, process.read, bias, states[0].thread_id)
    if offset is not None and is_own_state(process.read, states, layout, offset):
        return offset
    return None


def _autotss_key(process: TargetProcess, runtime: int, layout: Layout) -> int | None:
    if layout.runtime_autotss_key is None:
        return None
    data = process.read(runtime + layout.runtime_autotss_key, 4)
    return None if data is None else int.from_bytes(data, "little")


def _unrecognised(lines: list[MapLine]) -> NotSupported:
    """No file has a `_PyRuntime`: a Python before 3.7 by its name, or none, perhaps only so far."""
    named = _named_version([line for line in lines if _PYTHON_NAME.match(_name(line))])
    if named is not None and named < _FIRST_RUNTIME:
        return _unsupported_version(named)
    return NotSupported("it runs no CPython", final=False)


def _unsupported_version(version: Minor | None) -> NotSupported:
    supported = ", ".join(f"{major}.{minor}" for major, minor in SUPPORTED)
    if version is None:
        what = "a CPython that does not state its version"
    elif version[0] < 3:
        return NotSupported(
            f"it runs Python {version[0]}.{version[1]}, which is not supported", True
        )
    else:
        what = f"CPython {version[0]}.{version[1]}"
    return NotSupported(
        f"it runs {what}, which is not supported yet (supported: {supported})", final=True
    )


def _named_version(lines: list[MapLine]) -> Minor | None:
    """The version that file names tell: libpython3.9.so.1.0, python3.9, .../python3.9/..."""
    for line in lines:
        named = _PYTHON_NAME.match(_name(line))
        if named is not None and named[2] is not None:
            return int(named[1]), int(named[2])
    for line in lines:
        folder = _LIBRARY_FOLDER.search(line.file_path or "")
        if folder is not None:
            return int(folder[1]), int(folder[2])
    return None


def _name(line: MapLine) -> str:
    return os.path.basename(line.file_path or "")
