"""Joined and named stacks, where nothing of the join is in doubt."""

from __future__ import annotations

import ctypes
import enum
import os
import weakref
from array import array
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from mixstack.compiled.library import ADDRESS, library

SHOWN: Final = 1 << 31
NAMELESS: Final = 1 << 30
_JOINED, _UNKNOWN, _IN_DOUBT = range(3)


class Kind(enum.IntEnum):
    """What an item of a joined stack is, and which words tell it (`enum item_kind`)."""

    NATIVE = 0  # the address to look up
    EVALUATOR = 1  # the same, of a frame that runs Python frames
    PYTHON = 2  # the two words of `struct ms_python`
    KERNEL = 3  # the address


class Named(NamedTuple):
    """A joined stack, outermost first. segments: how many evaluators are in it.

    shown: the numbers of its frames (u32), without what is not to be shown, unless that is all.
    nameless: those of the frames that are marked so.
    """

    shown: bytes
    nameless: tuple[int, ...]
    segments: int


class _Joined(ctypes.Structure):
    """`struct ms_joined`."""

    _fields_ = (
        ("kind", ctypes.c_uint64),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
        ("shown", ADDRESS),
        ("nameless", ADDRESS),
        ("n_shown", ctypes.c_uint64),
        ("n_nameless", ctypes.c_uint64),
        ("segments", ctypes.c_uint64),
    )


class PlainJoins:
    """Joins and names the stacks of a process while its addresses mean one thing.

    `name` is asked once for each item: the numbers of its frames, with SHOWN and NAMELESS in them.
    """

    def __init__(self, name: Callable[[Kind, int, int], Iterable[int]]) -> None:
        """Raises NoProbe."""
        self._library = library()
        self._handle = self._library.ms_joins_new(int.from_bytes(os.urandom(8), "little"))
        if not self._handle:
            raise MemoryError
        weakref.finalize(self, self._library.ms_joins_free, self._handle)
        self._name = name
        self._joined = _Joined()
        self._where = ctypes.byref(self._joined)

    def join(self, stack: bytes) -> Named | None:
        """Of a stack as it lies in a record, without the name; None: the splice has to say."""
        join, joined = self._library.ms_joins_join, self._joined
        while (how := join(self._handle, stack, len(stack), self._where)) == _UNKNOWN:
            item = Kind(joined.kind), joined.first, joined.second
            numbers = array("I", self._name(*item))
            if not self._library.ms_joins_know(
                self._handle, *item, numbers.buffer_info()[0], len(numbers)
            ):
                raise MemoryError
        if how == _IN_DOUBT:
            return None
        if how != _JOINED:
            raise MemoryError
        nameless: tuple[int, ...] = ()
        if joined.n_nameless:
            nameless = tuple(array("I", ctypes.string_at(joined.nameless, 4 * joined.n_nameless)))
        return Named(ctypes.string_at(joined.shown, 4 * joined.n_shown), nameless, joined.segments)
