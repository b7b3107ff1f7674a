"""Why a batch waits for money: the sentence has the arithmetic and the remedy."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.batch import Batch, BatchState, Progress, document, exit_code
from jobs.bounds import Stop
from jobs.money import Reached
from jobs.report.wording import shown

BATCH = Batch(
    id="b-1", name="b", created_at=1.0, rows=40, groups={}, expected=1, at_most=2, ceiling=2_000_000, allowance=0
)


def told(reason: str, **known: Any) -> dict[str, Any]:
    progress = Progress(
        state=BatchState.PAUSED, reason=reason, cursors={}, staged={}, hot={}, counts={}, ceiling=2_000_000, **known
    )
    return document(BATCH, progress)


def test_a_batch_at_its_ceiling_says_what_is_spent_what_is_needed_and_how_to_raise_it() -> None:
    found = told("cap", settled=1_960_000, about=Reached(which="ceiling", needed=60_000).as_json())

    assert found["cap"]["limit_usd"] == 2.0
    assert found["detail"] == (
        "The batch's ceiling of $2.00 is reached: $1.96 is spent, and the next edit may cost $0.06."
        " `retouch resume b-1 --max-cost USD` raises it."
    )


def test_a_batch_at_a_days_cap_says_which_day_and_that_it_goes_on_by_itself() -> None:
    reached = Reached(which="day_cap", needed=60_000, limit=500_000, day="2026-11-22-simulated", zone="Europe/Berlin")
    found = told("cap", about=reached.as_json())

    assert (found["cap"]["which"], found["cap"]["day"]) == ("day_cap", "2026-11-22")
    assert found["detail"] == (
        "The cap of the day of $0.50 is reached on 2026-11-22: the next edit may cost $0.06. It goes on by itself after"
        " midnight (Europe/Berlin), or when RETOUCH_MONEY__DAY_CAP_USD of the workers is raised."
    )


def test_a_batch_whose_first_edits_were_too_dear_shows_the_sum() -> None:
    found = told("proof", first=20, first_cost=2_700_000, first_expected=900_000)

    assert found["first_edits"] == {"edits": 20, "cost_usd": 2.7, "expected_usd": 0.9}
    assert found["detail"] == (
        "The first 20 edits cost $2.70, expected were $0.90: 200 % over. `retouch resume b-1` goes on all the same."
    )


def test_a_batch_that_waits_after_failures_says_how_many_and_which_groups_are_stopped() -> None:
    stops = {
        "knives": Stop(why="moderated", count=17, of=30, at=1.0),
        "[beds]\x1b": Stop(why="failed", count=16, of=20, at=1.0),
    }
    found = told("failures", about={"why": "left"}, stops=stops)

    assert found["stopped_groups"][1] == {"group": "knives", "why": "moderated", "count": 17, "of": 30, "since": 1.0}
    assert found["detail"] == (
        "All rows that are left belong to groups that are stopped."
        f" The group {shown('[beds]' + chr(27))} is stopped: 16 of its last 20 failed."
        " The group knives is stopped: 17 of its last 30 were moderated."
        " Look at why, then `retouch resume b-1` goes on, with `--group` one group alone."
    )


def test_a_batch_that_waits_in_doubt_says_how_many_rows_and_how_to_decide() -> None:
    found = told("doubt", held=500)

    assert found["detail"] == (
        "500 rows are held in doubt, so no more are begun. `retouch retry b-1 --in-doubt` buys them again,"
        " `retouch cancel b-1 --in-doubt` gives them up; then the batch goes on."
    )
    assert exit_code(found) == 5


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"why": "failed", "count": 51, "of": 81}, "51 of the batch's last 81 edits failed. "),
        ({"why": "moderated", "count": 16, "of": 30}, "16 of the batch's last 30 edits were moderated. "),
        ({"why": "moderated_cost", "cost": 5_030_000, "limit": 5_000_000}, "have cost $5.03, more than $5.00. "),
        ({"why": "groups", "count": 16}, "16 groups are stopped. "),
    ],
)
def test_a_batch_that_waits_after_failures_shows_the_arithmetic(about: dict[str, Any], said: str) -> None:
    assert said in told("failures", about=about)["detail"]


def test_a_batch_that_waits_for_something_else_says_nothing_of_money() -> None:
    assert told("operator", first=20, first_cost=9, first_expected=1)["detail"] == ""
    assert told("operator")["cap"] is None
