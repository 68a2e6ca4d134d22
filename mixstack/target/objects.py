"""Dictionaries, attributes and numbers in an interpreter's memory, read from outside.

The process goes on while it is read, so anything may be half changed or gone: every type is checked
by what it says of itself, every size is bounded, and whoever uses a value asks with `Slot.holds`
whether it is still there afterwards. None always means: not what was expected.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

from mixstack.target.layouts import Layout, Minor
from mixstack.target.text import ReadMemory, read_text


class Attributes(enum.Enum):
    """Where an object of a class written in Python keeps its attributes."""

    DICT = enum.auto()  # a dict at the type's tp_dictoffset
    VALUES = enum.auto()  # 3.11: two pointers before the object, to a dict or to bare values
    TAGGED = enum.auto()  # 3.12: one pointer, whose lowest bit is set if it is to values
    INLINE = enum.auto()  # 3.13 and later: the values are part of the object until it has a dict


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRow:
    """How a version lays out objects; offsets in bytes.

    keys_log2: the table of keys has its size as a logarithm (PyDictKeysObject, 3.11 and later).
    values_start: of the values in what a dict's `ma_values` points to. tagged_int: an int keeps its
    size in a tag (3.12 and later).
    """

    cached_keys: int  # PyHeapTypeObject.ht_cached_keys
    attributes: Attributes
    keys_log2: bool = True
    values_start: int = 0
    tagged_int: bool = True


_BEFORE_3_11: Final = ObjectRow(
    cached_keys=872, attributes=Attributes.DICT, keys_log2=False, tagged_int=False
)
_FROM_3_13: Final = ObjectRow(cached_keys=880, attributes=Attributes.INLINE, values_start=8)
OBJECTS: Final[Mapping[Minor, ObjectRow]] = MappingProxyType(
    {
        (3, 8): _BEFORE_3_11,
        (3, 9): ObjectRow(
            cached_keys=864, attributes=Attributes.DICT, keys_log2=False, tagged_int=False
        ),
        (3, 10): _BEFORE_3_11,
        (3, 11): ObjectRow(cached_keys=872, attributes=Attributes.VALUES, tagged_int=False),
        (3, 12): ObjectRow(cached_keys=880, attributes=Attributes.TAGGED),
        (3, 13): _FROM_3_13,
        (3, 14): _FROM_3_13,
        (3, 15): ObjectRow(cached_keys=888, attributes=Attributes.INLINE, values_start=8),
    }
)
"""Default builds. A free-threaded one changes dictionaries without a lock that could be seen from
outside, and there is none here to try it with: its threads keep the kernel's names."""

# The same in all of these; tests/unit/target compares them with the headers.
HEAD: Final = 8  # PyObject.ob_type; a free-threaded build has it elsewhere
DICT_KEYS: Final = 32
DICT_VALUES: Final = 40
TYPE_BASICSIZE: Final = 32
TYPE_FLAGS: Final = 168
TYPE_DICTOFFSET: Final = 288
MODULE_DICT: Final = 16
MANAGED_DICT: Final = -24  # before the object
MANAGED_VALUES: Final = -32  # 3.11
VALUES_VALID: Final = 3  # PyDictValues.valid, 3.13 and later
_SIZED_KEYS: Final = struct.Struct("<8xQ8x8xQ")  # dk_size, dk_nentries
_LOG2_KEYS: Final = struct.Struct("<8xBBB5x8xQ")  # log2 of size, of index bytes; kind; dk_nentries
_GENERAL: Final = 0  # dk_kind: entries have a hash
_ENTRIES_MAX: Final = 1 << 16
_INDEX_LOG2_MAX: Final = 20

_INLINE_VALUES: Final = 1 << 2  # bits of tp_flags
_MANAGED: Final = 1 << 4
_LONG: Final = 1 << 24
_UNICODE: Final = 1 << 28
_DICT: Final = 1 << 29
_DIGIT_BITS: Final = 30
_DIGITS_MAX: Final = 3  # 64 bits


class Slot(NamedTuple):
    """An entry of a dictionary: its two objects, and where the value's address stands."""

    key: int
    value: int
    value_at: int

    def holds(self, read: ReadMemory) -> bool:
        """Whether its value is still the same object."""
        return read_word(read, self.value_at) == self.value


