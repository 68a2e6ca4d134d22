"""Open a file by its path below a root folder, as a process with that root would.

The root is a target's, and its links are a stranger's: an absolute one begins at the root again,
and `..` does not lead out of it (as openat2's RESOLVE_IN_ROOT, which Python cannot call).
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import Final

_MOST_LINKS: Final = 40  # the kernel's own limit
_MOST_PARTS: Final = 256
_FOLDER: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def open_below(root: str, path: str) -> int:
    """A descriptor to read the file at `path` below `root`. Raises OSError."""
    waiting = _parts(path)
    links = visited = 0
    with contextlib.ExitStack() as stack:
        folders = [os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]
        stack.callback(_close, folders)
        while waiting:
            part = waiting.pop()
            visited += 1
            if visited > _MOST_PARTS:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path)
            if part == "..":
                if len(folders) > 1:
                    os.close(folders.pop())
                continue
            link = _link(part, folders[-1])
            if link is None:
                if not waiting:
                    return os.open(part, _FILE, dir_fd=folders[-1])
                folders.append(os.open(part, _FOLDER, dir_fd=folders[-1]))
                continue
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            if link.startswith("/"):
                _close(folders[1:])
                del folders[1:]
            waiting += _parts(link)
    raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), path)


def _parts(path: str) -> list[str]:
    """The names in a path, the first one last."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


def _link(name: str, folder: int) -> str | None:
    """Where a symbolic link leads; None for anything else. Raises OSError."""
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError as e:
        if e.errno == errno.EINVAL:
            return None
        raise


def _close(descriptors: list[int]) -> None:
    for each in descriptors:
        os.close(each)
