"""The root folders of processes, kept open: debug files in them are looked for after their end."""

from __future__ import annotations

import os
from contextlib import ExitStack


class Roots:
    """Where the files of a process may be found, for each process that is asked about."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], str] = {}
        self._of_process: dict[int, tuple[str, ...]] = {}
        self._stack = ExitStack()
        ours = os.stat("/")
        self._ours = ours.st_dev, ours.st_ino

    def of(self, pid: int) -> tuple[str, ...]:
        """The process' own root, where that is another, then ours."""
        if pid not in self._of_process:
            try:
                theirs = self._open(pid)
            except OSError:  # it has ended, or is not ours to look into
                return ("/",)
            self._of_process[pid] = ("/",) if theirs is None else (theirs, "/")
        return self._of_process[pid]

    def close(self) -> None:
        """Let go of them; what `of` gave leads nowhere from now on."""
        self._stack.close()

    def _open(self, pid: int) -> str | None:
        path = f"/proc/{pid}/root"
        found = os.stat(path)
        identity = found.st_dev, found.st_ino
        if identity == self._ours:
            return None
        if identity not in self._known:
            descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self._stack.callback(os.close, descriptor)
            self._known[identity] = f"/proc/self/fd/{descriptor}"
        return self._known[identity]
