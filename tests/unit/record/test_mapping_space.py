"""Lists of mappings in the probe's memory: placed, shared, and given back after a while."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mixstack.record.mapping_space import ENTRY_SIZE, GRACE_S, MappingRange, MappingSpace

ROOM = 16


def entries(count: int, byte: int = 1) -> bytes:
    return bytes([byte]) * (count * ENTRY_SIZE)


def space() -> MappingSpace:
    return MappingSpace(memoryview(bytearray(ROOM * ENTRY_SIZE)))


def test_what_does_not_fit_has_no_place() -> None:
    assert space().place(entries(ROOM + 1), 0) is None


def test_an_empty_list_needs_no_room() -> None:
    full = space()
    assert full.place(entries(ROOM), 0) is not None
    nothing = full.place(b"", 0)
    assert nothing == (0, 0)
    full.release(full.share(nothing), 0)


def test_room_is_used_again_only_after_a_while() -> None:
    few = space()
    placed = few.place(entries(ROOM), 10.0)
    assert placed is not None
    few.release(placed, 10.0)
    assert few.place(entries(1), 10.0 + GRACE_S / 2) is None
    assert few.place(entries(ROOM), 10.0 + GRACE_S) == placed


def test_a_shared_list_stays_until_its_last_user_goes() -> None:
    few = space()
    placed = few.place(entries(ROOM), 0)
    assert placed is not None
    few.share(placed)
    few.release(placed, 0)
    assert few.place(entries(1), 100.0) is None
    few.release(placed, 100.0)
    assert few.place(entries(1), 200.0) is not None


class Law(RuleBasedStateMachine):
    """No list is ever written over while it is in use, or shortly after."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = bytearray(ROOM * ENTRY_SIZE)
        self.space = MappingSpace(memoryview(self.memory))
        self.now = 0.0
        self.byte = 0
        self.used: list[tuple[MappingRange, int]] = []
        self.left: list[tuple[float, MappingRange, int]] = []

    @rule(count=st.integers(0, ROOM))
    def place(self, count: int) -> None:
        self.byte = self.byte % 255 + 1
        placed = self.space.place(entries(count, self.byte), self.now)
        if placed is not None:
            assert placed.size == count
            self.used.append((placed, self.byte))

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        if self.used:
            gone = self.used.pop(data.draw(st.integers(0, len(self.used) - 1)))
            self.space.release(gone[0], self.now)
            self.left.append((self.now, *gone))

    @rule(data=st.data())
    def share(self, data: st.DataObject) -> None:
        if self.used:
            shared, byte = self.used[data.draw(st.integers(0, len(self.used) - 1))]
            self.used.append((self.space.share(shared), byte))

    @rule(seconds=st.floats(0, 3))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def nothing_is_written_over(self) -> None:
        kept = [(r, byte) for since, r, byte in self.left if self.now - since < GRACE_S]
        for where, byte in [*self.used, *kept]:
            start = where.first * ENTRY_SIZE
            assert self.memory[start : start + where.size * ENTRY_SIZE] == entries(where.size, byte)


TestLaw = Law.TestCase
TestLaw.settings = settings(max_examples=30, stateful_step_count=30)
