"""Settling a doubt: what the allowance carries is asked again, everything else waits for a person."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.batch import BatchState
from jobs.errors import Superseded
from jobs.events import Accepted, Doubted
from jobs.job import Job, State
from jobs.ledger.change import Closed
from jobs.ledger.port import Recorded
from jobs.queues import EDIT
from tests.unit.desks import RESERVE, House, make_house, receipt
from workers.settle import settle


def doubted(waited: float = 61.0, **agreed: Any) -> tuple[House, Job]:
    house = make_house()
    house.open(**agreed)
    job = house.moved(house.ledger.mark_sent(house.begun()), Doubted(detail="ReadTimeout", wait=60.0))
    house.clock.advance(waited)
    return house, job


def test_a_doubt_that_the_allowance_carries_is_asked_again() -> None:
    house, _ = doubted()

    settle("b.1", house.desk)

    job = house.stands()
    assert (job.state, job.attempt, job.sent) == (State.QUEUED, 2, False)
    assert house.progress().doubt_used == RESERVE
    assert house.ledger.slots_used()["flux"] == 0
    assert house.sent == [(EDIT, "b.1")]


def test_a_doubt_that_the_allowance_cannot_carry_waits_for_a_person_and_frees_its_slot() -> None:
    house, _ = doubted(allowance=RESERVE - 1)

    settle("b.1", house.desk)

    assert (house.stands().state, house.stands().held) == (State.IN_DOUBT, True)
    assert house.progress().held == 1
    assert house.progress().doubt_used == 0
    assert house.ledger.slots_used()["flux"] == 0
    assert house.sent == []


def test_a_doubt_whose_wait_is_not_over_is_left_alone() -> None:
    house, job = doubted(waited=59.0)

    settle("b.1", house.desk)

    assert house.stands() == job


def test_a_doubt_is_decided_as_soon_as_its_wait_is_over() -> None:
    house, job = doubted(waited=0.0)
    house.clock.advance(job.not_before - house.clock())

    settle("b.1", house.desk)

    assert house.stands().state is State.QUEUED


def test_a_doubt_that_waits_for_a_person_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    house, _ = doubted(allowance=RESERVE - 1)
    settle("b.1", house.desk)
    asked: list[Any] = []
    monkeypatch.setattr(house.ledger, "resubmit", lambda *args: asked.append(args))

    settle("b.1", house.desk)

    assert asked == []


def test_a_doubt_whose_batch_the_ledger_has_lost_ends_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    house, _ = doubted()
    known = house.ledger.batch
    monkeypatch.setattr(house.ledger, "batch", lambda _: None)

    settle("b.1", house.desk)

    monkeypatch.setattr(house.ledger, "batch", known)
    assert house.progress().counts["failed"] == 1
    assert "in_doubt" in house.progress().reasons


def test_a_doubt_of_a_cancelled_batch_ends_and_is_never_asked_again() -> None:
    house, _ = doubted()
    house.ledger.set_state("b", BatchState.CANCELLED, "", only_from=[BatchState.OPEN])

    settle("b.1", house.desk)

    assert house.progress().counts["failed"] == 1
    assert "in_doubt" in house.progress().reasons
    assert house.progress().reserved == 0


def test_a_batch_that_is_cancelled_at_this_moment_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    house, _ = doubted()
    monkeypatch.setattr(house.ledger, "resubmit", lambda *_: Recorded(closed=Closed.CANCELLED))

    settle("b.1", house.desk)

    assert house.progress().held == 0
    assert house.progress().counts["failed"] == 1
    assert "in_doubt" in house.progress().reasons


def test_settling_twice_asks_once() -> None:
    house, _ = doubted()

    settle("b.1", house.desk)
    settle("b.1", house.desk)

    assert house.progress().doubt_used == RESERVE
    assert len(house.sent) == 1


def test_an_answer_that_came_late_settles_the_doubt_by_itself() -> None:
    house, job = doubted()
    house.moved(job, Accepted(receipt=receipt()))

    settle("b.1", house.desk)

    assert house.stands().state is State.RUNNING
    assert house.progress().doubt_used == 0


def test_an_answer_that_comes_at_this_moment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    house, _ = doubted()

    def moved(*_: Any) -> Recorded:
        raise Superseded

    monkeypatch.setattr(house.ledger, "resubmit", moved)

    settle("b.1", house.desk)

    assert house.sent == []


def test_a_doubt_that_nobody_knows_is_no_error() -> None:
    settle("b.7", make_house().desk)
