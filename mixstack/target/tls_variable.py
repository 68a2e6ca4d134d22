"""Where a thread-local variable lies, by the code of an exported function that returns it.

The variable itself has no exported symbol. Only the few shapes that compilers and linkers make of
`return variable;` are understood; what is inferred is for the caller to verify in live threads.
Source: Drepper, ELF Handling For Thread-Local Storage; the x86-64 psABI, chapter on relocations.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

ReadMemory = Callable[[int, int], "bytes | None"]

CODE_MAX: Final = 64  # bytes of code that the longest shape has

_STATIC_MAX: Final = 1 << 16  # bytes; the thread-local variables of a usual program take a few 100

_ENTER = rb"(?:\xf3\x0f\x1e\xfa)?(?:\x55\x48\x89\xe5|\x48\x83\xec\x08|\x50|\x53)?"
_LEAVE = rb"(?:\x48\x83\xc4\x08|[\x58-\x5b\x5d\xc9])?"
_LOAD = rb"\x48\x8b(?:\x00|\x40(?P<near>.)|\x80(?P<far>.{4}))"  # mov disp(%rax),%rax
_SHAPES: Final = tuple(
    re.compile(_ENTER + body + _LEAVE + rb"\xc3", re.DOTALL)
    for body in (
        # mov %fs:offset,%rax
        rb"\x64\x48\x8b\x04\x25(?P<offset>.{4})",
        # mov $offset,%rax; mov %fs:(%rax),%rax
        rb"\x48\xc7\xc0(?P<offset>.{4})\x64\x48\x8b\x00",
        # mov word(%rip),%rax; mov %fs:(%rax),%rax
        rb"\x48\x8b\x05(?P<word>.{4})" + _LEAVE + rb"\x64\x48\x8b\x00",
        # mov %fs:0,%rax; [lea offset(%rax),%rax;] [add word(%rip),%rax;] mov disp(%rax),%rax:
        # what a linker makes of a call
        rb"\x66*\x64\x48\x8b\x04\x25\0{4}"
        rb"(?:\x48\x8d\x80(?P<offset>.{4})|\x48\x03\x05(?P<word>.{4}))?" + _LEAVE + _LOAD,
        # lea pair(%rip),%rdi; call __tls_get_addr; mov disp(%rax),%rax
        rb"\x66?\x48\x8d\x3d(?P<pair>.{4})(?:(?:\x66\x66\x48)?\xe8|(?:\x66\x48)?\xff\x15).{4}"
        + _LEAVE
        + _LOAD,
    )
)


class TlsVariable(NamedTuple):
    """How a thread-local variable is addressed; addresses are the file's own.

    offset: bytes from the thread pointer, once `word` or `pair` is added. word: of a u64 in the
    process, bytes from the thread pointer. pair: of {u64 module, u64 offset in its TLS block}.
    """

    offset: int
    word: int | None = None
    pair: int | None = None


def tls_variable(code: bytes, address: int) -> TlsVariable | None:
    """The variable that the function with this code, at this address of its file, returns."""
    for shape in _SHAPES:
        match = shape.match(code)
        if match is not None:
            groups = match.groupdict()
            parts = (groups.get(name) for name in ("offset", "near", "far"))
            return TlsVariable(
                sum(_signed(part) for part in parts if part is not None),
                *(
                    address + match.end(name) + _signed(groups[name]) if groups.get(name) else None
                    for name in ("word", "pair")
                ),
            )
    return None


def offset_from_thread_pointer(
    variable: TlsVariable, read: ReadMemory, load_bias: int, thread_pointer: int
) -> int | None:
    """Bytes from a thread's FS base to its variable, perhaps negative.

    For a pair the thread's block is looked up as glibc does (dl-tls.c). It lies at the same place
    in all threads if the library was loaded with the program: then it is part of what lies just
    below the thread pointer. None if it is not, or cannot be read.
    """
    if variable.word is not None:
        word = _words(read, load_bias + variable.word, 1)
        return None if word is None else variable.offset + _wrapped(word[0])
    if variable.pair is None:
        return variable.offset
    pair = _words(read, load_bias + variable.pair, 2)
    blocks = _words(read, thread_pointer + 8, 1)
    block = _words(read, blocks[0] + 16 * pair[0], 1) if pair and blocks else None
    if pair is None or block is None:
        return None
    offset = _wrapped(block[0] + pair[1] + variable.offset - thread_pointer)
    return offset if -_STATIC_MAX < offset < 0 else None


def _words(read: ReadMemory, address: int, count: int) -> list[int] | None:
    data = read(address % (1 << 64), 8 * count)
    if data is None:
        return None
    return [int.from_bytes(data[at : at + 8], "little") for at in range(0, 8 * count, 8)]


def _signed(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)


def _wrapped(value: int) -> int:
    """As a signed number of 64 bits."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)
