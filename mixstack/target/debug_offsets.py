"""`_Py_DebugOffsets`: the table of its own offsets with which `_PyRuntime` begins (3.13 and later).

Shape: the cookie "xdebugpy", then u64: PY_VERSION_HEX, whether the build is free-threaded, and one
per field. Each minor version inserts fields in the middle, so the list goes by version.
Source: Include/internal/pycore_runtime.h (3.13).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from mixstack.target.layouts import Layout, Minor, Supplement

_COOKIE: Final = b"xdebugpy"
_HEAD: Final = struct.Struct("<8sQQ")
_LARGEST: Final = 1 << 24  # bytes; the largest structure, the runtime, has 350 kB

_FIELDS_3_13: Final = {
    "runtime_state": "size finalizing interpreters_head",
    "interpreter_state": (
        "size id next threads_head gc imports_modules sysdict builtins ceval_gil"
        " gil_runtime_state gil_runtime_state_enabled gil_runtime_state_locked"
        " gil_runtime_state_holder"
    ),
    "thread_state": (
        "size prev next interp current_frame thread_id native_thread_id datastack_chunk status"
    ),
    "interpreter_frame": "size previous executable instr_ptr localsplus owner",
    "code_object": (
        "size filename name qualname linetable firstlineno argcount localsplusnames"
        " localspluskinds co_code_adaptive"
    ),
    "pyobject": "size ob_type",
    "type_object": "size tp_name tp_repr tp_flags",
    "tuple_object": "size ob_item ob_size",
    "list_object": "size ob_item ob_size",
    "dict_object": "size ma_keys ma_values",
    "float_object": "size ob_fval",
    "long_object": "size lv_tag ob_digit",
    "bytes_object": "size ob_size ob_sval",
    "unicode_object": "size state length asciiobject_size",
    "gc": "size collecting",
}


def _names(fields: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"{group}.{name}" for group, names in fields.items() for name in names.split())


_FIELDS: Final[Mapping[Minor, tuple[str, ...]]] = {(3, 13): _names(_FIELDS_3_13)}

MAX_SIZE: Final = _HEAD.size + 8 * max(len(names) for names in _FIELDS.values())


@dataclass(frozen=True, slots=True)
class DebugOffsets:
    """A parsed table. `version_hex`: PY_VERSION_HEX; `offsets`: bytes by "group.field"."""

    version_hex: int
    free_threaded: bool
    offsets: Mapping[str, int]


def parse_debug_offsets(data: bytes) -> DebugOffsets | None:
    """The table at the start of `data` (MAX_SIZE bytes suffice).

    None where there is none, it is cut off, of an unknown version, or has a number that cannot be
    an offset.
    """
    if len(data) < _HEAD.size:
        return None
    cookie, version_hex, free_threaded = _HEAD.unpack_from(data)
    names = _FIELDS.get((version_hex >> 24, version_hex >> 16 & 0xFF))
    if cookie != _COOKIE or names is None or free_threaded > 1:
        return None
    if len(data) < _HEAD.size + 8 * len(names):
        return None
    values = struct.unpack_from(f"<{len(names)}Q", data, _HEAD.size)
    if max(values) >= _LARGEST:
        return None
    return DebugOffsets(
        version_hex, bool(free_threaded), MappingProxyType(dict(zip(names, values, strict=True)))
    )


def layout_from_debug_offsets(table: DebugOffsets, supplement: Supplement) -> Layout | None:
    """The layout that a binary states of itself; None if the supplement is of another build."""
    at = table.offsets
    if at["code_object.co_code_adaptive"] != supplement.code_adaptive:
        return None
    return Layout(
        chain_kind=supplement.chain_kind,
        tstate_next=at["thread_state.next"],
        tstate_thread_id=at["thread_state.thread_id"],
        tstate_frame=at["thread_state.current_frame"],
        tstate_root_cframe=None,
        cframe_current_frame=None,
        cframe_previous=None,
        frame_size=at["interpreter_frame.localsplus"],
        frame_code=at["interpreter_frame.executable"],
        frame_previous=at["interpreter_frame.previous"],
        frame_instr=at["interpreter_frame.instr_ptr"],
        frame_owner=at["interpreter_frame.owner"],
        frame_is_entry=None,
        code_size=at["code_object.co_code_adaptive"],
        code_flags=supplement.code_flags,
        code_first_line=at["code_object.firstlineno"],
        code_filename=at["code_object.filename"],
        code_name=at["code_object.name"],
        code_qualname=at["code_object.qualname"],
        code_linetable=at["code_object.linetable"],
        code_first_traceable=supplement.code_first_traceable,
        code_version=supplement.code_version,
        code_adaptive=at["code_object.co_code_adaptive"],
        string_ascii_data=at["unicode_object.asciiobject_size"],
        string_compact_data=supplement.string_compact_data,
        shim_owner=supplement.shim_owner,
        runtime_interpreters_head=at["runtime_state.interpreters_head"],
        runtime_autotss_key=supplement.runtime_autotss_key,
        interp_next=at["interpreter_state.next"],
        interp_threads_head=at["interpreter_state.threads_head"],
        tstate_interp=at["thread_state.interp"],
        string_length=at["unicode_object.length"],
        string_state=at["unicode_object.state"],
    )
