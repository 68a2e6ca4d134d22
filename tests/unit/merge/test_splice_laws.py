"""The laws of the join, on legal stacks, on spoiled ones and on nonsense."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixstack.merge.splice import splice
from mixstack.model import Fit, Step
from tests.unit.merge.truth import (
    SPOILERS,
    Spoil,
    cfa_wrong,
    chain_torn,
    check_conserved,
    check_cut_keeps_slots,
    check_filled,
    check_not_believed,
    check_one_in_each,
    check_truth,
    counted_stack,
    inner_frame_lost,
    markers_lost,
    native_stack_lost,
    natives_shuffled,
    outer_frames_lost,
    single_stack,
    true_stack,
)

RANDOM = st.randoms(use_true_random=False)


@given(rng=RANDOM)
def test_a_legal_stack_becomes_the_truth(rng: Random) -> None:
    truth = true_stack(rng)
    merged = splice(truth.raw)
    check_truth(truth, merged)
    check_conserved(truth.raw, merged)


@pytest.mark.parametrize("spoil", SPOILERS, ids=lambda spoil: spoil.__name__)
@given(rng=RANDOM)
def test_a_spoiled_stack_loses_nothing_and_claims_nothing(spoil: Spoil, rng: Random) -> None:
    truth = true_stack(rng)
    spoiled = spoil(rng, truth.raw)
    merged = splice(spoiled)
    check_conserved(spoiled, merged)
    check_not_believed(truth, spoiled, merged)


@pytest.mark.parametrize("spoil", [outer_frames_lost, chain_torn], ids=lambda spoil: spoil.__name__)
@given(rng=RANDOM)
def test_a_cut_at_the_outer_end_misplaces_nothing(spoil: Spoil, rng: Random) -> None:
    truth = true_stack(rng)
    merged = splice(spoil(rng, truth.raw))
    assert merged.fit is Fit.PARTIAL
    check_cut_keeps_slots(truth, merged)


@given(rng=RANDOM)
def test_knowing_the_evaluators_finds_the_slot_of_a_cut_segment(rng: Random) -> None:
    truth = true_stack(rng, resync=False)
    held = {item[0] for item in truth.items if getattr(item, "evaluator", False)}
    merged = splice(chain_torn(rng, truth.raw), lambda frame: frame in held)
    check_cut_keeps_slots(truth, merged)


@given(rng=RANDOM)
@settings(max_examples=200)
def test_spoiled_again_and_again_nothing_is_lost(rng: Random) -> None:
    raw = true_stack(rng).raw
    for _ in range(3):
        spoil = rng.choice([s for s in SPOILERS if raw.native or s is chain_torn])
        raw = spoil(rng, raw)
    merged = splice(raw, lambda frame: rng.random() < 0.5)
    check_conserved(raw, merged)


@given(rng=RANDOM)
def test_a_frame_pointer_step_never_gets_a_marker_unasked(rng: Random) -> None:
    raw = true_stack(rng, resync=False).raw
    native = tuple(
        frame._replace(step=Step.FRAME_POINTER) if frame.step is Step.CALLER else frame
        for frame in raw.native
    )
    merged = splice(raw._replace(native=native))
    shown = [item for item in merged.items if getattr(item, "evaluator", False)]
    outer = dict(zip(native[1:], native, strict=False))
    for item in shown:
        frame = item[0]
        assert frame not in outer or outer[frame].step is not Step.FRAME_POINTER


@given(rng=RANDOM, entering=st.booleans())
def test_what_can_be_counted_becomes_the_truth(rng: Random, entering: bool) -> None:
    truth, evaluators = counted_stack(rng, entering=entering)
    merged = splice(truth.raw, evaluators.__contains__)
    check_truth(truth, merged)
    check_conserved(truth.raw, merged)


@pytest.mark.parametrize(
    "spoil",
    [outer_frames_lost, native_stack_lost, chain_torn, inner_frame_lost],
    ids=lambda spoil: spoil.__name__,
)
@given(rng=RANDOM)
def test_what_cannot_be_counted_claims_nothing(spoil: Spoil, rng: Random) -> None:
    truth, evaluators = counted_stack(rng, entering=False)
    spoiled = spoil(rng, truth.raw)
    merged = splice(spoiled, evaluators.__contains__)
    check_conserved(spoiled, merged)
    check_not_believed(truth, spoiled, merged)
    assert merged.fit is not Fit.EXACT


@given(rng=RANDOM)
@settings(max_examples=200)
def test_whoever_is_taken_for_an_evaluator_nothing_is_lost(rng: Random) -> None:
    raw = counted_stack(rng, entering=False)[0].raw
    raw = rng.choice([s for s in SPOILERS if raw.native or s is chain_torn])(rng, raw)
    merged = splice(raw, lambda _: rng.random() < 0.5, lambda _: rng.random() < 0.2)
    check_conserved(raw, merged)


@given(rng=RANDOM)
def test_lost_markers_are_made_up_for_by_count(rng: Random) -> None:
    truth, evaluators = single_stack(rng, entering=False)
    spoiled = markers_lost(rng, truth.raw)
    merged = splice(spoiled, evaluators.__contains__)
    check_filled(truth, spoiled, merged)
    check_conserved(spoiled, merged)


@given(rng=RANDOM, entering=st.booleans())
def test_lost_markers_and_a_gap_that_does_not_fit(rng: Random, entering: bool) -> None:
    """An evaluator is being entered, or some are not known: what is placed is placed rightly."""
    truth, evaluators = single_stack(rng, entering=entering)
    spoiled = markers_lost(rng, truth.raw)
    known = {frame for frame in evaluators if entering or rng.random() < 0.8}
    merged = splice(spoiled, known.__contains__)
    check_conserved(spoiled, merged)
    check_not_believed(truth, spoiled, merged)
    check_cut_keeps_slots(truth, merged)


@pytest.mark.parametrize(
    "spoil", [outer_frames_lost, native_stack_lost, chain_torn], ids=lambda spoil: spoil.__name__
)
@given(rng=RANDOM)
def test_lost_markers_and_a_cut_stack_misplace_nothing(spoil: Spoil, rng: Random) -> None:
    truth, evaluators = single_stack(rng, entering=False)
    spoiled = markers_lost(rng, spoil(rng, truth.raw))
    merged = splice(spoiled, evaluators.__contains__)
    check_conserved(spoiled, merged)
    check_not_believed(truth, spoiled, merged)
    if spoil is not chain_torn:
        check_cut_keeps_slots(truth, merged)


@given(rng=RANDOM)
@settings(max_examples=200)
def test_no_native_frame_ever_holds_two_of_them(rng: Random) -> None:
    raw = markers_lost(rng, single_stack(rng, entering=rng.random() < 0.5)[0].raw)
    # Of two equal CFAs neither frame holds anything, but a law tells frames apart by pc and CFA.
    spoilers = [s for s in SPOILERS if s not in (cfa_wrong, natives_shuffled)]
    raw = rng.choice([s for s in spoilers if raw.native or s is chain_torn])(rng, raw)
    merged = splice(raw, lambda _: rng.random() < 0.6, lambda _: rng.random() < 0.2)
    check_conserved(raw, merged)
    check_one_in_each(merged)
