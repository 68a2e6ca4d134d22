"""The mirror of `mixstack.h`: what passes between the probe and user space, as ctypes and enums.

`model.NativeEnd`, `model.ChainEnd` and `model.Step` mirror the three enums that outlive the wire.
tests/unit/bpf/test_wire.py compiles the header and compares both, each way.
"""

from __future__ import annotations

import enum
from ctypes import (
    LittleEndianStructure,
    c_char,
    c_int32,
    c_int64,
    c_uint8,
    c_uint16,
    c_uint32,
    c_uint64,
)
from typing import Final

TAG_SHIFT: Final = 56
ADDRESS_MASK: Final = (1 << TAG_SHIFT) - 1
CODE_STRING_MAX: Final = 248
CODE_LINETABLE_MAX: Final = 8192
RBP_AT_RBP: Final = -2048
PAGE_SHIFT: Final = 8
PAGE_SIZE: Final = 256
COUNTERS: Final = 4
PROCESSES_MAX: Final = 8192
EVERYONE_ELSE: Final = 0


class Record(enum.IntEnum):
    """What a record in the ring buffer is: its first u32 (`enum ms_record`)."""

    SAMPLE = 1
    CODE = 2
    FORK = 3
    EXEC = 4
    EXIT = 5


class EntryKind(enum.IntEnum):
    """The tag of `ChainEntry.address` (`enum ms_chain_entry`)."""

    FRAME = 0
    INCOMPLETE = 1
    MARKER = 2


class SampleFlag(enum.IntFlag):
    """`SampleHead.flags` (`enum ms_sample_flag`)."""

    TORN = 1
    KERNEL = 2
    NEW_MAPPING = 4
    NO_TABLE = 8
    PAIRED = 16
    SETTLED = 32
    COUNTED = 64
    SEVERAL = 128


class RowKind(enum.IntEnum):
    """Bits 60..63 of an unwind row (`enum ms_row_kind`; the header has the equations)."""

    NONE = 0
    RSP = 1
    RBP = 2
    RBP_DEREF = 3
    RSP_DEREF = 4
    PLT = 5
    ROOT = 6
    SIGNAL = 7
    REGISTER = 8


class MappingKind(enum.IntEnum):
    """How the probe unwinds inside a mapping (`enum ms_mapping_kind`)."""

    TABLE = 1
    NO_TABLE = 2


class ChainKind(enum.IntEnum):
    """Where the interpreter's chain starts and what its markers are (`enum ms_chain_kind`)."""

    NONE = 0
    CFRAME = 1
    CFRAME_SHIM = 2
    SHIM = 3
    FRAME = 4
    FRAME_CFRAME = 5


class Counter(enum.IntEnum):
    """The probe's per-CPU counters (`enum ms_counter`); the array has `COUNTERS` elements."""

    SAMPLES = 0
    LOST = 1
    CODE_LOST = 2
    UNKNOWN = 3


class ProcessFlag(enum.IntFlag):
    """`ProcessEntry.flags` (`enum ms_process_flag`)."""

    ALONE = 1
    HIDDEN = 2
    UNKNOWN = 4
    HELD = 8


class SampleHead(LittleEndianStructure):
    """`struct ms_sample`; n_kernel u64, n_chain `ChainEntry`, n_native `NativeEntry` follow it."""

    _fields_ = (
        ("record", c_uint32),
        ("flags", c_uint32),
        ("time_ns", c_uint64),
        ("pid", c_uint32),
        ("tid", c_uint32),
        ("cpu", c_uint32),
        ("n_kernel", c_uint16),
        ("n_chain", c_uint16),
        ("n_native", c_uint16),
        ("native_end", c_uint8),
        ("chain_end", c_uint8),
        ("marker_span", c_uint32),
        ("sp", c_uint64),
        ("end_pc", c_uint64),
        ("comm", c_char * 16),
    )


class NativeEntry(LittleEndianStructure):
    """`struct ms_native`; `pc` carries a `model.Step` in its top byte."""

    _fields_ = (
        ("pc", c_uint64),
        ("cfa", c_uint64),
    )


class ChainEntry(LittleEndianStructure):
    """`struct ms_python`; `address` carries an `EntryKind` in its top byte."""

    _fields_ = (
        ("address", c_uint64),
        ("offset", c_int32),
        ("fingerprint", c_uint32),
    )


class CodeString(LittleEndianStructure):
    """`struct ms_string`: a str as it lies in memory; `length` in characters, `bytes` valid."""

    _fields_ = (
        ("length", c_uint32),
        ("kind", c_uint8),
        ("ascii", c_uint8),
        ("bytes", c_uint16),
        # Not c_char: ctypes would end such a field at its first zero byte.
        ("data", c_uint8 * CODE_STRING_MAX),
    )


