"""A `str` in an interpreter's memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mixstack.target.layouts import Layout

ReadMemory = Callable[[int, int], "bytes | None"]

KIND: Final = 7  # chain.bpf.h: bits of a str's state, from its kind on
ASCII: Final = 16
WIDTHS: Final = {1: "latin-1", 2: "utf-16-le", 4: "utf-32-le"}
_COMPACT: Final = 8
_CHARACTERS_MAX: Final = 4096


def read_text(address: int, layout: Layout, read: ReadMemory) -> str | None:
    """The characters of the str at an address; None if that is none, or too long."""
    head = read(address, layout.string_compact_data)
    if head is None:
        return None
    length = int.from_bytes(head[layout.string_length :][:8], "little")
    state = string_state(head, layout)
    kind = state & KIND
    if not state & _COMPACT or kind not in WIDTHS or length > _CHARACTERS_MAX:
        return None
    start = layout.string_ascii_data if state & ASCII else layout.string_compact_data
    data = read(address + start, length * kind) if length else b""
    return decode_text(data, kind) if data is not None else None


def string_state(string: bytes, layout: Layout) -> int:
    """`PyASCIIObject.state` from the kind on."""
    state = int.from_bytes(string[layout.string_state :][:4], "little")
    return state >> layout.string_kind_shift


def decode_text(data: bytes, kind: int) -> str | None:
    """The characters; None if there is one that is none: memory that is no str any more."""
    try:
        return data.decode(WIDTHS[kind], "surrogatepass" if kind > 1 else "strict")
    except UnicodeDecodeError:
        return None
