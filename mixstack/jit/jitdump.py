"""jitdump files: a head, then records of code that was made, how to unwind it, and what was moved.

Source: tools/perf/Documentation/jitdump-specification.txt of the kernel. Line tables are not read:
writers do not agree on their addresses (node 20 shifts them by 64, the size of an ELF header).

Unwind information: the specification puts `.eh_frame_hdr` first; but perf inject (util/genelf.c)
takes it to be last, behind `.eh_frame`, and V8 and CPython write it so. LLVM (ORC) writes it first,
and one record for several functions, which perf cannot use and is not read here.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

_MAGIC: Final = 0x4A695444
_VERSION: Final = 1
_EM_X86_64: Final = 62
_HEAD: Final = struct.Struct("<IIIIIIQQ")  # magic version size machine pad pid time flags
_RECORD: Final = struct.Struct("<IIQ")  # kind size time
_LOAD: Final = struct.Struct("<IIQQQQ")  # pid tid vma address size code; then the name
_MOVE: Final = struct.Struct("<IIQQQQQ")  # pid tid vma old new size code
_UNWINDING: Final = struct.Struct("<QQQ")  # size, .eh_frame_hdr's part of it, size when mapped
_CODE_LOAD: Final = 0
_CODE_MOVE: Final = 1
_CODE_UNWINDING_INFO: Final = 4
_TICKS: Final = 1  # a flag: times are of the processor's counter
NAME_MAX: Final = 4096
HEAD_SIZE: Final = _HEAD.size
RECORD_SIZE: Final = _RECORD.size
WANTED: Final = RECORD_SIZE + _MOVE.size + NAME_MAX  # bytes of a record that may matter


class BadDump(Exception):
    """The bytes are not what the format says."""


class DumpHead(NamedTuple):
    """size: where the first record is. timed: times are nanoseconds of a clock."""

    size: int
    timed: bool


class RecordHead(NamedTuple):
    """size: of the whole record, in bytes. time_ns: when it was written, as the writer says."""

    kind: int
    size: int
    time_ns: int


class Load(NamedTuple):
    """Code was made. `code` is its number from then on."""

    start: int
    size: int
    code: int
    name: bytes

    @property
    def code_at(self) -> int:
        """Where in the record the code's bytes are."""
        return RECORD_SIZE + _LOAD.size + len(self.name) + 1


class Unwinding(NamedTuple):
    """Of the code that is made next: the place of its `.eh_frame` in the record, and its size.

    size: 0 if the record says nothing of the code, or contradicts itself.
    """

    at: int
    size: int


class Move(NamedTuple):
    """The code with that number was moved."""

    old: int
    new: int
    size: int
    code: int


def parse_head(data: bytes) -> DumpHead:
    """The head of a file. Raises BadDump if it is another machine's, or none."""
    if len(data) < HEAD_SIZE:
        raise BadDump("it is too short")
    magic, version, size, machine, _, _, _, flags = _HEAD.unpack_from(data)
    if (magic, version, machine) != (_MAGIC, _VERSION, _EM_X86_64) or size < HEAD_SIZE:
        raise BadDump("it is no jitdump file of this kind of machine")
    return DumpHead(size, not flags & _TICKS)


def parse_record_head(data: bytes) -> RecordHead:
    """The first `RECORD_SIZE` bytes of a record. Raises BadDump."""
    head = RecordHead(*_RECORD.unpack_from(data))
    if head.size < RECORD_SIZE:
        raise BadDump("a record claims an impossible size")
    return head


def eh_frame_address(start: int, size: int) -> int:
    """The address that the `.eh_frame` of this code was written for.

    It need not be there: it is where perf inject puts it, behind the code and aligned.
    """
    return start + (size + 7 & -8)


def parse_record(head: RecordHead, data: bytes) -> Load | Move | Unwinding | None:
    """A whole record, or its first `WANTED` bytes; None if it is of another kind.

    Raises BadDump if it breaks off, or its name does.
    """
    try:
        if head.kind == _CODE_LOAD:
            _, _, _, start, size, code = _LOAD.unpack_from(data, RECORD_SIZE)
            at = RECORD_SIZE + _LOAD.size
            end = data.find(b"\0", at, at + NAME_MAX)
            if end < 0:
                raise BadDump("a name has no end")
            return Load(start, size, code, data[at:end])
        if head.kind == _CODE_MOVE:
            return Move(*_MOVE.unpack_from(data, RECORD_SIZE)[3:])
        if head.kind == _CODE_UNWINDING_INFO:
            at = RECORD_SIZE + _UNWINDING.size
            size, header_size, _ = _UNWINDING.unpack_from(data, RECORD_SIZE)
            sound = header_size <= size <= head.size - at
            return Unwinding(at, size - header_size if sound else 0)
    except struct.error:
        raise BadDump("a record breaks off") from None
    return None
