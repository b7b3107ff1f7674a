"""A batch in the ledger: opening, feeding, its states, its outcomes, and forgetting it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from jobs import events as e
from jobs.batch import BatchState, document
from jobs.job import Order
from jobs.ledger.change import Closed

if TYPE_CHECKING:
    from tests.contract.conftest import House

OPEN, PAUSED, DONE, CANCELLED = BatchState.OPEN, BatchState.PAUSED, BatchState.DONE, BatchState.CANCELLED


def test_a_batch_opens_once_and_the_second_opening_changes_nothing(house: House) -> None:
    agreed = house.open(name="chairs")
    house.feed(3)
    was = house.books()

    again = house.ledger.open_batch(replace(agreed, name="tables", ceiling=1))

    assert not again
    assert house.books() == was
    found = house.ledger.batch("b")
    assert found is not None
    assert found[0] == agreed


def test_an_open_batch_stands_at_its_beginning(house: House) -> None:
    house.open(groups={"flux": 30, "kontext-max": 10})

    progress = house.progress()

    assert progress.state is OPEN
    assert progress.cursors == {"flux": 0, "kontext-max": 0}
    assert progress.staged == {"flux": 30, "kontext-max": 10}
    assert (progress.settled, progress.reserved, progress.held, progress.waiting) == (0, 0, 0, 0)


def test_batches_are_listed_in_the_order_in_which_they_were_opened(house: House) -> None:
    for name in ("b-2", "b-1", "b-3"):
        house.open(name)
        house.later(1)

    assert house.ledger.batches() == ["b-2", "b-1", "b-3"]


def test_an_unknown_batch_is_nothing_everywhere(house: House) -> None:
    ledger = house.ledger

    assert ledger.batch("x") is None
    assert ledger.jobs_of("x") == []
    assert ledger.take_outcomes("x") is None
    assert ledger.outcomes_waiting("x") == (0, 0.0)
    assert not ledger.set_state("x", PAUSED, "operator", only_from=[OPEN])
    assert not ledger.feed("x", "flux", 0, house.orders(range(2), "x"), low=1)
    ledger.stage("x", "flux", 9)
    ledger.drop_outcomes("x", 1)
    assert not ledger.late_receipt("x", "{}", 5)
    ledger.forget("x")
    assert ledger.batches() == []
    assert ledger.load("x.1") is None


# -- feeding


def test_feeding_moves_the_cursor_and_creates_the_jobs(house: House) -> None:
    house.open()

    jobs = house.feed(3)

    assert jobs == ["b.0", "b.1", "b.2"] == house.ledger.jobs_of("b")
    assert house.progress().cursors == {"flux": 3}
    assert house.counts() == {"queued": 3}
    assert house.progress().hot == {"flux": 3}


def test_a_fed_job_reads_back_as_it_was_ordered(house: House) -> None:
    house.open()
    order = house.orders([0])[0]
    order = replace(order, request=replace(order.request, params={"seed": 7, "guidance": 2.5, "disable_pup": True}))

    house.ledger.feed("b", "flux", 0, [order], low=1, round_=2)

    job = house.load("b.0")
    assert job.order == order
    assert (job.round, job.attempt, job.owner) == (2, 1, "")
    assert abs(job.queued_at - house.ledger.now()) < 5


def test_feeding_from_another_cursor_does_nothing(house: House) -> None:
    house.open()
    house.feed(3)
    was = house.books()

    fed = [house.ledger.feed("b", "flux", cursor, house.orders([20, 21]), low=1) for cursor in (0, 2, 4)]

    assert fed == [False, False, False]
    assert house.books() == was


def test_feeding_a_group_that_the_batch_does_not_have_does_nothing(house: House) -> None:
    house.open()

    assert not house.ledger.feed("b", "kontext-max", 0, house.orders([0], group="kontext-max"), low=1)
    assert house.ledger.jobs_of("b") == []


def test_feeding_stops_at_the_staged_mark(house: House) -> None:
    house.open(local=True)
    house.ledger.stage("b", "flux", 4)

    past = house.ledger.feed("b", "flux", 0, house.orders(range(5)), low=1)

    assert not past
    assert house.ledger.jobs_of("b") == []
    assert house.feed(4) == house.ledger.jobs_of("b")


def test_the_staged_mark_only_rises_and_only_for_groups_of_the_batch(house: House) -> None:
    house.open(local=True)

    for rows in (8, 3):
        house.ledger.stage("b", "flux", rows)
    house.ledger.stage("b", "kontext-max", 3)

    assert house.progress().staged == {"flux": 8}


@pytest.mark.parametrize("state", [PAUSED, DONE, CANCELLED])
def test_a_batch_that_is_not_open_is_not_fed(house: House, state: BatchState) -> None:
    house.open()
    house.ledger.set_state("b", state, "x", only_from=[OPEN])

    assert not house.ledger.feed("b", "flux", 0, house.orders([0]), low=1)
    assert house.counts() == {}


def test_without_orders_only_the_low_water_is_set(house: House) -> None:
    house.open()
    house.feed(2)

    assert house.ledger.feed("b", "flux", 2, [], low=9)

    assert house.progress().low == {"flux": 9}
    assert house.progress().cursors == {"flux": 2}
    assert house.counts() == {"queued": 2}


def test_the_groups_of_a_batch_are_fed_apart(house: House) -> None:
    house.open(groups={"flux": 4, "kontext-max": 4})

    house.feed(3)
    house.feed(2, group="kontext-max")

    assert house.progress().cursors == {"flux": 3, "kontext-max": 2}
    assert house.progress().hot == {"flux": 3, "kontext-max": 2}


def test_rows_that_were_not_fed_count_as_queued_in_the_document(house: House) -> None:
    batch = house.open()
    house.feed(3)
    house.stored("b.0")

    counts = document(batch, house.progress())["counts"]

    assert counts["stored"] == 1
    assert sum(counts.values()) == batch.rows


def test_the_same_row_can_be_fed_again_in_the_next_round(house: House) -> None:
    batch = house.open()
    house.stored(house.feed(1)[0])
    house.ledger.forget("b")
    house.ledger.open_batch(replace(batch, round=2))

    house.ledger.feed("b", "flux", 0, house.orders([0]), low=1, round_=2)

    assert house.claimed("b.0").round == 2


# -- states


def test_a_state_moves_only_from_where_it_was_said_to_be(house: House) -> None:
    house.open()

    refused = house.ledger.set_state("b", DONE, "", only_from=[PAUSED])

    assert not refused
    assert house.progress().state is OPEN


def test_a_state_carries_its_reason_and_says_yes_when_asked_again(house: House) -> None:
    house.open()

    said = [house.ledger.set_state("b", PAUSED, "cap", only_from=[OPEN]) for _ in range(2)]

    assert said == [True, True]
    assert (house.progress().state, house.progress().reason) == (PAUSED, "cap")


def test_a_second_reason_does_not_replace_the_first_unless_allowed(house: House) -> None:
    house.open()
    house.pause("cap")

    assert not house.ledger.set_state("b", PAUSED, "key", only_from=[OPEN])
    assert house.progress().reason == "cap"
    assert house.ledger.set_state("b", PAUSED, "key", only_from=[OPEN, PAUSED])
    assert house.progress().reason == "key"


def test_a_batch_knows_when_its_report_was_written(house: House) -> None:
    house.open()

    house.ledger.mark_finished("b")

    assert abs(house.progress().finished_at - house.ledger.now()) < 5


@pytest.mark.parametrize("end", ["resume", "cancel"])
def test_jobs_that_wait_become_due_when_the_batch_goes_on_or_is_cancelled(house: House, end: str) -> None:
    house.open()
    house.feed(2)
    house.moved(house.claimed("b.0"), e.GivenBack(wait=900))
    owned = house.claimed("b.1")
    house.pause()
    assert house.ledger.due(10) == []

    getattr(house, end)()

    assert [hint.job for hint in house.ledger.due(10)] == ["b.0"]
    assert house.claimed("b.0").owner == "w1"
    assert house.load("b.1") == owned


# -- outcomes


def test_every_end_leaves_one_outcome(house: House) -> None:
    house.open()
    house.feed(3)
    house.stored("b.0")
    house.moved(house.begun("b.1"), e.Moderated(code="request_moderated", detail="x"))
    house.moved(house.claimed("b.2"), e.Cancelled())

    taken = house.ledger.take_outcomes("b")

    assert taken is not None
    lines = [json.loads(line) for line in taken[1]]
    assert [(line["job"], line["state"]) for line in lines] == [
        ("b.0", "stored"),
        ("b.1", "moderated"),
        ("b.2", "cancelled"),
    ]


def test_a_part_is_the_same_until_it_is_dropped_and_the_next_has_a_higher_number(house: House) -> None:
    house.open()
    house.feed(2)
    house.stored("b.0")
    first = house.ledger.take_outcomes("b")
    house.stored("b.1")

    assert first is not None
    assert house.ledger.take_outcomes("b") == first
    house.ledger.drop_outcomes("b", first[0])
    second = house.ledger.take_outcomes("b")

    assert second is not None
    assert second[0] > first[0]
    assert [json.loads(line)["job"] for line in second[1]] == ["b.1"]


def test_dropping_a_part_twice_or_another_part_loses_nothing(house: House) -> None:
    house.open()
    house.feed(2)
    house.stored("b.0")
    first = house.ledger.take_outcomes("b")
    assert first is not None
    house.ledger.drop_outcomes("b", first[0])
    house.stored("b.1")
    second = house.ledger.take_outcomes("b")

    house.ledger.drop_outcomes("b", first[0])

    assert second is not None
    assert house.ledger.take_outcomes("b") == second


def test_nothing_is_taken_where_nothing_ended(house: House) -> None:
    house.one()

    assert house.ledger.take_outcomes("b") is None
    assert house.ledger.outcomes_waiting("b") == (0, 0.0)


def test_waiting_outcomes_are_counted_and_the_oldest_gives_their_age(house: House) -> None:
    house.open()
    house.feed(2)
    house.stored("b.0")
    house.later(10)
    house.stored("b.1")

    waiting, age = house.ledger.outcomes_waiting("b")

    assert waiting == 2
    assert 10 <= age < 15


def test_a_part_that_was_set_apart_and_not_dropped_wants_to_be_flushed_at_once(house: House) -> None:
    house.stored(house.one())
    house.ledger.take_outcomes("b")

    waiting, age = house.ledger.outcomes_waiting("b")

    assert waiting == 1
    assert age > 3600


def test_a_later_round_numbers_its_parts_above_those_of_the_round_before(house: House) -> None:
    batch = house.open()
    house.stored(house.feed(1)[0])
    first = house.ledger.take_outcomes("b")
    house.ledger.forget("b")
    house.ledger.open_batch(replace(batch, round=2))
    house.stored(house.feed(1)[0], "f-2")

    second = house.ledger.take_outcomes("b")

    assert first is not None
    assert second is not None
    assert second[0] > first[0]


def test_a_charge_for_an_ended_job_is_an_outcome_and_counts_as_money(house: House) -> None:
    house.stored(house.one())
    settled = house.progress().settled

    told = [house.ledger.late_receipt("b", '{"job":"b.0"}', 50_000) for _ in range(2)]

    assert told == [True, True]
    assert house.progress().settled == settled + 50_000
    assert (house.progress().duplicates, house.progress().duplicates_cost) == (1, 50_000)
    taken = house.ledger.take_outcomes("b")
    assert taken is not None
    assert taken[1][1:] == ['{"job":"b.0"}']
    assert house.counts() == {"stored": 1}


def test_a_forgotten_batch_leaves_nothing_behind(house: House) -> None:
    house.open()
    house.feed(3)
    house.stored("b.0")
    held = house.held("b.1")
    house.ledger.take_outcomes("b")

    house.ledger.forget("b")

    assert house.ledger.batches() == []
    assert house.ledger.batch("b") is None
    assert house.ledger.take_outcomes("b") is None
    assert house.ledger.load(held.id) is None
    assert house.ledger.claim("b.2", "w").why == "missing"
    house.later(3600)
    assert (house.ledger.due(9), house.ledger.doubts_due(9), house.ledger.lapsed(9)) == ([], [], [])


@pytest.mark.parametrize("waiting", ["in the list", "in a part"])
def test_a_batch_is_not_forgotten_over_an_outcome_that_came_after_its_report(house: House, waiting: str) -> None:
    house.stored(house.one())
    if waiting == "in a part":
        house.ledger.take_outcomes("b")

    refused = house.ledger.forget("b", if_flushed=True)
    part = house.ledger.take_outcomes("b")
    assert part is not None
    house.ledger.drop_outcomes("b", part[0])
    forgotten = house.ledger.forget("b", if_flushed=True)

    assert (refused, forgotten) == (False, True)
    assert house.ledger.batches() == []


def test_forgetting_one_batch_leaves_the_others_alone(house: House) -> None:
    house.open("b-1")
    house.one("b-2")
    was = house.books("b-2")

    house.ledger.forget("b-1")

    assert house.ledger.batches() == ["b-2"]
    assert house.books("b-2") == was


def test_an_order_of_any_text_survives(house: House) -> None:
    house.open()
    order = house.orders([0])[0]
    odd = 'a\\b "q" \u2028 \x00 é 椅 🪑 {"x": [1]} </s>'
    order = Order.from_json(order.as_json() | {"id": odd, "group": odd})

    house.ledger.feed("b", "flux", 0, [order], low=1)
    failed = e.Failed(code="request_refused", detail=odd)
    house.moved(house.begun("b.0"), failed)

    taken = house.ledger.take_outcomes("b")
    assert taken is not None
    line = json.loads(taken[1][0])
    assert (line["id"], line["group"], line["detail"]) == (odd, odd, odd)


def test_a_ceiling_that_is_raised_lets_a_batch_go_on(house: House) -> None:
    house.open(ceiling=0)
    job = house.claimed(house.feed(1)[0])
    assert house.ledger.begin(job, house.to_begin(job)).closed is Closed.CEILING

    house.ledger.set_ceiling("b", 10**9)

    assert house.progress().ceiling == 10**9
    assert house.ledger.begin(job, house.to_begin(job)).closed is None


def test_a_word_to_a_batch_that_is_gone_leaves_nothing_behind(house: House) -> None:
    house.ledger.set_ceiling("gone", 1)
    house.ledger.mark_finished("gone")

    assert house.ledger.batch("gone") is None
