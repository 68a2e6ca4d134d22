"""`_Py_DebugOffsets`: the table of its own offsets with which `_PyRuntime` begins (3.13 and later).

Shape: the cookie "xdebugpy", then u64: PY_VERSION_HEX, whether the build is free-threaded, and one
per field. Each minor version inserts fields in the middle, so the list goes by version.
Source: Include/internal/pycore_runtime.h (3.13), pycore_debug_offsets.h (3.14 and later).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from mixstack.bpf.wire import ChainKind
from mixstack.target.layouts import Between, Layout, Minor, Supplement

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
_FIELDS_3_14: Final = {
    "runtime_state": "size finalizing interpreters_head",
    "interpreter_state": (
        "size id next threads_head threads_main gc imports_modules sysdict builtins ceval_gil"
        " gil_runtime_state gil_runtime_state_enabled gil_runtime_state_locked"
        " gil_runtime_state_holder code_object_generation tlbc_generation"
    ),
    "thread_state": (
        "size prev next interp current_frame thread_id native_thread_id datastack_chunk status"
    ),
    "interpreter_frame": (
        "size previous executable instr_ptr localsplus owner stackpointer tlbc_index"
    ),
    "code_object": (
        "size filename name qualname linetable firstlineno argcount localsplusnames"
        " localspluskinds co_code_adaptive co_tlbc"
    ),
    "pyobject": "size ob_type",
    "type_object": "size tp_name tp_repr tp_flags",
    "tuple_object": "size ob_item ob_size",
    "list_object": "size ob_item ob_size",
    "set_object": "size used table mask",
    "dict_object": "size ma_keys ma_values",
    "float_object": "size ob_fval",
    "long_object": "size lv_tag ob_digit",
    "bytes_object": "size ob_size ob_sval",
    "unicode_object": "size state length asciiobject_size",
    "gc": "size collecting",
    "gen_object": "size gi_name gi_iframe gi_frame_state",
    "llist_node": "next prev",
    "debugger_support": (
        "eval_breaker remote_debugger_support remote_debugging_enabled debugger_pending_call"
        " debugger_script_path debugger_script_path_size"
    ),
}
_FIELDS_3_15: Final = {
    "runtime_state": "size finalizing interpreters_head",
    "interpreter_state": _FIELDS_3_14["interpreter_state"],
    "thread_state": (
        "size prev next interp current_frame base_frame last_profiled_frame"
        " last_profiled_frame_seq thread_id native_thread_id datastack_chunk status holds_gil"
        " gil_requested current_exception exc_state"
    ),
    "err_stackitem": "exc_value",
    "interpreter_frame": _FIELDS_3_14["interpreter_frame"],
    "code_object": _FIELDS_3_14["code_object"],
    "pyobject": "size ob_type",
    "type_object": "size tp_name tp_repr tp_flags tp_basicsize tp_dictoffset",
    "heap_type_object": "size ht_cached_keys",
    "tuple_object": "size ob_item ob_size",
    "list_object": "size ob_item ob_size",
    "set_object": "size used table mask",
    "dict_object": "size ma_keys ma_values",
    "float_object": "size ob_fval",
    "long_object": "size lv_tag ob_digit",
    "bytes_object": "size ob_size ob_sval",
    "unicode_object": "size state length asciiobject_size compactunicodeobject_size",
    "gc": "size collecting frame generation_stats_size generation_stats",
    "gen_object": "size gi_name gi_iframe gi_frame_state",
    "llist_node": "next prev",
    "debugger_support": _FIELDS_3_14["debugger_support"],
}


def _names(fields: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"{group}.{name}" for group, names in fields.items() for name in names.split())


FIELDS: Final[Mapping[Minor, tuple[str, ...]]] = MappingProxyType(
    {
        (3, 13): _names(_FIELDS_3_13),
        (3, 14): _names(_FIELDS_3_14),
        (3, 15): _names(_FIELDS_3_15),
    }
)
OLDEST_TABLE: Final = min(FIELDS)
NEWEST_TABLE: Final = max(FIELDS)

MAX_SIZE: Final = _HEAD.size + 8 * max(len(names) for names in FIELDS.values())

# Between the same neighbours since 3.13, in every build.
_CODE_FLAGS: Final = Between("pyobject.size", "code_object.argcount", 36, 4)
_CODE_VERSION: Final = Between("code_object.firstlineno", "code_object.localsplusnames", 28, 4)
_COMPACT_DATA: Final = Between("unicode_object.asciiobject_size", "unicode_object.size", 24, 8)
_SHIM_OWNER: Final = 3  # FRAME_OWNED_BY_CSTACK (3.13), FRAME_OWNED_BY_INTERPRETER (3.14 and later)

_CHECKED: Final = (  # the groups that a layout is made of
    "runtime_state",
    "interpreter_state",
    "thread_state",
    "interpreter_frame",
    "code_object",
    "pyobject",
    "bytes_object",
    "unicode_object",
)


@dataclass(frozen=True, slots=True)
class DebugOffsets:
    """A parsed table. `version_hex`: PY_VERSION_HEX; `offsets`: bytes by "group.field".

    row: the version whose list of fields it was read with. That is its own, or the newest list
    if it is newer still; then the numbers mean what they say only if they are plausible.
    """

    version_hex: int
    row: Minor
    free_threaded: bool
    offsets: Mapping[str, int]


def parse_debug_offsets(data: bytes) -> DebugOffsets | None:
    """The table at the start of `data` (MAX_SIZE bytes suffice).

    None where there is none, it is cut off, of another major version, or has a number that cannot
    be an offset.
    """
    if len(data) < _HEAD.size:
        return None
    cookie, version_hex, free_threaded = _HEAD.unpack_from(data)
    row = min((version_hex >> 24, version_hex >> 16 & 0xFF), NEWEST_TABLE)
    names = FIELDS.get(row)
    if cookie != _COOKIE or version_hex >> 24 != 3 or names is None or free_threaded > 1:
        return None
    if len(data) < _HEAD.size + 8 * len(names):
        return None
    values = struct.unpack_from(f"<{len(names)}Q", data, _HEAD.size)
    if max(values) >= _LARGEST:
        return None
    return DebugOffsets(
        version_hex,
        row,
        bool(free_threaded),
        MappingProxyType(dict(zip(names, values, strict=True))),
    )


def layout_from_debug_offsets(table: DebugOffsets, supplement: Supplement) -> Layout | None:
    """The layout that a binary states of itself.

    None if the numbers cannot be offsets of these fields, or where the table leaves a field out
    and its neighbours are not where the supplement's build has them.
    """
    at = table.offsets
    if not _plausible(at):
        return None
    flags = _between(at, _CODE_FLAGS)
    first_traceable = _between(at, supplement.first_traceable)
    version = _between(at, _CODE_VERSION)
    compact_data = _between(at, _COMPACT_DATA)
    if flags is None or first_traceable is None or version is None or compact_data is None:
        return None
    return Layout(
        chain_kind=ChainKind.SHIM,
        tstate_next=at["thread_state.next"],
        tstate_thread_id=at["thread_state.thread_id"],
        tstate_frame=at["thread_state.current_frame"],
        tstate_base_frame=at.get("thread_state.base_frame"),
        frame_size=at["interpreter_frame.localsplus"],
        frame_code=at["interpreter_frame.executable"],
        frame_previous=at["interpreter_frame.previous"],
        frame_instr=at["interpreter_frame.instr_ptr"],
        frame_owner=at["interpreter_frame.owner"],
        frame_tlbc_index=at.get("interpreter_frame.tlbc_index") or None,  # 0: default builds
        code_size=at["code_object.co_code_adaptive"],
        code_flags=flags,
        code_first_line=at["code_object.firstlineno"],
        code_filename=at["code_object.filename"],
        code_name=at["code_object.name"],
        code_qualname=at["code_object.qualname"],
        code_linetable=at["code_object.linetable"],
        code_first_traceable=first_traceable,
        code_adaptive=at["code_object.co_code_adaptive"],
        code_tlbc=at.get("code_object.co_tlbc") or None,
        code_version=version,
        object_type=at["pyobject.ob_type"],
        var_size=at["bytes_object.ob_size"],
        bytes_data=at["bytes_object.ob_sval"],
        string_length=at["unicode_object.length"],
        string_state=at["unicode_object.state"],
        string_kind_shift=supplement.string_kind_shift,
        string_ascii_data=at["unicode_object.asciiobject_size"],
        string_compact_data=compact_data,
        shim_owner=_SHIM_OWNER,
        runtime_interpreters_head=at["runtime_state.interpreters_head"],
        runtime_autotss_key=supplement.runtime_autotss_key,
        interp_next=at["interpreter_state.next"],
        interp_threads_head=at["interpreter_state.threads_head"],
        interp_modules=at["interpreter_state.imports_modules"],
        tstate_interp=at["thread_state.interp"],
    )


def _plausible(at: Mapping[str, int]) -> bool:
    """Every field lies inside its structure."""
    return all(
        offset < at[f"{group}.size"]
        for name, offset in at.items()
        for group, _, field in [name.partition(".")]
        if group in _CHECKED and field != "size"
    )


def _between(at: Mapping[str, int], field: Between) -> int | None:
    above = at[field.above]
    return above - field.distance if above - at[field.below] == field.span else None
