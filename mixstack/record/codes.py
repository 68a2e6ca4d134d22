"""Code objects as the probe sends them, made into values; what it could not read is read here."""

from __future__ import annotations

import ctypes

from mixstack.bpf.wire import CodeRecord, CodeString
from mixstack.model import Code, CodeKey
from mixstack.target.layouts import Layout
from mixstack.target.text import (
    ASCII,
    KIND,
    WIDTHS,
    ReadMemory,
    decode_text,
    read_text,
    string_state,
)

_HEAD = ctypes.sizeof(CodeRecord)
_LINETABLE_MAX = 1 << 22
_STRING_BYTES = 128  # state.bpf.h: STRING_WORDS
_PRINT_BYTES = 48  # PRINT_WORDS
_MASK = (1 << 64) - 1
_PRIME = 0x9E3779B97F4A7C15


def decode_code(
    record: bytes, layout: Layout, read: ReadMemory, version: tuple[int, int, int] | None
) -> Code | None:
    """The code object of a `struct ms_code`; None if neither the probe nor we could read its names.

    What is missing or cut in the record is read from the process, provided that the object there
    still has the same fingerprint. version: that of the interpreter whose layout it is.
    """
    head = CodeRecord.from_buffer_copy(record)
    key = CodeKey(head.address, head.fingerprint)
    names = [_text(s) for s in (head.name, head.qualname, head.filename)]
    linetable: bytes | None = record[_HEAD : _HEAD + head.linetable_bytes]
    if head.linetable_bytes < head.linetable_length:
        linetable = None
    if None in names or linetable is None:
        image = read(head.address, layout.code_size)
        if image is not None and fingerprint(image, layout, read) == head.fingerprint:
            offsets = (layout.code_name, qualname_offset(layout), layout.code_filename)
            names = [
                name if name is not None else read_text(_word(image, at), layout, read)
                for name, at in zip(names, offsets, strict=True)
            ]
            if linetable is None:
                linetable = _read_bytes(_word(image, layout.code_linetable), layout, read)
    name, qualname, filename = names
    if name is None or filename is None:
        return None
    return Code(
        head.family,
        key,
        name,
        qualname if qualname is not None else name,
        filename,
        head.first_line,
        linetable,
        version,
    )


def qualname_offset(layout: Layout) -> int:
    """Where a code object's qualified name is; before 3.11 it has a plain one only."""
    return layout.code_name if layout.code_qualname is None else layout.code_qualname


def fingerprint(code: bytes, layout: Layout, read: ReadMemory) -> int:
    """The probe's fingerprint (chain.bpf.h) of a code object's bytes."""
    h = _word(code, layout.var_size)
    qualname = qualname_offset(layout)
    for at in (layout.code_filename, layout.code_name, qualname, layout.code_linetable):
        h = _fold(h, _word(code, at))
    for at in (layout.code_first_line, layout.code_flags):
        h = _fold(h, _half(code, at))
    version = _half(code, layout.code_version) if layout.code_version is not None else 0
    if version:
        h = _fold(h, version)
    else:
        for at in (qualname, layout.code_filename):
            h = _fold_string(h, _word(code, at), layout, read)
    return h >> 32


def _fold_string(h: int, address: int, layout: Layout, read: ReadMemory) -> int:
    """Its length and the beginning of its characters."""
    image = read(address, _STRING_BYTES)
    if image is None:
        return h
    state = string_state(image, layout)
    size = _word(image, layout.string_length) * (state & KIND) & _MASK
    start = layout.string_ascii_data if state & ASCII else layout.string_compact_data
    h = _fold(h, size)
    for at in range(0, min(size, _PRINT_BYTES), 8):
        word = _word(image, start + at)
        if size < at + 8:  # what lies behind the string is not its own
            word = word << (8 - size % 8) * 8 & _MASK
        h = _fold(h, word)
    return h


def _fold(h: int, value: int) -> int:
    return (h ^ value) * _PRIME & _MASK


def _half(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def _text(string: CodeString) -> str | None:
    """A str that arrived whole, else None."""
    if string.kind not in WIDTHS or string.length * string.kind > string.bytes:
        return None
    # The field is read from memory, not through ctypes' char array, which ends at a zero byte.
    at = ctypes.addressof(string) + CodeString.data.offset
    return decode_text(ctypes.string_at(at, string.bytes), string.kind)


def _read_bytes(address: int, layout: Layout, read: ReadMemory) -> bytes | None:
    head = read(address, layout.bytes_data)
    if head is None:
        return None
    size = _word(head, layout.var_size)
    if size > _LINETABLE_MAX:
        return None
    return read(address + layout.bytes_data, size) if size else b""


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")
