"""Offsets as data: where the fields of each CPython's structures lie (x86-64).

A minor version is one row: `COMPILED` where only its headers tell, `SUPPLEMENTS` where the
binary carries its own table of offsets (3.13 and later) and some things are not in it.
tests/unit/target compiles each interpreter's own headers and compares every number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, NamedTuple

from mixstack.bpf.wire import ChainKind

Minor = tuple[int, int]

NO_SHIMS: Final = 0x100  # the owner is one byte: no frame reaches it


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Offsets in bytes; None where this version has no such field.

    The fields from `chain_kind` to `shim_owner` are those of `struct ms_layout`, by name. Where
    the defaults stand, default builds of all versions agree.
    """

    chain_kind: ChainKind
    tstate_next: int = 8
    tstate_thread_id: int
    tstate_frame: int  # frame (3.8 to 3.10), cframe (3.11, 3.12), current_frame (3.13+)
    tstate_cframe: int | None = None  # 3.10
    tstate_root_cframe: int | None = None
    tstate_tracing: int | None = None  # 3.8, 3.9: a trace function is being told
    tstate_base_frame: int | None = None  # 3.15: points at the sentinel that ends the chain
    cframe_current_frame: int | None = None
    cframe_previous: int | None = None
    frame_size: int  # how much of a frame to read: up to what its function brings along
    frame_code: int
    frame_previous: int
    frame_instr: int
    instr_scale: int = 0  # 0: frame_instr is a pointer; else an int, counted in so many bytes
    frame_owner: int | None = None
    frame_is_entry: int | None = None
    frame_state: int | None = None  # f_executing (3.8, 3.9), f_state (3.10)
    frame_locals: int | None = None  # 3.8, 3.9: f_localsplus
    frame_tlbc_index: int | None = None  # free-threaded builds, 3.14+
    code_size: int  # how much of a code object to read: up to its bytecode
    code_flags: int
    code_first_line: int
    code_filename: int
    code_name: int
    code_qualname: int | None = None
    code_linetable: int  # co_lnotab (3.8, 3.9)
    code_first_traceable: int | None = None
    code_adaptive: int | None = None  # None: the bytecode is an object of its own
    code_tlbc: int | None = None  # free-threaded builds, 3.14+: the threads' copies of the bytecode
    code_version: int | None = None  # no other code object has its value, unless that is 0
    object_type: int = 8
    var_size: int = 16
    bytes_data: int = 32
    string_length: int = 16
    string_state: int = 32
    string_kind_shift: int = 2  # bits of the state: from here on kind 3, compact 1, ascii 1
    string_ascii_data: int
    string_compact_data: int
    shim_owner: int = NO_SHIMS  # a frame whose owner is at least this is a shim

    runtime_interpreters_head: int
    runtime_autotss_key: int | None  # the pthread_key_t inside Py_tss_t
    interp_next: int = 0
    interp_threads_head: int
    interp_modules: int  # sys.modules
    tstate_interp: int = 16


class Between(NamedTuple):
    """A field that a table of offsets leaves out, between two that it has ("group.field").

    It lies `distance` bytes before `above`, and `span` bytes are from `below` to `above`. In a
    build with another span something else was put between them, and the field may be anywhere.
    """

    below: str
    above: str
    span: int
    distance: int


class Supplement(NamedTuple):
    """What `_Py_DebugOffsets` leaves out and what differs from version to version.

    runtime_autotss_key is a hint: that the key leads to the thread states is seen in the threads.
    """

    first_traceable: Between
    string_kind_shift: int
    runtime_autotss_key: int | None


