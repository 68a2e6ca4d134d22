"""Where a capture is written: a file that is ours alone, beside the one it replaces, or a pipe."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Final

from mixstack.errors import OutputError

STDOUT: Final = "-"
_STDOUT_FD: Final = 1


class Place:
    """A new file (mode 0600), or standard output for "-"; `fd` is open for writing.

    A file of ours that has this name becomes `path + ".old"`, as perf does it. Names are looked up
    in one folder that stays open: nobody can put another one in its place meanwhile.

    Raises OutputError if `path` is a folder, a link, someone else's, or cannot be created.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.is_file = path != STDOUT
        self._folder = -1
        self._replaced = False
        try:
            if self.is_file:
                folder, self._name = os.path.split(path)
                self._folder = os.open(folder or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                self.fd = self._create()
            else:
                self.fd = os.dup(_STDOUT_FD)
        except (OSError, ValueError) as e:
            self._close_folder()
            raise OutputError(f"cannot write {self}: {_reason(e)}") from e
        except OutputError:
            self._close_folder()
            raise

    def __str__(self) -> str:
        return self.path if self.is_file else "standard output"

    def truncate(self, size: int) -> None:
        """Cut off what was written behind `size`; of a pipe nothing can be taken back."""
        if self.is_file:
            os.ftruncate(self.fd, size)

    def close(self) -> None:
        """Raises OSError: some file systems say only now that the disk is full."""
        fd, self.fd = self.fd, -1
        self._close_folder()
        os.close(fd)

    def withdraw(self) -> None:
        """Close the file and take it away; the one that it replaced gets its name back."""
        ours = os.fstat(self.fd)
        # Whoever withdraws has an error to report already; a second one would hide it.
        with contextlib.suppress(OSError):
            os.close(self.fd)
            if self.is_file and os.path.samestat(ours, self._lstat(self._name)):
                os.unlink(self._name, dir_fd=self._folder)
                if self._replaced:
                    self._rename(self._old, self._name)
        self.fd = -1
        self._close_folder()

    @property
    def _old(self) -> str:
        return self._name + ".old"

    def _create(self) -> int:
        if self._is_our_file(self._name):
            self._is_our_file(self._old)
            self._rename(self._name, self._old)
            self._replaced = True
        # O_EXCL: whoever puts a file or a link there in this moment is refused.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(self._name, flags, 0o600, dir_fd=self._folder)
        except (OSError, ValueError):
            if self._replaced:
                with contextlib.suppress(OSError):
                    self._rename(self._old, self._name)
            raise

    def _is_our_file(self, name: str) -> bool:
        """Whether there is a file; raises OutputError if it is not a regular file of this user."""
        if not name and self.path:
            raise OutputError(f"{self.path} is a folder")
        try:
            found = self._lstat(name)
        except FileNotFoundError:
            return False
        shown = os.path.join(os.path.dirname(self.path), name)
        if stat.S_ISDIR(found.st_mode):
            raise OutputError(f"{shown} is a folder")
        if stat.S_ISLNK(found.st_mode):
            raise OutputError(f"{shown} is a symbolic link, which mixstack does not follow")
        if not stat.S_ISREG(found.st_mode):
            raise OutputError(f"{shown} is not a regular file")
        if found.st_uid != os.geteuid():
            raise OutputError(
                f"{shown} belongs to another user",
                "remove it, or choose another place with: -o FILE",
            )
        return True

    def _lstat(self, name: str) -> os.stat_result:
        return os.stat(name, dir_fd=self._folder, follow_symlinks=False)

    def _rename(self, old: str, new: str) -> None:
        os.rename(old, new, src_dir_fd=self._folder, dst_dir_fd=self._folder)

    def _close_folder(self) -> None:
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1


def _reason(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error)