class Objects:
    """Reads objects; what it learns of types and names holds for one look."""

    def __init__(self, read: ReadMemory, layout: Layout, row: ObjectRow) -> None:
        self._read = read
        self._layout = layout
        self._row = row
        self._flags: dict[int, int] = {}
        self._texts: dict[int, str | None] = {}

    def text(self, address: int) -> str | None:
        """The characters of a str."""
        if not self._is(address, _UNICODE):
            return None
        return read_text(address, self._layout, self._read)

    def integer(self, address: int) -> int | None:
        """An int from 0 to 2**64 - 1."""
        size = read_word(self._read, address + self._layout.var_size)
        if size is None or not self._is(address, _LONG):
            return None
        if self._row.tagged_int:
            sign, size = size & 3, size >> 3
            if sign == 1:  # zero
                return 0
            if sign:
                return None
        if not 0 < size <= _DIGITS_MAX:
            return 0 if size == 0 else None
        data = self._read(address + self._layout.var_size + 8, 4 * size)
        if data is None:
            return None
        digits = struct.unpack(f"<{size}I", data)
        value = sum(digit << _DIGIT_BITS * place for place, digit in enumerate(digits))
        return value if max(digits) >> _DIGIT_BITS == 0 and value >> 64 == 0 else None

    def items(self, address: int) -> list[Slot]:
        """The entries of a dict, in order; none if it is none."""
        pointers = self._read(address + DICT_KEYS, 16)
        if pointers is None or not self._is(address, _DICT):
            return []
        keys, values = struct.unpack("<QQ", pointers)
        return self._entries(keys, values + self._row.values_start if values else 0)

    def keys_state(self, address: int) -> tuple[int, bytes] | None:
        """The head of a dict's table of keys and where that is: both stay until a key is added."""
        keys = read_word(self._read, address + DICT_KEYS)
        layout = _LOG2_KEYS if self._row.keys_log2 else _SIZED_KEYS
        head = self._read(keys, layout.size) if keys else None
        return (keys, head) if keys and head is not None else None

    def attributes(self, address: int) -> list[Slot]:
        """The attributes of an object of a class written in Python."""
        kind = self._type_of(address)
        flags = self._flags_of(kind)
        dict_offset = read_word(self._read, kind + TYPE_DICTOFFSET)
        if dict_offset is None or flags is None:
            return []
        if 0 < dict_offset < 1 << 31:
            return self._items_at(address + dict_offset)
        if not flags & _MANAGED or self._row.attributes is Attributes.DICT:
            return []
        found = read_word(self._read, address + MANAGED_DICT)
        if found is None:
            return []
        values = 0
        if self._row.attributes is Attributes.TAGGED and found & 1:
            values = found + 1
        elif found:
            return self.items(found)
        elif self._row.attributes is Attributes.VALUES:
            values = read_word(self._read, address + MANAGED_VALUES) or 0
        elif self._row.attributes is Attributes.INLINE and flags & _INLINE_VALUES:
            values = self._inline_values(address, kind)
        keys = read_word(self._read, kind + self._row.cached_keys)
        return self._entries(keys, values) if keys and values else []

    def find(self, slots: list[Slot], *names: str) -> list[Slot | None]:
        """The entries with these names as keys."""
        found: dict[str, Slot] = {}
        for slot in slots:
            if slot.key not in self._texts:
                self._texts[slot.key] = self.text(slot.key)
            name = self._texts[slot.key]
            if name in names:
                found[name] = slot
                if len(found) == len(names):
                    break
        return [found.get(name) for name in names]

    def _inline_values(self, address: int, kind: int) -> int:
        """Where they begin; 0 if they are no longer in the object."""
        size = read_word(self._read, kind + TYPE_BASICSIZE)
        if size is None or size >= 1 << 16:
            return 0
        head = self._read(address + size, 4)
        valid = head is not None and head[VALUES_VALID] == 1
        return address + size + self._row.values_start if valid else 0

    def _items_at(self, pointer: int) -> list[Slot]:
        address = read_word(self._read, pointer)
        return self.items(address) if address else []

    def _entries(self, keys: int, values: int) -> list[Slot]:
        """values: where those of a shared table of keys begin; 0 if they lie in the table."""
        table = self._table(keys)
        if table is None:
            return []
        start, count, width = table
        data = self._read(start, count * width) if 0 < count <= _ENTRIES_MAX else None
        if data is None:
            return []
        apart = self._read(values, 8 * count) if values else None
        if values and apart is None:
            return []
        slots = []
        for number in range(count):
            end = width * (number + 1)
            key, value = struct.unpack_from("<QQ", data, end - 16)
            value_at = start + end - 8
            if apart is not None:
                (value,) = struct.unpack_from("<Q", apart, 8 * number)
                value_at = values + 8 * number
            if key and value:
                slots.append(Slot(key, value, value_at))
        return slots

    def _table(self, keys: int) -> tuple[int, int, int] | None:
        """Of a table of keys: where its entries begin, how many there are, bytes of each."""
        layout = _LOG2_KEYS if self._row.keys_log2 else _SIZED_KEYS
        head = self._read(keys, layout.size)
        if head is None:
            return None
        if self._row.keys_log2:
            _, log2_index, kind, count = layout.unpack(head)
            if log2_index > _INDEX_LOG2_MAX:
                return None
            return keys + layout.size + (1 << log2_index), count, 24 if kind == _GENERAL else 16
        size, count = layout.unpack(head)
        if size >> _INDEX_LOG2_MAX:
            return None
        width = 1 if size <= 0xFF else 2 if size <= 0xFFFF else 4
        return keys + layout.size + width * size, count, 24

    def _is(self, address: int, flag: int) -> bool:
        flags = self._flags_of(self._type_of(address))
        return flags is not None and bool(flags & flag)

    def _type_of(self, address: int) -> int:
        return read_word(self._read, address + self._layout.object_type) or 0

    def _flags_of(self, kind: int) -> int | None:
        if kind not in self._flags:
            flags = read_word(self._read, kind + TYPE_FLAGS) if kind else None
            if flags is None:
                return None
            self._flags[kind] = flags
        return self._flags[kind]


def read_word(read: ReadMemory, address: int) -> int | None:
    """The 8 bytes at an address, as a number."""
    data = read(address, 8)
    return None if data is None else int.from_bytes(data, "little")
