"""Memory of the probe's tables, written where and when it is needed."""

from __future__ import annotations

import mmap
from typing import Final, Protocol

_WINDOW: Final = 1 << 20  # bytes that are mapped at once, a multiple of the page


class Memory(Protocol):
    """Bytes that are written slice by slice."""

    def __len__(self) -> int: ...

    def __setitem__(self, where: slice, data: bytes | bytearray | memoryview, /) -> None: ...


class KernelMemory:
    """The memory of an mmapable map: `size` bytes. Slices can be written.

    It is mapped only meanwhile: all of it would count as memory of this process, and tables have
    room for a hundred megabytes.
    """

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __setitem__(self, where: slice, data: bytes | bytearray | memoryview) -> None:
        """Raises ValueError if the data are of another size."""
        start, stop, _ = where.indices(self._size)
        if len(data) != stop - start:
            raise ValueError(f"{len(data)} bytes in place of {stop - start}")
        view = memoryview(data)
        while start < stop:
            window, at, end = self._window(start, stop)
            with window:
                window[at:end] = view[: end - at]
            view = view[end - at :]
            start += end - at

    def _window(self, start: int, stop: int) -> tuple[mmap.mmap, int, int]:
        """A mapping that begins at or before `start`, and from where to where it is wanted."""
        offset = start - start % mmap.PAGESIZE
        end = min(stop, offset + _WINDOW)
        length = -(-(end - offset) // mmap.PAGESIZE) * mmap.PAGESIZE
        access = mmap.PROT_READ | mmap.PROT_WRITE
        window = mmap.mmap(self._fd, length, mmap.MAP_SHARED, access, offset=offset)
        return window, start - offset, end - offset
