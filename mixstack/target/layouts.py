"""Offsets as data: where the fields of each CPython's structures lie (x86-64, default build).

A minor version is one row: `COMPILED` where only its headers tell, `SUPPLEMENTS` where the
binary carries its own table of offsets (3.13 and later) and some things are not in it.
tests/unit/target compiles each interpreter's own headers and compares every number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from mixstack.bpf.wire import ChainKind

Minor = tuple[int, int]

NO_SHIMS: Final = 0x100  # the owner is one byte: no frame reaches it


@dataclass(frozen=True, slots=True)
class Layout:
    """Offsets in bytes; None where this version has no such field.

    The fields from `chain_kind` to `shim_owner` are those of `struct ms_layout`, by name.
    """

    chain_kind: ChainKind
    tstate_next: int
    tstate_thread_id: int
    tstate_frame: int  # cframe (3.11, 3.12), current_frame (3.13+)
    tstate_root_cframe: int | None
    cframe_current_frame: int | None
    cframe_previous: int | None
    frame_size: int  # how much of a frame to read: up to its local variables
    frame_code: int
    frame_previous: int
    frame_instr: int
    frame_owner: int
    frame_is_entry: int | None
    code_size: int  # how much of a code object to read: up to its bytecode
    code_flags: int
    code_first_line: int
    code_filename: int
    code_name: int
    code_qualname: int
    code_linetable: int
    code_first_traceable: int
    code_adaptive: int
    code_version: int | None  # co_version: no other code object has its value, unless that is 0
    string_ascii_data: int
    string_compact_data: int
    shim_owner: int  # a frame whose owner is at least this is a shim

    runtime_interpreters_head: int
    runtime_autotss_key: int | None  # the pthread_key_t inside Py_tss_t
    interp_next: int
    interp_threads_head: int
    tstate_interp: int
    string_length: int
    string_state: int


@dataclass(frozen=True, slots=True)
class Supplement:
    """What `_Py_DebugOffsets` of a minor version leaves out.

    code_adaptive: where the code object's bytecode lies in the builds that the other numbers
    were taken from. A build that has it elsewhere has other fields too, and the row is not its.
    """

    chain_kind: ChainKind
    shim_owner: int
    code_adaptive: int
    code_flags: int
    code_first_traceable: int
    code_version: int | None
    string_compact_data: int
    runtime_autotss_key: int | None


COMPILED: Final[Mapping[Minor, Layout]] = MappingProxyType(
    {
        (3, 11): Layout(
            chain_kind=ChainKind.CFRAME,
            tstate_next=8,
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
            code_version=None,
            string_ascii_data=48,
            string_compact_data=72,
            shim_owner=NO_SHIMS,
            runtime_interpreters_head=40,
            runtime_autotss_key=596,
            interp_next=0,
            interp_threads_head=16,
            tstate_interp=16,
            string_length=16,
            string_state=32,
        ),
        (3, 12): Layout(
            chain_kind=ChainKind.CFRAME_SHIM,
            tstate_next=8,
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
            frame_is_entry=None,
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
            interp_next=0,
            interp_threads_head=72,
            tstate_interp=16,
            string_length=16,
            string_state=32,
        ),
    }
)

SUPPLEMENTS: Final[Mapping[Minor, Supplement]] = MappingProxyType(
    {
        (3, 13): Supplement(
            chain_kind=ChainKind.SHIM,
            shim_owner=3,
            code_adaptive=200,
            code_flags=48,
            code_first_traceable=184,
            code_version=92,
            string_compact_data=56,
            runtime_autotss_key=2164,
        ),
    }
)

SUPPORTED: Final[tuple[Minor, ...]] = tuple(sorted({*COMPILED, *SUPPLEMENTS}))
