"""The page of the benchmarks says what was measured, and no more."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import pytest

from bench.goals import NEVER, goals, said
from bench.plots import bars, lines, ticks
from bench.results import Measured, read, write
from bench.scenarios import SCENARIOS

SLOTS = next(scenario for scenario in SCENARIOS if scenario.name == "slots")


def run(entrant: str, **figures: float | None) -> dict[str, Any]:
    known = {"edits": 10, "slot_use": 0.99, "polls": 50, "refused_429": 0, "seconds": 100.0, "cpu_s": 1.0}
    return {"entrant": entrant, **known, "redis_commands": 300, "rss_mb": 100.0, **figures}


def measured(*runs: dict[str, Any]) -> Measured:
    return Measured(scenario=SLOTS, quick=False, day="2026-11-22", machine={"cores": 2}, runs=runs)


def verdicts(*runs: dict[str, Any]) -> dict[str, bool | None]:
    return {goal.what: goal.met for goal in goals({"slots": measured(*runs)})}


def test_a_goal_is_judged_by_the_median() -> None:
    use = "slot use, 24 slots, 7 s ± 15 % an edit"

    good, bad = (verdicts(*(run("retouch", slot_use=u) for u in uses)) for uses in ((0.5, 0.98, 1), (1, 0.97, 0.5)))

    assert good[use] is True
    assert bad[use] is False


def test_a_goal_beside_the_script_needs_the_script() -> None:
    cpu = "CPU an edit (ms)"

    assert verdicts(run("retouch", cpu_s=2.0))[cpu] is None
    assert verdicts(run("retouch", cpu_s=2.0), run("script", cpu_s=1.0))[cpu] is True
    assert verdicts(run("retouch", cpu_s=2.1), run("script", cpu_s=1.0))[cpu] is False


def test_more_workers_may_not_use_the_slots_less() -> None:
    names = ("retouch", "retouch-2", "retouch-4")

    def met(*uses: float) -> bool | None:
        book = {"workers": measured(*(run(name, slot_use=use) for name, use in zip(names, uses, strict=False)))}
        return next(goal.met for goal in goals(book) if goal.what == "slot use with 1, 2, 4 workers")

    assert met(0.97, 0.968, 0.98) is True
    assert met(0.97, 0.98, 0.96) is False
    assert met(0.97, 0.98) is None


def test_planning_is_judged_by_the_command_that_plans() -> None:
    plans = measured(run("retouch plan", rows_a_second=99_400.0), run("retouch submit", rows_a_second=200_000.0))

    found = {goal.what: goal for goal in goals({"plan": plans})}["rows planned a second, two cores"]

    assert (found.ours, found.met) == ("99,400", False)


def test_what_was_not_measured_is_not_judged() -> None:
    found = {goal.what: goal for goal in goals({})}

    assert {goal.met for goal in found.values()} == {None}
    assert {goal.ours for goal in found.values()} == {NEVER}


def test_a_run_without_a_figure_leaves_it_unmeasured() -> None:
    both = measured(run("retouch"), run("retouch", slot_use=None))

    assert both.spread("retouch", "slot_use") is None
    assert both.spread("retouch", "polls", an_edit=True) == (5.0, 5.0, 5.0, 2)


def test_a_figure_of_several_runs_names_how_far_they_lie_apart() -> None:
    three = measured(*(run("retouch", seconds=s) for s in (9.0, 7.0, 8.0)))

    assert said(three.spread("retouch", "seconds"), str) == "8.0 (7.0 to 9.0)"


def test_a_result_is_read_as_it_was_written_and_the_full_form_wins(tmp_path: Path) -> None:
    quick = replace(measured(run("retouch")), quick=True)
    write(tmp_path / "quick", quick)

    only_quick = read("slots", tmp_path)
    write(tmp_path, measured(run("retouch")))
    both = read("slots", tmp_path)

    assert only_quick == replace(quick, runs=[*quick.runs])
    assert both is not None
    assert not both.quick
    assert read("upload", tmp_path) is None


@pytest.mark.parametrize("most", [0.3, 1, 24, 25, 99, 101, 12_345])
def test_ticks_are_few_and_reach_the_most(most: float) -> None:
    found = ticks(most)

    assert found[0] == 0
    assert most <= found[-1] < 2 * most
    assert 4 <= len(found) <= 8


def test_a_chart_is_whole_and_names_its_series() -> None:
    drawn = [lines("A & B", "s", "busy", {"<one>": [(0, 1), (5, 2)]}), bars("C", "ms", {"<one>": 3.0})]

    texts = [[element.text for element in Xml.fromstring(svg).iter() if element.text] for svg in drawn]

    assert all("<one>" in found for found in texts)
