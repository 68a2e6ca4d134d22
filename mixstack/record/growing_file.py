"""A file that another process appends to: what is new in it, and when that was written.

It is a stranger's: not followed through a link, not opened where it could block, not believed if
it belongs to someone else, and read in pieces.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Collection, Iterator
from posixpath import basename, dirname
from typing import Final, NamedTuple

from mixstack.symbolize.rooted import open_below

_PIECE: Final = 1 << 18  # bytes
_SPANS_MAX: Final = 256
_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Refused(Exception):
    """The file is there and is not to be believed; the message says why."""


class Window(NamedTuple):
    """Something was written after `after_ns` and not after `by_ns` (CLOCK_MONOTONIC)."""

    after_ns: int
    by_ns: int


class _Span(NamedTuple):
    """The bytes up to `end` were written in this window, as far as they follow the span before."""

    end: int
    window: Window


class GrowingFile:
    """A regular file, held open: it outlives its name and its writer."""

    def __init__(self, fd: int) -> None:
        """Takes over the descriptor."""
        self._fd = fd
        info = os.fstat(fd)
        self.identity = (info.st_dev, info.st_ino)
        self._position = 0
        self._seen = 0
        self._looked_ns = 0
        self._spans: deque[_Span] = deque()

    @property
    def position(self) -> int:
        """How far it was read, in bytes."""
        return self._position

    @property
    def size(self) -> int:
        """Its size when it was looked at last."""
        return self._seen

    def look(self, now_ns: int) -> bool:
        """Note how far it has grown by now; False if it was cut, and is read from its start."""
        size = os.fstat(self._fd).st_size
        whole = size >= self._seen
        if not whole:
            self._position = self._seen = 0
            self._spans.clear()
        if size > self._seen:
            after_ns = self._looked_ns
            if len(self._spans) >= _SPANS_MAX:
                after_ns = self._spans.pop().window.after_ns
            self._spans.append(_Span(size, Window(after_ns, now_ns)))
            self._seen = size
        self._looked_ns = now_ns
        return whole

    def seek(self, position: int) -> None:
        """Go on from there; when what is read again was written is then not known any more."""
        if position < self._position:
            self._spans = deque([_Span(self._seen, Window(0, self._looked_ns))])
        self._position = position

    def pieces(self, limit: int) -> Iterator[tuple[bytes, Window]]:
        """What is new, in order, up to about `limit` bytes; each piece lies in one window."""
        end = self._position + limit
        while self._spans and self._position < end:
            span = self._spans[0]
            size = min(span.end - self._position, _PIECE)
            data = os.pread(self._fd, size, self._position) if size > 0 else b""
            self._position += len(data)
            if self._position >= span.end or not data:
                self._spans.popleft()
            if data:
                yield data, span.window

    def read_at(self, position: int, size: int) -> bytes:
        """Up to `size` bytes from `position` on."""
        return os.pread(self._fd, size, position)

    def close(self) -> None:
        os.close(self._fd)


def open_of(root: str, path: str, users: Collection[int], since_unix_s: float) -> GrowingFile:
    """The file at `path` (/FOLDER/NAME) below `root`, if it is a regular one of one of these users.

    Its folder may be reached through links, as the process itself would. Raises OSError if it is
    not there or was not written since; Refused if it is not to be believed.
    """
    # Mostly it is not there: where the folder is no link, two calls tell that, and not a dozen.
    if not os.path.islink(f"{root}{dirname(path)}"):
        os.lstat(f"{root}{path}")
    folder = open_below(root, dirname(path))
    try:
        name = basename(path)
        # Before it is opened: a device may do something when it is.
        if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise Refused("it is not a regular file")
        fd = os.open(name, _FLAGS, dir_fd=folder)
    finally:
        os.close(folder)
    return checked(fd, users, since_unix_s)


def checked(fd: int, users: Collection[int], since_unix_s: float) -> GrowingFile:
    """Takes over a descriptor; raises as `open_of` does."""
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            raise Refused("it is not a regular file")
        if info.st_uid not in users:
            raise Refused(f"it belongs to user {info.st_uid}")
        if info.st_mtime < since_unix_s:
            raise FileNotFoundError(errno.ENOENT, "it is an earlier process'")
    except (OSError, Refused):
        os.close(fd)
        raise
    return GrowingFile(fd)
