"""The memory of an interpreter, read by its layout as plainly as can be, to compare with."""

from __future__ import annotations

from dataclasses import dataclass

from mixstack.target.layouts import Layout
from mixstack.target.thread_states import ReadMemory


@dataclass(frozen=True)
class Memory:
    """What lies in a process."""

    read: ReadMemory
    layout: Layout

    def bytes(self, address: int, size: int) -> bytes:
        data = self.read(address, size) if size else b""
        assert data is not None
        return data

    def number(self, address: int) -> int:
        return int.from_bytes(self.bytes(address, 4), "little", signed=True)

    def word(self, address: int) -> int:
        return int.from_bytes(self.bytes(address, 8), "little")

    def text(self, address: int) -> str:
        at = self.layout
        length = self.word(address + at.string_length)
        bits = self.number(address + at.string_state) >> at.string_kind_shift
        kind, compact, narrow = bits & 7, bits >> 3 & 1, bits >> 4 & 1
        assert compact
        start = at.string_ascii_data if narrow else at.string_compact_data
        encoding = {1: "latin-1", 2: "utf-16-le", 4: "utf-32-le"}[kind]
        return self.bytes(address + start, length * kind).decode(encoding)
