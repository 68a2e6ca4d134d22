"""Sample records (`struct ms_sample` of mixstack.h) as columns."""

from __future__ import annotations

import ctypes
import os
import weakref
from array import array
from collections.abc import Callable, Sequence
from typing import Final

from mixstack.compiled.library import ADDRESS, Lent, library

COLUMNS: Final = "QIII"  # times in ns, and numbers of threads, CPUs and what was seen
_HEAD_SIZE: Final = 72
_AT_END, _UNKNOWN = 0, 1


class _Block(ctypes.Structure):
    """`struct ms_block`."""

    _fields_ = (
        ("bytes", ADDRESS),
        ("size", ctypes.c_uint64),
        ("at", ctypes.c_uint64),
        ("following", ctypes.c_uint64),
    )


class _Columns(ctypes.Structure):
    """`struct ms_columns`."""

    _fields_ = (
        ("times_ns", ADDRESS),
        ("threads", ADDRESS),
        ("cpus", ADDRESS),
        ("sights", ADDRESS),
        ("count", ctypes.c_uint64),
    )


class SampleReader:
    """Recognises records whose keys it knows: all from the counts on but the flags' byte.

    `recognise` is asked for others: (start, end) of a record in the block → the number of what it
    shows, and its key without the thread's name, which must stay for as long as this reader.
    """

    def __init__(self, flags: int) -> None:
        """flags: those of a record that belong to its key. Raises NoProbe."""
        self._library = library()
        seed = int.from_bytes(os.urandom(8), "little")
        self._handle = self._library.ms_samples_new(flags, seed)
        if not self._handle:
            raise MemoryError
        weakref.finalize(self, self._library.ms_samples_free, self._handle)
        self._room: list[array[int]] = [array(code) for code in COLUMNS]

    @property
    def threads(self) -> list[tuple[int, int]]:
        """(pid, tid) of the threads that were met, by their numbers."""
        found = array("Q", bytes(8 * self._library.ms_samples_threads(self._handle, None)))
        self._library.ms_samples_threads(self._handle, found.buffer_info()[0])
        return [(thread & 0xFFFFFFFF, thread >> 32) for thread in found]

    def read(
        self,
        block: bytes,
        to: Sequence[array[int]],
        recognise: Callable[[int, int], tuple[int, bytes]],
    ) -> bool:
        """Append the samples of a block to COLUMNS; False: it ends with what is no record.

        What `recognise` raises ends it as well; those before are appended.
        """
        self._make_room(len(block) // _HEAD_SIZE)
        lent = Lent(block)
        part = _Block(lent.address, lent.size, 0, 0)
        columns = _Columns(*(column.buffer_info()[0] for column in self._room), 0)
        read, where = self._library.ms_samples_read, (ctypes.byref(part), ctypes.byref(columns))
        try:
            while (found := read(self._handle, *where)) == _UNKNOWN:
                number, stack = recognise(part.at, part.following)
                if not self._library.ms_samples_know(
                    self._handle, where[0], stack, len(stack), number
                ):
                    raise MemoryError
        finally:
            for column, room in zip(to, self._room, strict=True):
                column.frombytes(memoryview(room)[: columns.count].cast("B"))
        if found < 0:
            raise MemoryError
        return bool(found == _AT_END)

    def _make_room(self, samples: int) -> None:
        for column in self._room:
            column.frombytes(bytes(column.itemsize * max(0, samples - len(column))))
