"""The list of threads and the slot, in memory that is a dictionary."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixstack.target.layouts import COMPILED
from mixstack.target.thread_states import (
    ReadMemory,
    ThreadState,
    find_tss_slot,
    has_several_interpreters,
    is_own_state,
    walk_thread_states,
)

LAYOUT = COMPILED[3, 12]
HEAD = 0x1000
BLOCK = 0x900


class Memory:
    """Words by address; what was not written cannot be read."""

    def __init__(self) -> None:
        self.words: dict[int, int] = {HEAD: 0}

    def read(self, address: int, size: int) -> bytes | None:
        words = [self.words.get(at) for at in range(address, address + size, 8)]
        if None in words:
            return None
        return b"".join(word.to_bytes(8, "little") for word in words if word is not None)

    def interpreter(self, address: int, threads: list[tuple[int, int]], following: int = 0) -> None:
        """An interpreter state with thread states (address, thread id)."""
        self.words[address + LAYOUT.interp_next] = following
        self.words[address + LAYOUT.interp_threads_head] = threads[0][0] if threads else 0
        for i, (tstate, thread_id) in enumerate(threads):
            self.words[tstate + LAYOUT.tstate_interp] = address
            self.words[tstate + LAYOUT.tstate_thread_id] = thread_id
            self.words[tstate + LAYOUT.tstate_next] = (*threads, (0, 0))[i + 1][0]
            self.words[thread_id] = thread_id

    def thread(self, thread_id: int, slots: dict[int, tuple[int, int]]) -> None:
        """A `struct pthread` with {offset: (seq, data)}."""
        for at in range(0, BLOCK, 8):
            self.words[thread_id + at] = 0
        for offset, (seq, data) in slots.items():
            self.words[thread_id + offset - 8] = seq
            self.words[thread_id + offset] = data

    def walk(self, limit: int = 1000) -> tuple[tuple[ThreadState, ...], bool]:
        return walk_thread_states(self.read, HEAD, LAYOUT, limit)


def test_before_the_runtime_is_initialised_there_are_no_threads() -> None:
    assert Memory().walk() == ((), True)


def test_threads_of_all_interpreters_are_found() -> None:
    memory = Memory()
    memory.words[HEAD] = 0x10000
    memory.interpreter(0x10000, [(0x20000, 0xA000)], following=0x11000)
    memory.interpreter(0x11000, [(0x21000, 0xB000), (0x22000, 0xC000)])
    assert memory.walk() == (
        (
            ThreadState(0x20000, 0xA000),
            ThreadState(0x21000, 0xB000),
            ThreadState(0x22000, 0xC000),
        ),
        True,
    )
    assert len(memory.walk(limit=2)[0]) == 2


def test_a_thread_state_that_its_thread_has_not_taken_yet_is_passed_over() -> None:
    memory = Memory()
    memory.words[HEAD] = 0x10000
    memory.interpreter(0x10000, [(0x20000, 0), (0x21000, 0xB000)])
    assert memory.walk() == ((ThreadState(0x21000, 0xB000),), True)


def test_an_entry_whose_thread_is_none_is_not_used() -> None:
    memory = Memory()
    memory.words[HEAD] = 0x10000
    memory.interpreter(0x10000, [(0x20000, 0xA000), (0x21000, 0xB000), (0x22000, 0xC000)])
    memory.words[0xA000] = 0xA008
    del memory.words[0xC000]
    assert memory.walk() == ((ThreadState(0x21000, 0xB000),), False)


def test_a_circle_is_noticed() -> None:
    memory = Memory()
    memory.words[HEAD] = 0x10000
    memory.interpreter(0x10000, [(0x20000, 0xA000), (0x21000, 0xB000)])
    memory.words[0x21000 + LAYOUT.tstate_next] = 0x20000
    assert memory.walk() == ((ThreadState(0x20000, 0xA000), ThreadState(0x21000, 0xB000)), False)


def test_a_circle_of_interpreters_ends() -> None:
    memory = Memory()
    memory.words[HEAD] = 0x10000
    memory.interpreter(0x10000, [], following=0x10000)
    assert memory.walk() == ((), True)


def test_an_entry_that_does_not_point_back_at_its_interpreter_is_no_thread_state() -> None:
    memory = Memory()
    memory.words[HEAD] = 0x10000
    memory.interpreter(0x10000, [(0x20000, 0xA000)])
    memory.words[0x20000 + LAYOUT.tstate_interp] = 0x10008
    assert memory.walk() == ((), False)


@given(st.data())
def test_a_walk_through_any_memory_ends(data: st.DataObject) -> None:
    addresses = st.sampled_from([0, HEAD, 0x10000, 0x20000, 0x20088])
    memory: dict[int, int | None] = {}

    def read(address: int, size: int) -> bytes | None:
        if address not in memory:
            memory[address] = data.draw(st.none() | addresses)
        word = memory[address]
        return None if word is None else word.to_bytes(8, "little")

    walk_thread_states(read, HEAD, LAYOUT)


def slot(key: int) -> int:
    return 0x310 + 16 * key + 8


A, B = ThreadState(0x20000, 0xA000), ThreadState(0x21000, 0xB000)


@pytest.mark.parametrize(
    ("a", "b", "key", "expected"),
    [
        pytest.param(
            {slot(3): (1, A.address)}, {slot(3): (1, B.address)}, 3, slot(3), id="expected place"
        ),
        pytest.param(
            {slot(3): (5, A.address)}, {}, 3, slot(3), id="one thread has it, one not yet"
        ),
        pytest.param(
            {slot(3): (1, A.address)}, {slot(3): (1, B.address)}, None, slot(3), id="unknown key"
        ),
        pytest.param(
            {slot(3): (1, A.address)}, {slot(3): (1, B.address)}, 9, slot(3), id="wrong key"
        ),
        pytest.param(
            {slot(3): (1, A.address)}, {slot(3): (1, B.address)}, 2**31, slot(3), id="absurd key"
        ),
        pytest.param(
            {0x2F8: (1, A.address)}, {0x2F8: (1, B.address)}, 3, 0x2F8, id="another C library"
        ),
        pytest.param(
            {slot(3): (1, A.address), slot(5): (1, A.address)},
            {slot(3): (1, B.address), slot(5): (1, B.address)},
            5,
            slot(5),
            id="two places: the key's",
        ),
        pytest.param(
            {slot(3): (1, A.address), slot(5): (1, A.address)},
            {slot(3): (1, B.address), slot(5): (1, B.address)},
            None,
            None,
            id="two places and no key",
        ),
        pytest.param(
            {slot(3): (1, A.address), slot(5): (1, A.address)},
            {slot(5): (1, B.address)},
            None,
            slot(5),
            id="two places in one thread, one in both",
        ),
        pytest.param(
            {slot(3): (1, A.address)}, {slot(4): (1, B.address)}, None, None, id="no agreement"
        ),
        pytest.param(
            {slot(3): (2, A.address)}, {slot(3): (2, B.address)}, 3, None, id="the key was deleted"
        ),
        pytest.param(
            {slot(3): (2**33 + 1, A.address)}, {}, 3, None, id="a pointer before it, no counter"
        ),
        pytest.param(
            {slot(3): (1, B.address)}, {slot(3): (1, A.address)}, 3, None, id="each the other's"
        ),
        pytest.param({}, {}, 3, None, id="nowhere"),
    ],
)
def test_the_slot(
    a: dict[int, tuple[int, int]],
    b: dict[int, tuple[int, int]],
    key: int | None,
    expected: int | None,
) -> None:
    memory = Memory()
    memory.thread(A.thread_id, a)
    memory.thread(B.thread_id, b)
    assert find_tss_slot(memory.read, [A, B], key) == expected


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        pytest.param(A.address, B.address, True, id="each has its own"),
        pytest.param(A.address, 0, False, id="half of them have none: the attached thread state"),
        pytest.param(0, 0, False, id="nobody has one"),
        pytest.param(B.address, A.address, False, id="each has the other's"),
        pytest.param(A.address, 0xDEAD0, False, id="no thread state"),
        pytest.param(A.address, None, False, id="one cannot be read, half of them"),
    ],
)
def test_a_variable_of_the_thread(a: int | None, b: int | None, expected: bool) -> None:
    memory = Memory()
    for state, value in ((A, a), (B, b)):
        memory.words[state.address + LAYOUT.tstate_thread_id] = state.thread_id
        if value is not None:
            memory.words[state.thread_id - 40] = value
    assert is_own_state(memory.read, [A, B], LAYOUT, -40) is expected


def test_a_thread_that_has_not_taken_its_thread_state_is_outvoted() -> None:
    memory = Memory()
    states = [ThreadState(0x20000 + i * 0x1000, 0xA000 + i * 0x1000) for i in range(3)]
    for state in states:
        memory.words[state.address + LAYOUT.tstate_thread_id] = state.thread_id
        memory.words[state.thread_id - 40] = state.address if state is not states[0] else 0
    assert is_own_state(memory.read, states, LAYOUT, -40)


def test_another_state_of_the_same_thread_is_its_own() -> None:
    memory = Memory()
    second = ThreadState(0x28000, A.thread_id)
    for state in (A, second):
        memory.words[state.address + LAYOUT.tstate_thread_id] = state.thread_id
    memory.words[A.thread_id - 40] = second.address
    assert is_own_state(memory.read, [A, second], LAYOUT, -40)


@pytest.mark.parametrize("threads", [0, 1, 2])
def test_one_interpreter_or_several(threads: int) -> None:
    memory = Memory()
    assert not has_several_interpreters(memory.read, HEAD, LAYOUT)
    memory.words[HEAD] = 0x10000
    memory.interpreter(0x10000, [(0x20000, 0xA000)] * threads)
    assert not has_several_interpreters(memory.read, HEAD, LAYOUT)
    memory.interpreter(0x10000, [], following=0x11000)
    assert has_several_interpreters(memory.read, HEAD, LAYOUT)


def test_no_slot_without_threads_or_without_their_memory() -> None:
    nothing: ReadMemory = lambda address, size: None  # noqa: E731
    assert find_tss_slot(nothing, [A], 3) is None
    assert find_tss_slot(nothing, [], 3) is None


def test_a_pointer_across_two_words_is_no_slot() -> None:
    block = bytearray(BLOCK)
    block[0x31C : 0x31C + 8] = A.address.to_bytes(8, "little")
    block[0x314] = 1
    read: Callable[[int, int], bytes | None] = lambda address, size: bytes(block)  # noqa: E731
    assert find_tss_slot(read, [A], None) is None
