"""Cython's names for the C functions that it makes, as the source has them.

Cython writes each scope behind its length, and then the function: `__pyx_f_3mod_3Ext_total` is
mod.Ext.total. What Python calls may have a number before its name (`__pyx_pw_3mod_1work`), so a
method may be read as a function: `5Thing_1method` is method 1 of Thing, or function 5, which is
called Thing_1method. A name that can be read in two ways stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_NAME: Final = re.compile(r"__pyx_(f|pf|pw)_(\w+)((?:\.\w+)*)", re.ASCII)
_LENGTH: Final = re.compile(r"[1-9][0-9]{0,3}")
_NUMBERED: Final = re.compile(r"[0-9]*([^\W\d]\w*)", re.ASCII)
_PLAIN: Final = re.compile(r"([^\W\d]\w*)", re.ASCII)
_MOST_SCOPES: Final = 32


def cython_name(name: str) -> str | None:
    """The dotted name of the source, where it is certain; else None.

    A compiler's copy keeps its mark: `mod.work [clone .constprop.0]`.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    kind, rest, clone = found.groups()
    readings = list(_readings(rest, _PLAIN if kind == "f" else _NUMBERED))
    if len(readings) != 1:
        return None
    return readings[0] + (f" [clone {clone}]" if clone else "")


def _readings(rest: str, function: re.Pattern[str]) -> Iterator[str]:
    scopes: list[str] = []
    while len(scopes) < _MOST_SCOPES:
        length = _LENGTH.match(rest)
        if length is None:
            return
        end = length.end() + int(length[0])
        scope = rest[length.end() : end]
        if rest[end : end + 1] != "_" or not _PLAIN.fullmatch(scope):
            return
        scopes.append(scope)
        rest = rest[end + 1 :]
        last = function.fullmatch(rest)
        if last is not None:
            yield ".".join((*scopes, last[1]))
