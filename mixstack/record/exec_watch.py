"""Tells by a process' mappings that it has become another program."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from mixstack.record.modules import VDSO
from mixstack.target.maps import MapLine
from mixstack.target.process import ExeIdentity

_WORD_S: Final = 0.1  # how long the kernel's word of an exec may be on its way


class ExecWatch:
    """Compares a program with what it was, should the kernel's word of an exec be lost.

    exe: what the process runs, as far as is known.
    """

    def __init__(self, exe: ExeIdentity | None) -> None:
        self.exe = exe
        self._since: float | None = None  # seen to be another program, without word of it

    def is_another(
        self, exe: ExeIdentity, before: Iterable[MapLine], lines: Iterable[MapLine]
    ) -> bool:
        """Whether it has become another program since the last look.

        The same program has its vDSO elsewhere then; a fixed executable and the vsyscall page stay.
        """
        start = _vdso_start(before)
        another = exe != self.exe or (start is not None and start != _vdso_start(lines))
        if not another:
            self._since = None
        elif self._since is None:
            self._since = time.monotonic()
        return another

    @property
    def overdue(self) -> bool:
        """Whether the word of it should have come by now.

        It comes with the samples, and says when it was. What was before it may still have to be
        written: samples of it are on their way too.
        """
        return self._since is not None and time.monotonic() - self._since >= _WORD_S


def _vdso_start(lines: Iterable[MapLine]) -> int | None:
    return next((line.start for line in lines if line.path == VDSO), None)
