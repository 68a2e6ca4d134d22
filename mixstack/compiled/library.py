"""Loads the library, and lends it the bytes of Python's objects where they are."""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import weakref
from array import array
from typing import Final

from mixstack.errors import NoProbe

ADDRESS: Final = ctypes.c_void_p
_PATH: Final = os.path.join(os.path.dirname(__file__), "libmixstack.so")
_INT: Final = ctypes.c_int
_LONG: Final = ctypes.c_long
_U64: Final = ctypes.c_uint64
# What each function returns and takes; the sources say what it means.
_FUNCTIONS: Final = {
    # frames.c
    "ms_frames_new": (ADDRESS,),
    "ms_frames_free": (None, ADDRESS),
    "ms_frames_add": (_INT, ADDRESS, ADDRESS, _U64, _U64, _INT),
    "ms_frames_count": (_U64, ADDRESS),
    "ms_frames_ranges": (None, ADDRESS, ADDRESS),
    # rows.c
    "ms_frames_room": (_U64, ADDRESS),
    "ms_frames_rows": (_LONG, ADDRESS, ADDRESS, ctypes.c_uint32, _U64, _U64, ADDRESS),
    "ms_index_pages": (None, ADDRESS, _U64, ADDRESS, _U64),
    "ms_shift_pages": (None, ADDRESS, _U64, ctypes.c_uint32, ADDRESS),
    # joins.c
    "ms_joins_new": (ADDRESS, _U64),
    "ms_joins_free": (None, ADDRESS),
    "ms_joins_know": (_INT, ADDRESS, _U64, _U64, _U64, ADDRESS, _U64),
    "ms_joins_join": (_INT, ADDRESS, ctypes.c_char_p, _U64, ADDRESS),
    # lines.c
    "ms_lines_new": (ADDRESS, _U64, _U64),
    "ms_lines_free": (None, ADDRESS),
    "ms_lines_add": (_LONG, ADDRESS, ADDRESS, ADDRESS, ADDRESS, _U64),
    "ms_lines_finish": (_INT, ADDRESS, _U64),
    "ms_lines_thin": (_LONG, ADDRESS, _U64, _U64),
    "ms_lines_turns": (_LONG, ADDRESS, ctypes.c_uint32, ADDRESS, ADDRESS),
    # samples.c
    "ms_samples_new": (ADDRESS, ctypes.c_uint32, _U64),
    "ms_samples_free": (None, ADDRESS),
    "ms_samples_read": (_INT, ADDRESS, ADDRESS, ADDRESS),
    "ms_samples_know": (_INT, ADDRESS, ADDRESS, ctypes.c_char_p, _U64, ctypes.c_uint32),
    "ms_samples_threads": (_U64, ADDRESS, ADDRESS),
    # symbols.c
    "ms_symbols_new": (ADDRESS,),
    "ms_symbols_free": (None, ADDRESS),
    "ms_symbols_code": (None, ADDRESS, _U64, _U64),
    "ms_symbols_add": (_INT, ADDRESS, ADDRESS, _U64, ADDRESS, _U64, ADDRESS, _U64),
    "ms_symbols_finish": (_LONG, ADDRESS),
    "ms_symbols_find": (_INT, ADDRESS, _U64, ADDRESS),
    # truncated.c
    "ms_survive_truncation": (None,),
}


@functools.cache
def library() -> ctypes.CDLL:
    """From now on no file that is cut short while it is mapped ends this process (truncated.c).

    Raises NoProbe if the package was built without the library.
    """
    try:
        loaded = ctypes.CDLL(_PATH)
    except OSError as e:
        raise NoProbe("this installation of mixstack has no compiled library") from e
    for name, (returned, *taken) in _FUNCTIONS.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = returned, taken
    loaded.ms_survive_truncation()
    return loaded


class _Buffer(ctypes.Structure):
    """Py_buffer (Include/pybuffer.h; part of the stable ABI since 3.11, and the same before)."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_void_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


_get_buffer = ctypes.pythonapi.PyObject_GetBuffer
_get_buffer.argtypes = (ctypes.py_object, ctypes.POINTER(_Buffer), ctypes.c_int)
_release_buffer = ctypes.pythonapi.PyBuffer_Release
_release_buffer.argtypes = (ctypes.POINTER(_Buffer),)
_SIMPLE: Final = 0


class Lent:
    """Bytes that stay where they are while this object lives: `size` of them at `address`.

    Without a copy: the names of a library can be a hundred megabytes of a mapped file.
    """

    def __init__(self, data: bytes | bytearray | memoryview | mmap.mmap | array[int]) -> None:
        buffer = _Buffer()
        _get_buffer(data, ctypes.byref(buffer), _SIMPLE)
        weakref.finalize(self, _release_buffer, ctypes.byref(buffer))
        self.address: int = buffer.buf or 0
        self.size: int = buffer.len
