"""Registered objects: what they say, and lists that change, cycle or lie."""

from __future__ import annotations

import random
import struct

import pytest

from mixstack.elf import BadElf
from mixstack.jit.debugger import Function, object_code, registered, state

from .objects import DESCRIPTOR, LIST, STT_OBJECT, Memory, relocatable

TEXT = 0x7F00_0000_1000
OBJECT = relocatable([(b"_Z3fibi", 0, 0x20), (b"g", 0x40, 8)], TEXT, b"frames", 0x9000)


def test_a_relocatable_object_has_the_addresses_of_its_sections() -> None:
    code = object_code(OBJECT, 100)
    assert code.functions == (Function(TEXT, 0x20, b"_Z3fibi"), Function(TEXT + 0x40, 8, b"g"))
    assert code.code == (TEXT, TEXT + 0x48)


def test_unwind_information_that_the_object_has_not_relocated_is_elsewhere() -> None:
    code = object_code(OBJECT, 100)
    assert (code.eh_frame, code.eh_frame_at, code.eh_frame_size) == (None, 0x9000, 6)
    code = object_code(relocatable([(b"f", 0, 1)], TEXT, b"frames", 0x9000, relocated=True), 100)
    assert (code.eh_frame, code.eh_frame_at) == (b"frames", 0x9000)


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(relocatable([(b"f", 0, 8)], 0), id="not loaded"),
        pytest.param(relocatable([(b"f", 0, 8)], TEXT, kind=STT_OBJECT), id="data"),
        pytest.param(relocatable([(b"f", 0, 0)], TEXT), id="without a size"),
        pytest.param(relocatable([(b"", 0, 8)], TEXT), id="without a name"),
        pytest.param(relocatable([(b"x" * 5000, 0, 8)], TEXT), id="with a name that is too long"),
    ],
)
def test_what_is_no_function(image: bytes) -> None:
    assert object_code(image, 100).functions == ()


def test_no_more_functions_than_asked_for() -> None:
    image = relocatable([(b"f%d" % n, 16 * n, 16) for n in range(50)], TEXT)
    assert len(object_code(image, 7).functions) == 7


def _entries(memory: Memory, limit: int = 100) -> list[int] | None:
    head = state(memory.read, DESCRIPTOR)
    assert head is not None
    found = registered(memory.read, head, limit)
    return None if found is None else [each.address for each in found]


def test_the_list() -> None:
    memory = Memory()
    assert _entries(memory) == []
    memory.register({0x20000: OBJECT, 0x30000: OBJECT})
    assert _entries(memory) == [0x20000, 0x30000]
    assert _entries(memory, limit=1) == [0x20000]


def _cycle(memory: Memory) -> None:
    entry = struct.pack("<QQQQ", LIST, LIST, 0x20000, 1)
    memory.pieces = {DESCRIPTOR: struct.pack("<IIQQ", 1, 0, 0, LIST), LIST: entry}


def _dangling(memory: Memory) -> None:
    memory.pieces[DESCRIPTOR] = struct.pack("<IIQQ", 1, 0, 0, 0xDEAD_0000)


def _not_linked_back(memory: Memory) -> None:
    entry = struct.pack("<QQQQ", 0, 0x1234, 0x20000, 1)
    memory.pieces = {DESCRIPTOR: struct.pack("<IIQQ", 1, 0, 0, LIST), LIST: entry}


@pytest.mark.parametrize("spoil", [_cycle, _dangling, _not_linked_back])
def test_a_list_that_cannot_be_walked(spoil: object) -> None:
    memory = Memory()
    assert callable(spoil)
    spoil(memory)
    assert _entries(memory) is None


def test_another_version_is_no_list() -> None:
    memory = Memory()
    memory.pieces[DESCRIPTOR] = struct.pack("<IIQQ", 2, 0, 0, 0)
    assert state(memory.read, DESCRIPTOR) is None
    assert state(memory.read, 0x77) is None


def test_fuzzed_objects() -> None:
    source = random.Random(4)
    understood = 0
    for _ in range(4000):
        image = bytearray(OBJECT)
        for _ in range(source.randrange(1, 6)):
            image[source.randrange(len(image))] = source.randrange(256)
        if source.random() < 0.3:
            del image[source.randrange(len(image)) :]
        try:
            code = object_code(bytes(image), 9)
        except BadElf:
            continue
        understood += bool(code.functions)
        for function in code.functions:
            assert function.size > 0
            assert function.name
    assert understood > 100
