"""Which version a CPython is, by what its own binary states."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from mixstack.elf import Elf
from mixstack.target.layouts import Minor

_RELEASE_CANDIDATE: Final = 0xC  # the lowest release level whose layout is settled; PY_VERSION_HEX
_TEXT: Final = re.compile(rb"3\.(\d{1,2})\.(\d{1,2})(a|b|rc)?\d*\+?\0")  # PY_VERSION, patchlevel.h
_TEXT_MAX: Final = 16
_CODE_MAX: Final = 256


class Version(NamedTuple):
    """PY_VERSION_HEX taken apart. `settled`: a release or a candidate, not an alpha or beta."""

    major: int
    minor: int
    micro: int
    settled: bool

    @property
    def row(self) -> Minor:
        return self.major, self.minor


def version_of_number(number: int) -> Version | None:
    """The version with this PY_VERSION_HEX; None for 0."""
    if not number:
        return None
    return Version(
        number >> 24,
        number >> 16 & 0xFF,
        number >> 8 & 0xFF,
        number >> 4 & 0xF >= _RELEASE_CANDIDATE,
    )


def version_of_code(elf: Elf, address: int, size: int) -> Version | None:
    """The one version whose text `Py_GetVersion` refers to, or None.

    address, size: of its code (size 0: not stated). Before 3.11 there is no number to read. Every
    four bytes are tried as a reference, relative to what follows them or absolute: where one hits
    a version's text by chance, there are two, and it is None.
    """
    code = elf.read(address, min(size, _CODE_MAX) or _CODE_MAX)
    found = set()
    for at in range(len(code) - 3):
        operand = int.from_bytes(code[at : at + 4], "little", signed=True)
        for target in (address + at + 4 + operand, operand):
            text = _TEXT.match(elf.read(target, _TEXT_MAX))
            if text is not None:
                found.add(Version(3, int(text[1]), int(text[2]), text[3] not in (b"a", b"b")))
    return found.pop() if len(found) == 1 else None
