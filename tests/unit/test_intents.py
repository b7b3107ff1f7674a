"""Intents in the bucket: of two ledgers that believe that a POST is theirs to make, one makes it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jobs.bucket.layout import Layout
from jobs.errors import RetouchError, Unavailable
from jobs.events import Doubted, NotSubmitted
from jobs.intent import Intent
from jobs.job import Job
from tests.fakes import FakeBucket
from tests.unit.desks import House, make_house, receipt
from workers.api import protocol
from workers.edit import edit
from workers.intents import Intents, MayBeBought
from workers.submit import post

KEY = Layout().intent("b", 1, 1, 1)


def begun(*, on: bool = True) -> tuple[House, Job, Intents]:
    house = make_house(intents=on)
    house.open()
    return house, house.begun(), house.desk.intents


def written(house: House) -> Intent:
    return Intent.from_json(house.bucket.get(KEY))


def test_the_intent_lies_in_the_bucket_before_anything_leaves() -> None:
    house, job, intents = begun()

    intents.declare(job, "epoch")

    assert written(house) == Intent.of(job, "epoch")
    assert written(house).receipt is None


def test_an_intent_of_another_ledger_stops_the_post_and_the_job_is_in_doubt() -> None:
    house, job, _ = begun()
    house.bucket.put(KEY, Intent.of(replace(job, owner="somebody"), "other").as_json())

    event = post(job, house.desk)

    assert isinstance(event, Doubted)
    assert not house.api.bodies


def test_an_intent_that_this_ledger_wrote_later_in_a_time_that_it_lost_stops_the_post() -> None:
    house, job, intents = begun()
    house.bucket.put(KEY, Intent.of(replace(job, intent=job.intent + 1, owner="w2"), "epoch").as_json())

    with pytest.raises(MayBeBought):
        intents.declare(job, "epoch")


def test_an_intent_whose_end_the_ledger_knows_makes_room() -> None:
    house, job, intents = begun()
    house.bucket.put(KEY, Intent.of(replace(job, intent=job.intent - 1), "epoch").as_json())

    intents.declare(job, "epoch")

    assert written(house).number == job.intent


def test_the_same_put_whose_answer_was_lost_is_the_same_intent() -> None:
    house, job, intents = begun()
    intents.declare(job, "epoch")

    intents.declare(job, "epoch")

    assert written(house) == Intent.of(job, "epoch")


def test_where_the_intent_cannot_be_written_nothing_leaves() -> None:
    house, job, _ = begun()
    house.bucket.failing["put"] = Unavailable("the bucket is away")

    event = post(job, house.desk)

    assert isinstance(event, NotSubmitted)
    assert not house.api.bodies


def test_the_receipt_is_added_as_soon_as_it_is_there() -> None:
    house = make_house(intents=True)
    house.open()
    house.api.submits.append(protocol.Accepted(receipt=receipt()))
    house.stopping.then = house.stopping.set  # it stops at the first wait: the task is not polled

    edit("b.1", house.desk)

    assert written(house).receipt == receipt()


def test_the_intent_of_a_refused_submission_is_withdrawn() -> None:
    house, job, intents = begun()
    intents.declare(job, "epoch")

    intents.withdraw(job)

    assert house.bucket.head(KEY) is None


def test_a_store_that_overwrites_in_spite_of_the_condition_is_refused() -> None:
    intents = Intents(FakeBucket(conditional="ignored"), Layout(), on=True)

    with pytest.raises(RetouchError, match="INTENTS_IN_BUCKET"):
        intents.check()


def test_switched_off_nothing_is_written_or_asked() -> None:
    house, job, intents = begun(on=False)
    before = list(house.bucket.calls)

    intents.check()
    intents.declare(job, "epoch")
    intents.settle(job, "epoch")
    intents.withdraw(job)

    assert house.bucket.calls == before
