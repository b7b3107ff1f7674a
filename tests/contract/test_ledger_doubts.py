"""Doubts: waiting, resubmitting within the allowance, holding, and receipts that come late."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from jobs import events as e
from jobs.batch import BatchState
from jobs.errors import Superseded
from jobs.ledger.change import DOUBT_AGAIN_S, RESEND_S, Closed
from jobs.states import apply

if TYPE_CHECKING:
    from jobs.job import Job
    from tests.contract.conftest import House

RESERVE, COST = 60_000, 45_000


def resubmitted(house: House, doubt: Job) -> Job:
    """Return a doubt as it is when it goes back to the queue."""
    return apply(doubt, e.Resubmitted(), house.ledger.now())


def test_a_doubt_keeps_its_slot_and_its_money(house: House) -> None:
    house.doubted(house.one())

    assert house.ledger.slots_used()["flux"] == 1
    assert house.progress().reserved == RESERVE
    assert house.progress().doubts == 1
    assert house.ledger.remove_strays() == 0


def test_a_doubt_is_due_when_its_wait_is_over_and_again_until_it_is_settled(house: House) -> None:
    doubt = house.doubted(house.one(), wait=45)

    early = house.ledger.doubts_due(10)
    house.later(46)
    first, at_once = house.ledger.doubts_due(10), house.ledger.doubts_due(10)
    house.later(DOUBT_AGAIN_S + 1)
    again = house.ledger.doubts_due(10)
    house.moved(doubt, e.Held())
    house.later(3600)

    assert (early, first, at_once, again) == ([], ["b.0"], [], ["b.0"])
    assert house.ledger.doubts_due(10) == []


def test_a_doubt_is_neither_due_nor_lapsed(house: House) -> None:
    house.doubted(house.one())
    house.later(3600)

    assert house.ledger.due(10) == []
    assert house.ledger.lapsed(10) == []


def test_a_doubt_goes_back_to_the_queue_within_the_allowance(house: House) -> None:
    doubt = house.doubted(house.one())

    said = house.ledger.resubmit(doubt, resubmitted(house, doubt))

    assert said.closed is None
    job = house.load("b.0")
    assert (str(job.state), job.attempt) == ("queued", 2)
    assert house.progress().doubt_used == RESERVE
    assert house.progress().reserved == 0
    assert house.ledger.slots_used()["flux"] == 0
    house.later(1)
    assert [hint.job for hint in house.ledger.due(10)] == ["b.0"]
    assert house.begun("b.0").attempt == 2


def test_a_doubt_that_the_allowance_cannot_carry_stays_a_doubt(house: House) -> None:
    house.open(allowance=RESERVE - 1)
    doubt = house.doubted(house.feed(1)[0])
    was = house.books()

    said = house.ledger.resubmit(doubt, resubmitted(house, doubt))

    assert said.closed is Closed.NO_ALLOWANCE
    assert house.books() == was


def test_a_doubt_of_a_cancelled_batch_is_not_asked_again(house: House) -> None:
    doubt = house.doubted(house.one())
    house.cancel()
    was = house.books()

    assert house.ledger.resubmit(doubt, resubmitted(house, doubt)).closed is Closed.CANCELLED
    assert house.books() == was


def test_doubts_that_are_resubmitted_at_once_never_use_more_than_the_allowance(house: House) -> None:
    house.open(allowance=2 * RESERVE + 1)
    doubts = [house.doubted(job) for job in house.feed(5)]
    start, said = threading.Barrier(5), []

    def race(doubt: Job) -> None:
        after = resubmitted(house, doubt)
        start.wait(10)
        said.append(house.ledger.resubmit(doubt, after).closed)

    threads = [threading.Thread(target=race, args=(doubt,)) for doubt in doubts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert (said.count(None), said.count(Closed.NO_ALLOWANCE)) == (2, 3)
    assert house.progress().doubt_used == 2 * RESERVE


def test_a_held_doubt_frees_its_slot_keeps_its_money_and_leaves_an_outcome(house: House) -> None:
    house.held(house.one())

    assert house.ledger.slots_used()["flux"] == 0
    assert house.progress().reserved == RESERVE
    taken = house.ledger.take_outcomes("b")
    assert taken is not None
    assert [json.loads(line)["state"] for line in taken[1]] == ["in_doubt"]
    house.later(3600)
    assert (house.ledger.due(9), house.ledger.doubts_due(9), house.ledger.lapsed(9)) == ([], [], [])


def test_a_late_receipt_sets_a_held_doubt_running_and_it_is_found_again(house: House) -> None:
    held = house.held(house.one())
    house.later(60)

    job = house.moved(house.load(held.id), house.accepted())

    assert (str(job.state), job.held) == ("running", False)
    assert house.counts() == {"running": 1}
    assert (house.progress().reserved, house.progress().settled) == (0, COST)
    house.later(RESEND_S)
    assert [(hint.job, hint.paid) for hint in house.ledger.due(10)] == [("b.0", True)]
    assert house.claimed("b.0").receipt == job.receipt


@pytest.mark.parametrize("state", ["held", "queued"])
def test_a_task_that_a_late_receipt_brought_takes_a_slot_and_gives_it_back(house: House, state: str) -> None:
    if state == "held":
        job = house.held(house.one())
    else:
        doubt = house.doubted(house.one())
        job = resubmitted(house, doubt)
        house.ledger.resubmit(doubt, job)
    assert house.ledger.slots_used()["flux"] == 0

    running = house.moved(job, house.accepted())
    during = house.ledger.slots_used()["flux"]
    house.moved(running, house.fetchable())

    assert during == 1
    assert house.ledger.slots_used()["flux"] == 0


def test_a_receipt_for_a_doubt_that_was_held_since_it_was_read_is_recorded_only_of_the_held_one(house: House) -> None:
    seen = house.doubted(house.one())
    house.moved(seen, e.Held())

    with pytest.raises(Superseded):
        house.moved(seen, house.accepted())

    house.moved(house.load(seen.id), house.accepted())
    assert house.ledger.slots_used()["flux"] == 1
    assert house.progress().held == 0


def test_what_a_late_receipt_brought_is_not_bought_by_another_row(house: House) -> None:
    house.open()
    house.feed(2)
    held = house.moved(house.begun("b.0", "same"), e.Doubted(detail="", wait=45), e.Held())
    house.moved(held, house.accepted())
    second = house.claimed("b.1")

    said = house.ledger.begin(second, house.to_begin(second, "same"))

    assert said.closed is Closed.BEING_BOUGHT


# -- a held doubt is bought again


def test_what_is_held_and_bought_again_raises_the_ceiling_by_what_it_may_cost(house: House) -> None:
    held = house.held(house.one())
    ceiling = house.progress().ceiling

    house.ledger.record(held, resubmitted(house, held))

    assert house.progress().ceiling == ceiling + RESERVE


def test_two_who_buy_again_at_once_raise_the_ceiling_once_for_each_row(house: House) -> None:
    house.open()
    rows = [house.held(job) for job in house.feed(5)]
    ceiling, start, moved = house.progress().ceiling, threading.Barrier(2), []

    def race() -> None:
        start.wait(10)
        for row in rows:
            with suppress(Superseded):
                house.ledger.record(row, resubmitted(house, row))
                moved.append(row.id)

    threads = [threading.Thread(target=race) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert sorted(moved) == [row.id for row in rows]
    assert house.progress().ceiling == ceiling + 5 * RESERVE


@pytest.mark.parametrize("why", ["out of the allowance", "proved not charged"])
def test_a_doubt_that_nobody_pays_for_again_leaves_the_ceiling_as_it_is(house: House, why: str) -> None:
    doubt = house.doubted(house.one())
    ceiling = house.progress().ceiling

    if why == "out of the allowance":
        house.ledger.resubmit(doubt, resubmitted(house, doubt))
    else:
        house.moved(doubt, e.Held(), e.Resubmitted(proved=True))

    assert house.progress().ceiling == ceiling


def test_a_held_doubt_can_be_settled_after_its_batch_is_done(house: House) -> None:
    held = house.held(house.one())
    house.ledger.set_state("b", BatchState.DONE, "", only_from=[BatchState.OPEN])

    house.moved(held, e.Failed(code="lost_at_api", detail="", paid=True))

    assert house.counts() == {"failed": 1}
    assert (house.progress().held, house.progress().reserved) == (0, 0)
