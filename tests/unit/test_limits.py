"""A process's hand in the law of the limits: what a 429 says of them, and what a submission that was taken."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jobs.errors import LedgerError
from jobs.events import Accepted
from jobs.job import Job
from jobs.limit import FIRST_REST_S, Limit
from tests.unit.desks import House, make_house, receipt
from workers.api import protocol
from workers.edit import edit
from workers.tick import Tick

MOST = 24


def begun(house: House, rows: int) -> list[Job]:
    """Open a batch and bring so many of its rows to where they are being submitted."""
    house.open(rows)
    return [house.begun(f"b.{row}") for row in range(1, rows + 1)]


def size(house: House) -> int:
    """Return the size of the group as the ledger has it."""
    limit = house.ledger.limits().get("flux")
    return limit.size if limit else MOST


def test_a_429_for_tasks_lowers_the_limit_and_holds_all_back_for_as_long_as_the_api_asks() -> None:
    house = make_house(slots=MOST)
    job, other = begun(house, 2)

    waits = [house.desk.limits.refused(each, 7.0, rate=False) for each in (job, other)]

    assert waits == [7.0, 7.0]
    assert size(house) == 18


def test_a_429_for_a_rate_holds_all_back_and_lowers_nothing() -> None:
    house = make_house(slots=MOST)
    (job,) = begun(house, 1)

    wait = house.desk.limits.refused(job, 7.0, rate=True)

    assert (wait, size(house)) == (7.0, MOST)


def test_without_a_wish_all_wait_longer_with_each_burst_and_not_with_each_refusal() -> None:
    house = make_house(slots=MOST)
    jobs = begun(house, 3)

    first = [house.desk.limits.refused(job, None, rate=False) for job in jobs]
    house.open(1, id="c", order={"prompt": "another edit"})
    second = house.desk.limits.refused(house.begun("c.1"), None, rate=False)

    assert all(0.5 <= wait <= 1.0 for wait in first)
    assert 1.0 <= second <= 2.0


def test_how_often_a_job_has_waited_for_a_slot_says_nothing_of_how_long_all_are_held_back() -> None:
    house = make_house(slots=MOST)
    (job,) = begun(house, 1)

    assert house.desk.limits.refused(replace(job, waits=9), None, rate=False) <= 1.0


def test_the_limit_rises_when_the_api_takes_submissions_while_all_places_are_in_use() -> None:
    house = make_house(slots=MOST)
    jobs = begun(house, 4)
    house.ledger.adjust("flux", lambda limit, _: Limit(most=limit.most, size=4, since=house.clock()))
    house.desk.limits.look()
    house.clock.advance(FIRST_REST_S)

    for job in jobs:
        house.desk.limits.taken(job)

    assert size(house) == 5


def test_what_is_taken_while_places_are_free_leaves_the_limit() -> None:
    house = make_house(slots=MOST)
    jobs = begun(house, 4)
    house.ledger.adjust("flux", lambda limit, _: Limit(most=limit.most, size=5, since=house.clock()))
    house.desk.limits.look()

    for job in jobs * 5:
        house.desk.limits.taken(job)

    assert size(house) == 5


def test_a_submission_that_is_taken_is_counted_once_its_receipt_is_recorded() -> None:
    house = make_house()
    house.open()
    house.ledger.adjust("flux", lambda limit, _: Limit(most=limit.most, size=1, since=house.clock()))
    house.desk.limits.look()
    house.api.submits.append(protocol.Accepted(receipt=receipt()))
    house.api.polls.append(protocol.StillRunning())
    house.stopping.then = house.stopping.set

    edit("b.1", house.desk)

    assert house.stands().receipt is not None
    assert size(house) == 2


def test_while_no_limit_is_lowered_a_taken_submission_asks_nothing_of_the_ledger(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house = make_house()
    (job,) = begun(house, 1)
    house.desk.limits.look()
    monkeypatch.setattr(house.ledger, "adjust", None)

    house.desk.limits.taken(house.moved(job, Accepted(receipt=receipt())))


def test_a_ledger_that_is_away_costs_the_hint_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    house = make_house()
    (job,) = begun(house, 1)

    def away(*_: object, **__: object) -> Limit:
        raise LedgerError

    monkeypatch.setattr(house.ledger, "adjust", away)
    monkeypatch.setattr(house.ledger, "throttle", away)

    assert house.desk.limits.refused(job, 3.0, rate=False) == 3.0


def test_a_process_learns_with_each_tick_what_others_have_lowered() -> None:
    house = make_house(slots=MOST)
    jobs = begun(house, 2)
    house.ledger.adjust("flux", lambda limit, _: Limit(most=limit.most, size=2, since=house.clock()))

    Tick(house.desk).once()
    for job in jobs:
        house.desk.limits.taken(job)

    assert size(house) == 3
