"""Where functions begin and end that have no symbol: from the index of the unwind table.

A stripped library still says so in `.eh_frame_hdr` (LSB 5.0, 10.6.2), so that the samples of a
nameless function are one frame, `module+0x<its start>`, and not one for each instruction.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from typing import Final

from mixstack.elf import Elf

_HEAD: Final = struct.Struct("<BBBB")  # version, encodings of eh_frame_ptr, fde_count, the table
_UDATA4: Final = 0x03
_DATAREL_SDATA4: Final = 0x3B
_TABLE_AT: Final = 12
_FDE: Final = struct.Struct("<IIiI")  # length, CIE pointer, pc begin, pc range


class FunctionRanges:
    """The functions that an ELF file's unwind index lists; addresses are the file's own.

    Only the encodings that every x86-64 linker writes are read; of another file nothing is known.
    """

    def __init__(self, elf: Elf) -> None:
        self._elf = elf
        self._vaddr = 0
        self._index: memoryview[int] | None = None  # starts and FDEs, in turn, less that address
        section = elf.section(".eh_frame_hdr")
        if section is None or len(section.data) < _TABLE_AT:
            return
        version, _, count_encoding, table_encoding = _HEAD.unpack_from(section.data)
        if (version, count_encoding, table_encoding) != (1, _UDATA4, _DATAREL_SDATA4):
            return
        (count,) = struct.unpack_from("<I", section.data, _TABLE_AT - 4)
        table = section.data[_TABLE_AT : _TABLE_AT + 8 * count]
        self._vaddr, self._index = section.vaddr, table[: len(table) // 8 * 8].cast("i")

    def find(self, vaddr: int) -> tuple[int, int] | None:
        """`[start, end)` of the function that covers an address, or None."""
        index = self._index
        if index is None:
            return None
        starts = range(0, len(index), 2)
        at = bisect_right(starts, vaddr - self._vaddr, key=index.__getitem__) - 1
        if at < 0:
            return None
        start, fde = self._vaddr + index[2 * at], self._vaddr + index[2 * at + 1]
        data = self._elf.read(fde, _FDE.size) if fde >= 0 else b""
        if len(data) < _FDE.size:
            return None
        _, _, begin, size = _FDE.unpack(data)
        # The index and the entry must agree; else the entry's pointers are encoded in another way.
        if fde + 8 + begin != start or not vaddr < start + size:
            return None
        return start, start + size
