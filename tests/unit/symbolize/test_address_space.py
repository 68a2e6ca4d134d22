"""Which mapping an address lay in: generations and look-ups, by rows and laws."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixstack.model import Mapping, MappingSnapshot
from mixstack.symbolize.address_space import AddressSpaces

PID = 4


def mapping(start: int, end: int, module: int | None = 1, label: str | None = None) -> Mapping:
    return Mapping(start, end, 0, module, label)


def spaces(*snapshots: tuple[int, list[Mapping]]) -> AddressSpaces:
    return AddressSpaces(
        {PID: tuple(MappingSnapshot(PID, t, tuple(mappings)) for t, mappings in snapshots)}
    )


A, B = mapping(10, 20, 1), mapping(30, 40, 2)
OTHER = mapping(10, 20, 3)
GROWN = mapping(10, 28, 1)

ROWS = [
    ("inside", [(0, [A, B])], 5, 15, A),
    ("first byte", [(0, [A, B])], 5, 10, A),
    ("behind the end", [(0, [A, B])], 5, 20, None),
    ("gap", [(0, [A, B])], 5, 25, None),
    ("before the first snapshot", [(9, [A])], 5, 15, A),
    ("replaced: before", [(0, [A]), (9, [OTHER])], 8, 15, A),
    ("replaced: from then on", [(0, [A]), (9, [OTHER])], 9, 15, OTHER),
    ("unmapped: its name stays", [(0, [A, B]), (9, [B])], 12, 15, A),
    ("unmapped long ago", [(0, [A, B]), (9, [mapping(30, 40, 5)])], 12, 15, A),
    ("noticed later", [(0, [A]), (9, [A, B])], 5, 35, B),
    ("noticed later, in another generation", [(0, [A]), (9, [OTHER, B])], 5, 35, B),
    ("the first later one", [(0, [A]), (9, [OTHER, B]), (12, [mapping(30, 40, 7)])], 5, 35, B),
    ("grown", [(0, [A]), (9, [GROWN])], 5, 27, GROWN),
    ("grown: the part that was there", [(0, [A]), (9, [GROWN])], 5, 15, GROWN),
    ("no snapshot", [], 5, 15, None),
]


@pytest.mark.parametrize(("snapshots", "time", "address", "expected"), [r[1:] for r in ROWS],
                         ids=[r[0] for r in ROWS])  # fmt: skip
def test_row(
    snapshots: list[tuple[int, list[Mapping]]], time: int, address: int, expected: Mapping | None
) -> None:
    of = spaces(*snapshots)
    assert of.find(PID, of.generation(PID, time), address) == expected


def test_unknown_process() -> None:
    of = spaces((0, [A]))
    assert of.find(99, of.generation(99, 5), 15) is None


def test_what_only_grows_is_one_generation() -> None:
    of = spaces(*[(t, [mapping(10 * i, 10 * i + 5, i) for i in range(t)]) for t in range(1, 50)])
    assert {of.generation(PID, t) for t in range(60)} == {0}


def test_a_contradiction_begins_a_generation() -> None:
    of = spaces((0, [A]), (5, [A, B]), (9, [OTHER]), (11, [OTHER, B]))
    assert [of.generation(PID, t) for t in (-1, 0, 8, 9, 10, 11, 99)] == [0, 0, 0, 1, 1, 1, 1]


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, list[Mapping]]]:
    out = []
    for time in range(draw(st.integers(1, 5))):
        cuts = sorted(draw(st.sets(st.integers(0, 12), min_size=2, max_size=6)))
        mappings = [
            mapping(start, end, draw(st.integers(1, 2)))
            for start, end in zip(cuts[::2], cuts[1::2], strict=False)
        ]
        out.append((time * 10, mappings))
    return out


@given(histories(), st.integers(0, 60), st.integers(0, 12))
def test_an_address_means_what_the_snapshots_say(
    history: list[tuple[int, list[Mapping]]], time: int, address: int
) -> None:
    """The newest snapshot that covers it decides; else it is one of those that ever covered it."""
    of = spaces(*history)
    found = of.find(PID, of.generation(PID, time), address)
    covering = [
        (t, m.module_id) for t, mappings in history for m in mappings if m.start <= address < m.end
    ]
    current = [t for t, _ in history if t <= time][-1:]
    now = [module for t, module in covering if [t] == current]
    if now:
        assert found is not None
        assert found.module_id == now[0]
    elif covering:
        assert found is not None
        assert found.module_id in {module for _, module in covering}
    else:
        assert found is None


@given(histories(), st.integers(0, 12))
def test_equal_generations_name_alike(
    history: list[tuple[int, list[Mapping]]], address: int
) -> None:
    of = spaces(*history)
    answers: dict[int, set[Mapping | None]] = {}
    for time in range(60):
        generation = of.generation(PID, time)
        answers.setdefault(generation, set()).add(of.find(PID, generation, address))
    assert all(len(found) == 1 for found in answers.values())
