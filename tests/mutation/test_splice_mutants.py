"""Each line of the join matters: here fails what no named case and no law would notice."""

from __future__ import annotations

import importlib.util
import inspect
import io
from collections.abc import Callable
from random import Random
from types import ModuleType
from typing import Any

from coverage import Coverage

from mixstack.merge import arrange
from mixstack.merge import splice as join
from mixstack.model import MergedStack, RawStack
from tests.mutation.mutants import module_of, mutants
from tests.unit.merge.splice_cases import CASES, expected, run
from tests.unit.merge.truth import (
    SPOILERS,
    chain_torn,
    check_conserved,
    check_cut_keeps_slots,
    check_filled,
    check_not_believed,
    check_truth,
    markers_lost,
    outer_frames_lost,
    single_stack,
    true_stack,
)

SEEDS = 60
Splice = Callable[[RawStack], MergedStack]

_ALL_RISE = "if native and (not resynced) and all(map(gt, tops, bottoms))"
_PLAIN = "return _Extents([-b for b in bottoms], tops, [True] * len(native), tops[0])"
_ALL_IN_ORDER = "if all((outer > inner for (_, outer), (_, inner) in pairwise(marked)))"

# Mutants that no input can tell from the original, and why.
EQUIVALENT: dict[str, str] = {
    "_nothing_known: return False -> pass": "None is as false as False",
    "_between: True -> False": "the lists of the strict zip have just been found as long",
    "_in_order: True -> False": "both lists of the strict zip have one entry per marker",
    **{
        f"{function}: {change}": "only slower: what it passes over would find the same"
        for function, change in (
            ("_extents", f"{_ALL_RISE}:\n    {_PLAIN} -> pass"),
            ("_extents", f"{_PLAIN} -> pass"),
            ("_in_order", f"{_ALL_IN_ORDER}:\n    return marked -> pass"),
            ("_in_order", "return marked -> pass"),
            (
                "_place",
                "not _whole_chain(stack) or len(slots) == len(segments) -> not _whole_chain(stack)",
            ),
        )
    },
}


def laws() -> list[Callable[[Splice], None]]:
    """The laws on stacks made once: each raises AssertionError for a join that breaks it."""
    found: list[Callable[[Splice], None]] = []
    for seed in range(SEEDS):
        rng = Random(seed)
        truth = true_stack(rng)
        found.append(lambda splice, truth=truth: check_truth(truth, splice(truth.raw)))
        for spoil in SPOILERS:
            spoiled = spoil(rng, truth.raw)

            def law(splice: Splice, truth: Any = truth, spoiled: Any = spoiled) -> None:
                merged = splice(spoiled)
                check_conserved(spoiled, merged)
                check_not_believed(truth, spoiled, merged)

            found.append(law)
            if spoil in (outer_frames_lost, chain_torn):
                found.append(
                    lambda splice, truth=truth, spoiled=spoiled: check_cut_keeps_slots(
                        truth, splice(spoiled)
                    )
                )
        found.append(_filling(rng))
    return found


def _filling(rng: Random) -> Callable[[Any], None]:
    truth, evaluators = single_stack(rng, entering=False)
    spoiled = markers_lost(rng, truth.raw)
    return lambda splice: check_filled(truth, spoiled, splice(spoiled, evaluators.__contains__))


def notices(splice: Any, checks: list[Callable[[Splice], None]]) -> bool:
    """Whether any named case or law fails, or the mutant itself does."""
    try:
        if any(run(row, splice) != expected(row) for row in CASES):
            return True
        for check in checks:
            check(splice)
    except Exception:  # a mutant may fail in any way
        return True
    return False


def test_the_original_passes() -> None:
    assert not notices(join.splice, laws())


def _splice_of_join(mutant: ModuleType) -> Any:
    return mutant.splice


def _splice_of_arrange(mutant: ModuleType) -> Any:
    return lambda stack, *known: mutant.merged_stack(stack, join.join(stack, *known))


def test_every_mutant_is_noticed() -> None:
    checks = laws()
    survivors, used, count = [], set(), 0
    for module, splice_of in ((join, _splice_of_join), (arrange, _splice_of_arrange)):
        for mutant in mutants(inspect.getsource(module)):
            count += 1
            if notices(splice_of(module_of(mutant, "mutant")), checks):
                continue
            name = f"{mutant.function}: {mutant.change}"
            if name in EQUIVALENT:
                used.add(name)
            else:
                survivors.append(f"{module.__name__}, line {mutant.line}, {name}")
    assert not survivors, "\n".join(survivors)
    assert used == set(EQUIVALENT), "no longer survivors"
    assert count > 150


def test_the_named_cases_reach_every_branch() -> None:
    path = inspect.getsourcefile(join)
    assert path is not None
    measured = Coverage(branch=True, include=[path], data_file=None)
    spec = importlib.util.spec_from_file_location("measured_splice", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with measured.collect():
        spec.loader.exec_module(module)
        for row in CASES:
            run(row, module.splice)
    report = io.StringIO()
    share = measured.report(file=report, show_missing=True, skip_empty=False)
    assert share == 100, report.getvalue()
