"""GDB's JIT interface: a list of ELF objects in a process' memory, which its compilers keep.

Source: gdb's manual, "JIT Compilation Interface". LLVM's MCJIT (numba) and CPython 3.15's JIT
register their code there. An LLVM object is relocatable: each section's address is filled in.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, NamedTuple

from mixstack.elf import Elf

DESCRIPTOR: Final = b"__jit_debug_descriptor"
_DESCRIPTOR: Final = struct.Struct("<IIQQ")  # version, action, the last entry, the first entry
_ENTRY: Final = struct.Struct("<QQQQ")  # next, previous, address and size of the object
_VERSION: Final = 1
_SYMBOL: Final = struct.Struct("<IBBHQQ")  # Elf64_Sym: name info other shndx value size
_STT_FUNC: Final = 2
_ET_REL: Final = 1
_TYPE_AT: Final = 16  # e_type
_SHN_LORESERVE: Final = 0xFF00
_NAME_MAX: Final = 4096

ReadMemory = Callable[[int, int], "bytes | None"]


class Registered(NamedTuple):
    """An entry of the list, and the object that it names: `[address, address + size)`."""

    entry: int
    address: int
    size: int


class Function(NamedTuple):
    """A function's address, its size in bytes, its (mangled) name."""

    start: int
    size: int
    name: bytes


class ObjectCode(NamedTuple):
    """What an object says of code. Addresses are the process'.

    code: [start, end) of what its unwind information is of. eh_frame: its bytes as far as the
    object has them relocated, else None: they are to be read at `eh_frame_at` (`eh_frame_size`).
    """

    functions: tuple[Function, ...]
    code: tuple[int, int] | None
    eh_frame: bytes | None
    eh_frame_at: int
    eh_frame_size: int


def state(read: ReadMemory, descriptor: int) -> bytes | None:
    """What changes with each entry that is made or removed; None if there is no such list."""
    head = read(descriptor, _DESCRIPTOR.size)
    if head is None or _DESCRIPTOR.unpack(head)[0] != _VERSION:
        return None
    return head


def registered(read: ReadMemory, head: bytes, limit: int) -> list[Registered] | None:
    """The entries of a list whose `state` is `head`, at most `limit`; None if it cannot be walked.

    The process goes on meanwhile: each entry must lead back to the one before it.
    """
    found: list[Registered] = []
    before, at = 0, _DESCRIPTOR.unpack(head)[3]
    while at and len(found) < limit:
        entry = read(at, _ENTRY.size)
        if entry is None:
            return None
        after, previous, address, size = _ENTRY.unpack(entry)
        if previous != before:
            return None
        found.append(Registered(at, address, size))
        before, at = at, after
    return found


def is_registered(read: ReadMemory, entry: Registered) -> bool:
    """Whether an entry still names its object."""
    data = read(entry.entry, _ENTRY.size)
    return data is not None and _ENTRY.unpack(data)[2:] == entry[1:]


def object_code(image: bytes, limit: int) -> ObjectCode:
    """What an object says, of at most `limit` functions. Raises BadElf."""
    elf = Elf(memoryview(image), "a registered object")
    relocatable = int.from_bytes(image[_TYPE_AT : _TYPE_AT + 2], "little") == _ET_REL
    functions: list[Function] = []
    spans: list[tuple[int, int]] = []
    table = elf.section(".symtab")
    strings = None if table is None else elf.section_at(table.link)
    if table is not None and strings is not None:
        names = bytes(strings.data)
        usable = len(table.data) // _SYMBOL.size * _SYMBOL.size
        for name_at, info, _, index, value, size in _SYMBOL.iter_unpack(table.data[:usable]):
            section = elf.section_at(index) if 0 < index < _SHN_LORESERVE else None
            end = names.find(b"\0", name_at, name_at + _NAME_MAX)
            if info & 0xF != _STT_FUNC or not size or section is None or end <= name_at:
                continue
            if relocatable and not section.vaddr:
                continue  # it was not loaded
            start = section.vaddr + value if relocatable else value
            functions.append(Function(start, size, names[name_at:end]))
            spans.append((start, start + size))
            if len(functions) >= limit:
                break
    frames = elf.section(".eh_frame")
    moved = elf.section(".rela.eh_frame") is not None
    return ObjectCode(
        tuple(functions),
        (min(s for s, _ in spans), max(e for _, e in spans)) if spans else None,
        bytes(frames.data) if frames is not None and not moved else None,
        frames.vaddr if frames is not None else 0,
        len(frames.data) if frames is not None else 0,
    )
