"""Forgetting a batch: only the opening that is meant, and only as far as nothing is lost with it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from jobs import events as e
from jobs.batch import BatchState
from jobs.ledger.change import Closed
from jobs.ledger.keys import Keys
from jobs.ledger.memory import MemoryLedger
from jobs.ledger.redis import RedisLedger
from jobs.money import Caps, Sums
from tests.contract.conftest import NOTHING

if TYPE_CHECKING:
    from tests.contract.conftest import House

RESERVE, COST = 60_000, 45_000
TODAY, KEY = "2026-11-22", "k1"
OPEN, PAUSED, DONE = BatchState.OPEN, BatchState.PAUSED, BatchState.DONE


@pytest.mark.parametrize("later", ["opened", "put right"])
def test_who_means_an_earlier_opening_of_a_batch_changes_nothing(house: House, later: str) -> None:
    batch = house.open()
    earlier = house.progress().opening
    house.ledger.forget("b")
    if later == "opened":
        house.ledger.open_batch(replace(batch, round=2))
    else:
        house.ledger.restore(batch, NOTHING)
    was = house.books()

    said = [
        house.ledger.set_state("b", DONE, "", only_from=[OPEN, PAUSED], opening=earlier),
        house.ledger.mark_finished("b", opening=earlier),
        house.ledger.feed("b", "flux", 0, house.orders([0]), low=1, opening=earlier),
        house.ledger.forget("b", opening=earlier),
    ]

    assert said == [False, False, False, False]
    assert house.books() == was


def test_who_means_the_opening_that_stands_is_heard(house: House) -> None:
    house.open()
    opening = house.progress().opening

    said = [
        house.ledger.feed("b", "flux", 0, house.orders([0]), low=1, opening=opening),
        house.ledger.set_state("b", DONE, "", only_from=[OPEN], opening=opening),
        house.ledger.mark_finished("b", opening=opening),
        house.ledger.forget("b", opening=opening),
    ]

    assert said == [True, True, True, True]
    assert house.ledger.batches() == []


@pytest.mark.parametrize("left", ["queued", "held"])
def test_a_batch_that_is_to_be_over_is_not_forgotten_over_a_job_that_is_left(house: House, left: str) -> None:
    job = house.one()
    if left == "held":
        house.held(job)
        house.ledger.take_outcomes("b")
        house.ledger.drop_outcomes("b", 1)

    forgotten = house.ledger.forget("b", if_flushed=True)

    assert not forgotten
    assert house.ledger.jobs_of("b") == [job]


# -- what its jobs had open


@pytest.mark.parametrize("state", ["begun", "running", "held"])
def test_jobs_that_are_forgotten_leave_nothing_reserved_in_their_day(house: House, state: str) -> None:
    job = house.one()
    if state == "begun":
        house.begun(job)
    elif state == "running":
        house.running(job, cost=None)
    else:
        house.held(job)

    house.ledger.forget("b")

    assert house.ledger.money(TODAY) == house.ledger.money(TODAY, KEY) == Sums()


def test_other_batches_have_the_room_of_jobs_that_are_forgotten(house: House) -> None:
    house.open()
    for each in house.feed(3):
        house.begun(each)
    house.ledger.forget("b")
    house.open("later")
    job = house.claimed(house.feed(1, batch="later")[0])

    begun = house.ledger.begin(job, house.to_begin(job), caps=Caps(day=4 * RESERVE))

    assert begun.closed is None


def test_what_jobs_cost_that_are_forgotten_stays_in_their_day(house: House) -> None:
    house.running(house.one())

    house.ledger.forget("b")

    assert house.ledger.money(TODAY) == house.ledger.money(TODAY, KEY) == Sums(settled=COST)


def test_what_jobs_were_buying_that_are_forgotten_can_be_bought(house: House) -> None:
    house.moved(house.begun(house.one(), "same"), house.accepted())
    house.ledger.forget("b")
    house.open("later")
    job = house.claimed(house.feed(1, batch="later")[0])

    begun = house.ledger.begin(job, house.to_begin(job, "same"))

    assert begun.closed is None


def test_what_another_batch_buys_stays_bought_by_it(house: House) -> None:
    house.moved(house.begun(house.one(), "same"), e.Doubted(detail="", wait=45), e.Held())
    house.open("other")
    house.begun(house.feed(1, batch="other")[0], "same")

    house.ledger.forget("b")
    house.open("later")
    job = house.claimed(house.feed(1, batch="later")[0])

    assert house.ledger.begin(job, house.to_begin(job, "same")).closed is Closed.BEING_BOUGHT


@pytest.mark.parametrize("how", ["begins", "its receipt comes late"])
def test_a_fingerprint_whose_buyer_is_gone_is_taken_by_the_next_job(house: House, how: str) -> None:
    house.open()
    house.feed(2)
    lost_buyer(house, "same")
    first = house.to_begin(house.claimed("b.0"), "same")
    if how == "begins":
        assert house.ledger.begin(house.load("b.0"), first).closed is None
    else:
        house.ledger.record(house.load("b.0"), first)
    second = house.claimed("b.1")

    assert house.ledger.begin(second, house.to_begin(second, "same")).closed is Closed.BEING_BOUGHT


def lost_buyer(house: House, fingerprint: str) -> None:
    """Let a fingerprint be bought by a job that the ledger does not hold, as an earlier release could leave it."""
    if isinstance(house.ledger, MemoryLedger):
        house.ledger._bought[fingerprint] = "gone.7"
    else:
        assert isinstance(house.ledger, RedisLedger)
        house.ledger._client.set(Keys().bought(fingerprint), "gone.7")
