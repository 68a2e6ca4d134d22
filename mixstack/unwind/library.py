"""Call frame information as rows, by the library in the folder `c`, which is built with the probe.

It never reads beyond the bytes that it is given, whatever they are.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import weakref
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from mixstack.bpf.wire import PAGE_SHIFT, PAGE_SIZE
from mixstack.errors import NoProbe

_PATH: Final = os.path.join(os.path.dirname(__file__), "c", "libmixstack.so")
_ADDRESS: Final = ctypes.c_void_p
_U64: Final = ctypes.c_uint64
_PRIVATE: Final = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
# What each function of the library returns and takes (rows.c, frames.c).
_FUNCTIONS: Final = {
    "ms_frames_new": (_ADDRESS,),
    "ms_frames_free": (None, _ADDRESS),
    "ms_frames_add": (ctypes.c_int, _ADDRESS, ctypes.c_char_p, _U64, _U64, ctypes.c_int),
    "ms_frames_count": (_U64, _ADDRESS),
    "ms_frames_ranges": (None, _ADDRESS, _ADDRESS),
    "ms_frames_find": (ctypes.c_long, _ADDRESS, _U64),
    "ms_frames_room": (_U64, _ADDRESS),
    "ms_frames_rows": (ctypes.c_long, _ADDRESS, _U64, _U64, _ADDRESS),
    "ms_frames_rows_of": (ctypes.c_long, _ADDRESS, _U64, _U64, _ADDRESS),
    "ms_index_pages": (None, _ADDRESS, _U64, _ADDRESS, _U64),
}


@functools.cache
def _library() -> ctypes.CDLL:
    """Raises NoProbe if the package was built without it."""
    try:
        library = ctypes.CDLL(_PATH)
    except OSError as e:
        raise NoProbe("this installation of mixstack has no compiled library") from e
    for name, (returned, *taken) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = returned, taken
    return library


class FrameSection(NamedTuple):
    """The bytes of `.eh_frame`, or with `debug` of a `.debug_frame`; and the section's own address.

    A `.debug_frame` is one of 32-bit DWARF, as all files have it.
    """

    data: bytes
    vaddr: int
    debug: bool = False


class Fde(NamedTuple):
    """Where it speaks of the code: `[start, start + size)`, the file's own addresses."""

    start: int
    size: int


class Frames:
    """The FDEs of a file, sorted by start, then by size; those of the second section where the
    first is silent.

    What cannot be understood is left out. Linear in the sections' size: a CIE counts only where the
    walk from entry to entry passes it, so no byte is read as part of many entries.
    """

    def __init__(self, sections: Iterable[FrameSection]) -> None:
        """Up to two sections. Raises NoProbe."""
        self._library = _library()
        self._data: list[bytes] = []  # the library reads them where they are
        self._handle = self._library.ms_frames_new()
        if not self._handle:
            raise MemoryError
        weakref.finalize(self, self._library.ms_frames_free, self._handle)
        for data, vaddr, debug in sections:
            self._data.append(data)
            if self._library.ms_frames_add(self._handle, data, len(data), vaddr % (1 << 64), debug):
                raise MemoryError

    def __len__(self) -> int:
        return int(self._library.ms_frames_count(self._handle))

    def __iter__(self) -> Iterator[Fde]:
        ranges = array("Q", bytes(16 * len(self)))
        self._library.ms_frames_ranges(self._handle, ranges.buffer_info()[0])
        return map(Fde._make, zip(ranges[::2], ranges[1::2], strict=True))

    def rows(self, base: int, end: int) -> array[int]:
        """Packed rows for the code at [base, end), sorted by pc, the first at pc 0 = base.

        Where no FDE speaks there is a row of kind NONE; two neighbours never have the same rule. An
        FDE is cut where the next one starts: who starts later knows the place better.
        """
        found = self._filled(
            lambda room: self._library.ms_frames_rows(self._handle, base, end, room)
        )
        if found is None:
            raise MemoryError
        return found

    def rows_of(self, start: int, register: int) -> array[int] | None:
        """Packed rows of the largest FDE that begins there, pc counted from its start.

        register: whose place they tell instead of rbp's. None: there is no FDE, or it is broken.
        """
        index = self._library.ms_frames_find(self._handle, start)
        if index < 0:
            return None
        return self._filled(
            lambda room: self._library.ms_frames_rows_of(self._handle, index, register, room)
        )

    def _filled(self, fill: Callable[[int], int]) -> array[int] | None:
        """The words that `fill` writes into room for the most that there can be.

        Of that hardly any is used, so it must not be memory that is cleared.
        """
        with mmap.mmap(-1, self._library.ms_frames_room(self._handle), _PRIVATE) as room:
            view = ctypes.c_char.from_buffer(room)
            count = fill(ctypes.addressof(view))
            del view  # it holds the room open
            if count < 0:
                return None
            words = array("Q")
            with memoryview(room) as written:
                words.frombytes(written[: 8 * count])
            return words


def index_pages(rows: array[int], size: int) -> bytes:
    """The page index over `rows` (sorted, the first at pc 0) for `size` bytes of code."""
    count = (size + PAGE_SIZE - 1) >> PAGE_SHIFT
    pages = bytearray(8 * count)
    view = (ctypes.c_char * len(pages)).from_buffer(pages)
    _library().ms_index_pages(rows.buffer_info()[0], len(rows), ctypes.addressof(view), count)
    return bytes(pages)
