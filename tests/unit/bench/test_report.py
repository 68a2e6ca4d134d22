"""The page of the benchmarks, made of results that are written here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.report import Origin, Results, Section, geometric_mean, spread
from tests.bench.run import FOLDER, PAGE, SECTIONS, latest

OLD = Origin("2026-01-02 10:00", "aaaaaaa", "machine", {"perf": "6.1", "py-spy": "0.4.2"})
NEW = Origin("2026-03-04 10:00", "bbbbbbb", "machine", {"perf": "6.1", "py-spy": "0.4.3"})


def a_section(title: str, seconds: float, load: float = 0.1) -> Section:
    out = Section(title, ("what", "seconds", "goal"), "A note.", load=load, loop_ms=20.0)
    out.add("it", f"{seconds:.1f} s", out.goal(f"{title}: it", seconds, 1.0, " s", 1))
    out.values["it: seconds"] = [seconds]
    return out


def test_a_median_with_its_spread() -> None:
    assert spread([3.0, 1.0, 10.0]).show(" s", 1) == "3.0 s (1.0–10.0)"
    assert spread([1.0, 2.0]).median == 1.5


def test_ratios_have_a_geometric_mean() -> None:
    assert geometric_mean([2.0, 0.5]) == pytest.approx(1.0)


def test_a_missed_goal_is_marked_and_stands_at_the_head() -> None:
    page = Results({"one": (NEW, a_section("One", 1.04)), "two": (NEW, a_section("Two", 1.06))})
    text = page.document(["two", "one"])
    assert "| it | 1.1 s | ≤ 1 s **missed** |" in text
    head, _, sections = text.partition("## Two")
    assert "- Two: it: 1.1 s, the goal is ≤ 1 s\n" in head
    assert "## One" in sections


def test_a_goal_is_judged_by_the_value_and_not_by_what_is_shown() -> None:
    section = a_section("One", 1.04)
    assert section.rows == [("it", "1.0 s", "≤ 1 s **missed**")]
    assert a_section("One", 1.0).missed == []


def test_reached_goals_are_said_to_be() -> None:
    text = Results({"one": (NEW, a_section("One", 0.5))}).document(["one"])
    assert "All goals are reached." in text
    assert "missed**" not in text


def test_a_section_that_was_not_run_again_says_where_it_is_from() -> None:
    results = Results({"one": (OLD, a_section("One", 0.5)), "two": (NEW, a_section("Two", 0.5))})
    head, _, sections = results.document(["one", "two"]).partition("## One")
    assert "- 2026-03-04 10:00 UTC, commit bbbbbbb" in head
    one, _, two = sections.partition("## Two")
    assert "From 2026-01-02 10:00 UTC, commit aaaaaaa; py-spy 0.4.2.\n" in one
    assert "From" not in two


def test_a_section_of_another_machine_says_so() -> None:
    elsewhere = Origin(OLD.date, OLD.commit, "laptop", NEW.versions)
    results = Results({"one": (elsewhere, a_section("1", 0.5)), "two": (NEW, a_section("2", 0.5))})
    assert "commit aaaaaaa, on laptop.\n" in results.document(["one", "two"])


def test_what_was_never_measured_is_named() -> None:
    text = Results({"one": (NEW, a_section("One", 0.5))}).document(["one", "two", "three"])
    assert "Not measured yet: two, three.\n" in text


@pytest.mark.parametrize(("load", "told"), [(0.5, False), (0.51, True), (7.0, True)])
def test_a_busy_machine_is_told_beside_the_section(load: float, told: bool) -> None:
    text = a_section("One", 0.5, load).markdown()
    assert f"load average {load:.1f}" in text
    assert ("not quiet" in text) is told


def test_results_are_read_as_they_were_written() -> None:
    written = Results({"one": (OLD, a_section("One", 1.5)), "two": (NEW, a_section("Two", 0.5))})
    read = Results.from_json(written.as_json())
    assert read == written
    assert read.document(["two", "one"]) == written.document(["two", "one"])


def test_every_row_of_a_table_has_a_cell_for_each_column() -> None:
    with pytest.raises(AssertionError):
        a_section("One", 0.5).add("too", "few")


def test_the_newest_results_are_those_of_the_last_date_and_a_quick_run_is_none(
    tmp_path: Path,
) -> None:
    assert latest(tmp_path, quick=False) == Results()
    for name, origin in (("2026-03-04", NEW), ("2026-01-02", OLD), ("2026-05-06-quick", OLD)):
        results = Results({"one": (origin, a_section("One", 0.5))})
        (tmp_path / f"{name}.json").write_text(results.as_json(), encoding="utf-8")
    assert latest(tmp_path, quick=False).sections["one"][0] == NEW
    assert latest(tmp_path, quick=True).sections["one"][0] == OLD


def test_the_page_is_what_the_newest_results_make() -> None:
    results = latest(FOLDER, quick=False)
    if not results.sections:
        pytest.skip("no results are kept here yet: make bench")
    assert PAGE.read_text(encoding="utf-8") == results.document(SECTIONS)