# PyFrameObject is one structure in 3.8 and 3.9; 3.10 made f_lasti count code units.
_ROW_3_8: Final = Layout(
    chain_kind=ChainKind.FRAME,
    tstate_thread_id=176,
    tstate_frame=24,
    frame_size=120,
    frame_code=32,
    frame_previous=24,
    frame_instr=104,
    instr_scale=1,
    frame_state=116,
    frame_locals=360,
    tstate_tracing=44,
    code_size=128,
    code_flags=36,
    code_first_line=40,
    code_filename=104,
    code_name=112,
    code_linetable=120,
    string_ascii_data=48,
    string_compact_data=72,
    runtime_interpreters_head=32,
    runtime_autotss_key=1396,
    interp_threads_head=8,
    interp_modules=56,
)

COMPILED: Final[Mapping[Minor, Layout]] = MappingProxyType(
    {
        (3, 8): _ROW_3_8,
        (3, 9): replace(_ROW_3_8, runtime_autotss_key=588, interp_modules=856),
        (3, 10): replace(
            _ROW_3_8,
            chain_kind=ChainKind.FRAME_CFRAME,
            tstate_cframe=48,
            tstate_root_cframe=264,
            cframe_previous=8,
            frame_size=112,
            frame_instr=96,
            instr_scale=2,
            frame_state=108,
            frame_locals=None,
            tstate_tracing=None,
            runtime_autotss_key=588,
            interp_modules=856,
        ),
        (3, 11): Layout(
            chain_kind=ChainKind.CFRAME,
            tstate_thread_id=152,
            tstate_frame=56,
            tstate_root_cframe=336,
            cframe_current_frame=8,
            cframe_previous=16,
            frame_size=72,
            frame_code=32,
            frame_previous=48,
            frame_instr=56,
            frame_owner=69,
            frame_is_entry=68,
            code_size=184,
            code_flags=48,
            code_first_line=72,
            code_filename=112,
            code_name=120,
            code_qualname=128,
            code_linetable=136,
            code_first_traceable=168,
            code_adaptive=184,
            string_ascii_data=48,
            string_compact_data=72,
            runtime_interpreters_head=40,
            runtime_autotss_key=596,
            interp_threads_head=16,
            interp_modules=888,
        ),
        (3, 12): Layout(
            chain_kind=ChainKind.CFRAME_SHIM,
            tstate_thread_id=136,
            tstate_frame=56,
            tstate_root_cframe=272,
            cframe_current_frame=0,
            cframe_previous=8,
            frame_size=72,
            frame_code=0,
            frame_previous=8,
            frame_instr=56,
            frame_owner=70,
            code_size=192,
            code_flags=48,
            code_first_line=68,
            code_filename=112,
            code_name=120,
            code_qualname=128,
            code_linetable=136,
            code_first_traceable=176,
            code_adaptive=192,
            code_version=92,
            string_ascii_data=40,
            string_compact_data=56,
            shim_owner=3,
            runtime_interpreters_head=40,
            runtime_autotss_key=1548,
            interp_threads_head=72,
            interp_modules=944,
        ),
    }
)

_TAIL_3_13: Final = Between("code_object.linetable", "code_object.co_code_adaptive", 64, 16)
_TAIL_3_14: Final = _TAIL_3_13._replace(span=72)
_TAIL_3_14_FREE_THREADED: Final = _TAIL_3_13._replace(span=80, distance=24)

# By version and whether it is free-threaded.
SUPPLEMENTS: Final[Mapping[tuple[Minor, bool], Supplement]] = MappingProxyType(
    {
        ((3, 13), False): Supplement(_TAIL_3_13, 2, 2164),
        ((3, 13), True): Supplement(_TAIL_3_13, 2, 2164),
        ((3, 14), False): Supplement(_TAIL_3_14, 2, 2340),
        ((3, 14), True): Supplement(_TAIL_3_14_FREE_THREADED, 8, 2340),
        ((3, 15), False): Supplement(_TAIL_3_14, 2, None),
        ((3, 15), True): Supplement(_TAIL_3_14_FREE_THREADED, 8, None),
    }
)

SUPPORTED: Final[tuple[Minor, ...]] = tuple(sorted({*COMPILED, *(row for row, _ in SUPPLEMENTS)}))
