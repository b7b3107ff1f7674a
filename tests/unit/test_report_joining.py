"""Rows meet their outcomes: doubles, rounds, doubts that were settled, and rows that were never fed."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.batch import Batch
from jobs.job import Job, Receipt, State
from jobs.outcome import found_line, late_line, outcome
from jobs.report.joining import Joined, OutcomeMissing, cancelled, in_order, joined
from jobs.request import Request
from jobs.row import Row
from tests.fakes import charged

BATCH = Batch(
    id="b", name="n", created_at=50.0, rows=3, groups={}, round=2, expected=0, at_most=0, ceiling=0, allowance=0
)


def a_row(number: int) -> Row:
    request = Request(model="flux-2-pro", prompt="p", inputs=("s3://in/a.jpg",), params={"seed": 7})
    return Row(
        number=number,
        id=f"id-{number}",
        group="g",
        limit_group="flux",
        request=request,
        output="out/a.{ext}",
        expected=1,
        at_most=2,
        cells=("a",),
        sizes={},
    )


def line(number: int, state: State = State.STORED, **changes: Any) -> dict[str, Any]:
    return outcome(Job(order=a_row(number).order("b"), state=state, **changes))


def states(found: Iterator[Joined]) -> list[tuple[int, str]]:
    return [(one.row.number, one.outcome["state"]) for one in found]


def test_every_row_meets_its_outcome_in_row_order(tmp_path: Path) -> None:
    rows = [a_row(number) for number in range(1, 501)]
    lines = [line(number, seed=number) for number in range(1, 501)]
    random.Random(1).shuffle(lines)

    found = list(joined(rows, lines, tmp_path, rows_per_range=64))

    assert [one.row.number for one in found] == list(range(1, 501))
    assert all(one.outcome["seed"] == one.row.number for one in found)


def test_an_outcome_comes_back_exactly_as_it_went_in(tmp_path: Path) -> None:
    told = line(1, State.FAILED, detail='Stühle\n"\u2028" \ud800 \t x', reason="api_error", charges=charged(45_000))

    (one,) = joined([a_row(1)], [told], tmp_path)

    assert one.outcome == told


def test_the_streams_of_the_limit_groups_become_one_ascending_stream() -> None:
    merged = in_order([[a_row(1), a_row(4)], [a_row(2), a_row(3)], []])

    assert [row.number for row in merged] == [1, 2, 3, 4]


def test_a_line_that_came_twice_counts_once(tmp_path: Path) -> None:
    found = joined([a_row(1), a_row(2)], [line(1), line(2), line(1), line(1)], tmp_path)

    assert states(found) == [(1, "stored"), (2, "stored")]


@pytest.mark.parametrize("swapped", [False, True])
def test_the_higher_attempt_counts_whichever_came_first(tmp_path: Path, swapped: bool) -> None:
    lines = [line(1, State.IN_DOUBT, attempt=1, held=True), line(1, State.STORED, attempt=2)]

    found = joined([a_row(1)], reversed(lines) if swapped else lines, tmp_path)

    assert states(found) == [(1, "stored")]


@pytest.mark.parametrize("swapped", [False, True])
def test_a_later_round_counts_whatever_its_attempt(tmp_path: Path, swapped: bool) -> None:
    lines = [line(1, State.FAILED, round=1, attempt=9), line(1, State.STORED, round=2, attempt=1)]

    found = joined([a_row(1)], reversed(lines) if swapped else lines, tmp_path)

    assert states(found) == [(1, "stored")]


@pytest.mark.parametrize("swapped", [False, True])
def test_a_settled_doubt_replaces_the_held_one_of_the_same_attempt(tmp_path: Path, swapped: bool) -> None:
    lines = [line(1, State.IN_DOUBT, held=True), line(1, State.CANCELLED)]

    found = joined([a_row(1)], reversed(lines) if swapped else lines, tmp_path)

    assert states(found) == [(1, "cancelled")]


def test_of_two_lines_of_the_same_doubt_the_later_one_counts(tmp_path: Path) -> None:
    lines = [line(1, State.IN_DOUBT, detail="first"), line(1, State.IN_DOUBT, detail="second")]

    (one,) = joined([a_row(1)], lines, tmp_path)

    assert one.outcome["detail"] == "second"


def test_what_earlier_rounds_cost_is_not_forgotten(tmp_path: Path) -> None:
    lines = [
        line(1, State.FAILED, round=1, charges=charged(30_000)),
        line(1, State.STORED, round=2, charges=charged(45_000)),
    ]

    (one,) = joined([a_row(1)], [*lines, lines[0]], tmp_path)

    assert (one.earlier_usd, one.cost_usd) == (0.03, 0.075)


def test_a_row_without_an_outcome_is_an_error_that_names_it(tmp_path: Path) -> None:
    found = joined([a_row(1), a_row(2)], [line(1)], tmp_path)

    with pytest.raises(OutcomeMissing, match="Row 2"):
        list(found)


def test_a_row_that_was_never_fed_ends_cancelled_in_the_batch_s_round(tmp_path: Path) -> None:
    found = joined([a_row(1), a_row(2)], [line(1)], tmp_path, missing=lambda row: cancelled(BATCH, row, 99.0))

    last = list(found)[1].outcome

    assert (last["state"], last["reason"], last["round"], last["row"]) == ("cancelled", "cancelled", 2, 2)
    assert last["cost_usd"] == 0
    assert last["at"]["ended"] == 99.0
    assert last.keys() == line(1).keys()


def test_rows_that_do_not_ascend_are_an_error(tmp_path: Path) -> None:
    found = joined([a_row(2), a_row(1)], [line(1), line(2)], tmp_path)

    with pytest.raises(ValueError, match="row 1 comes after row 2"):
        list(found)


def test_nothing_is_left_on_disk(tmp_path: Path) -> None:
    list(joined([a_row(1), a_row(20)], [line(1), line(20)], tmp_path, rows_per_range=8))

    assert list(tmp_path.iterdir()) == []


def test_a_charge_that_became_known_late_is_added_to_its_row_once(tmp_path: Path) -> None:
    job = Job(order=a_row(1).order("autumn"))
    late = json.loads(late_line(job, Receipt(task_id="second", polling_url="https://x", cost=45_000)))

    (found,) = joined([a_row(1)], [late, line(1, charges=charged(45_000)), late], tmp_path)

    assert found.outcome["duplicates"] == [{"task_id": "second", "cost_usd": 0.045}]
    assert found.cost_usd == 0.09


@pytest.mark.parametrize(("state", "found"), [(State.FAILED, True), (State.STORED, False)])
def test_a_result_that_was_filed_after_all_is_said_of_a_row_that_did_not_make_it(
    tmp_path: Path, state: State, found: bool
) -> None:
    late = json.loads(
        found_line(batch="autumn", job="autumn.1", row=1, round_=1, attempt=1, task_id="t", fingerprint="f", paid=9)
    )

    (joint,) = joined([a_row(1)], [line(1, state=state, charges=charged(45_000)), late], tmp_path)

    assert joint.outcome["found"] is found
    assert joint.cost_usd == 0.045


@pytest.mark.parametrize(("before", "cost"), [(0, 0.009), (45_000, 0.045)])
def test_what_was_paid_for_a_found_result_counts_once_also_where_the_ledger_was_lost_in_between(
    tmp_path: Path, before: int, cost: float
) -> None:
    found = json.loads(
        found_line(batch="autumn", job="autumn.1", row=1, round_=1, attempt=1, task_id="t", fingerprint="f", paid=9_000)
    )
    own = line(1, state=State.UNCHANGED, charges=charged(before) if before else ())

    (joint,) = joined([a_row(1)], [found, own, found], tmp_path)

    assert joint.cost_usd == cost
    assert [charge["cost_usd"] for charge in joint.outcome["charges"]] == [cost]


def test_what_was_paid_for_a_found_result_is_not_forgotten_in_a_later_round(tmp_path: Path) -> None:
    found = json.loads(
        found_line(batch="autumn", job="autumn.1", row=1, round_=1, attempt=1, task_id="t", fingerprint="f", paid=9_000)
    )
    rounds = [line(1, state=State.FAILED, round=1), line(1, state=State.UNCHANGED, round=2)]

    (joint,) = joined([a_row(1)], [*rounds, found], tmp_path)

    assert (joint.earlier_usd, joint.cost_usd) == (0.009, 0.009)