class CodeRecord(LittleEndianStructure):
    """`struct ms_code`; `linetable_bytes` bytes follow it."""

    _fields_ = (
        ("record", c_uint32),
        ("pid", c_uint32),
        ("address", c_uint64),
        ("fingerprint", c_uint32),
        ("first_line", c_int32),
        ("linetable_length", c_uint64),
        ("linetable_bytes", c_uint32),
        ("family", c_uint32),
        ("name", CodeString),
        ("qualname", CodeString),
        ("filename", CodeString),
    )


class Life(LittleEndianStructure):
    """`struct ms_life`: a followed process forked, became another program, or ended."""

    _fields_ = (
        ("record", c_uint32),
        ("pid", c_uint32),
        ("time_ns", c_uint64),
        ("parent", c_uint32),
        ("reserved", c_uint32),
    )


class MappingEntry(LittleEndianStructure):
    """`struct ms_mapping`: an executable mapping as the probe searches it."""

    _fields_ = (
        ("start", c_uint64),
        ("end", c_uint64),
        ("base", c_uint64),
        ("first_page", c_uint32),
        ("pages", c_uint32),
        ("kind", c_uint32),
        ("reserved", c_uint32),
    )


class PageEntry(LittleEndianStructure):
    """`struct ms_page`: one entry of the page index over the rows."""

    _fields_ = (
        ("row", c_uint32),
        ("rows", c_uint32),
    )


class Layout(LittleEndianStructure):
    """`struct ms_layout`: where the fields of one CPython's structures lie, in bytes."""

    _fields_ = (
        ("chain_kind", c_uint32),
        ("tstate_next", c_uint16),
        ("tstate_thread_id", c_uint16),
        ("tstate_frame", c_uint16),
        ("tstate_cframe", c_uint16),
        ("tstate_root_cframe", c_uint16),
        ("tstate_tracing", c_uint16),
        ("tstate_base_frame", c_uint16),
        ("cframe_current_frame", c_uint16),
        ("cframe_previous", c_uint16),
        ("frame_size", c_uint16),
        ("frame_code", c_uint16),
        ("frame_previous", c_uint16),
        ("frame_instr", c_uint16),
        ("instr_scale", c_uint16),
        ("frame_owner", c_uint16),
        ("frame_is_entry", c_uint16),
        ("frame_state", c_uint16),
        ("frame_locals", c_uint16),
        ("frame_tlbc_index", c_uint16),
        ("code_size", c_uint16),
        ("code_flags", c_uint16),
        ("code_first_line", c_uint16),
        ("code_filename", c_uint16),
        ("code_name", c_uint16),
        ("code_qualname", c_uint16),
        ("code_linetable", c_uint16),
        ("code_first_traceable", c_uint16),
        ("code_adaptive", c_uint16),
        ("code_tlbc", c_uint16),
        ("code_version", c_uint16),
        ("object_type", c_uint16),
        ("var_size", c_uint16),
        ("bytes_data", c_uint16),
        ("string_length", c_uint16),
        ("string_state", c_uint16),
        ("string_kind_shift", c_uint16),
        ("string_ascii_data", c_uint16),
        ("string_compact_data", c_uint16),
        ("shim_owner", c_uint16),
        ("reserved", c_uint16 * 3),
    )


class ProcessEntry(LittleEndianStructure):
    """`struct ms_process`: what the probe knows of one process."""

    _fields_ = (
        ("first_mapping", c_uint32),
        ("mappings", c_uint32),
        ("code_type", c_uint64),
        ("interp_head", c_uint64),
        ("tss_slot", c_uint64),
        ("interp_threads_head", c_uint32),
        ("interp_next", c_uint32),
        ("slot", c_uint32),
        ("several", c_uint32),
        ("layout", Layout),
        ("code_start", c_uint64),
        ("code_end", c_uint64),
        ("family", c_uint32),
        ("flags", c_uint32),
        ("evaluator_start", c_uint64),
        ("evaluator_end", c_uint64),
    )


class Learned(LittleEndianStructure):
    """`struct ms_learned`: what the probe learned of a process' evaluator."""

    _fields_ = (
        ("cfa_from_marker", c_int64),
        ("rbp_from_cfa", c_int64),
        ("marker_from_cframe", c_int64),
        ("slots", c_uint64),
        ("slot", c_uint32),
        ("seen", c_uint32),
    )


class Config(LittleEndianStructure):
    """`struct ms_config`: offsets of this machine's kernel, in bytes."""

    _fields_ = (
        ("task_fsbase", c_uint32),
        ("task_stack", c_uint32),
        ("user_regs", c_uint32),
        ("task_flags", c_uint32),
        ("task_tgid", c_uint32),
        ("task_signal", c_uint32),
        ("signal_live", c_uint32),
        ("pid_namespace", c_uint32),
        ("task_pid", c_uint32),
        ("signal_pid", c_uint32),
        ("pid_level", c_uint32),
        ("pid_numbers", c_uint32),
        ("upid_bytes", c_uint32),
        ("upid_namespace", c_uint32),
        ("namespace_inode", c_uint32),
        ("reserved", c_uint32),
    )
