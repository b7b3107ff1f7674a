"""Intents in the bucket: of two ledgers that believe that a POST is theirs to make, one makes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from jobs.bucket.layout import Layout
from jobs.errors import RetouchError, Unavailable
from jobs.events import Accepted, Begun, Doubted, Event, NotSubmitted, Unchanged
from jobs.intent import Intent
from jobs.job import Job, State
from jobs.pictures import check_result
from jobs.queues import EDIT
from tests.fakes import FakeBucket
from tests.unit.desks import KEY as API_KEY
from tests.unit.desks import House, make_house, picture, receipt
from workers.api import protocol
from workers.edit import edit
from workers.intents import Intents, MayBeBought
from workers.settle import settle
from workers.submit import FETCHABLE_S, prepare

KEY = Layout().intent("b", 1, 1, 1)


def found_there(other: Callable[[Job], Intent]) -> tuple[House, Event]:
    """Submit a job in whose way an intent lies; return the house and what became of it."""
    house = make_house(intents=True)
    house.open()
    purchase = house.purchase()
    real = house.desk.gate.enter

    def enter(*args: Any, **named: Any) -> Any:
        entered = real(*args, **named)
        assert isinstance(entered, Job)
        house.bucket.put(KEY, other(entered).as_json())
        return entered

    house.desk.gate.enter = enter  # type: ignore[method-assign]
    house.api.submits.append(protocol.Accepted(receipt=receipt()))
    return house, purchase.made()


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


def test_the_intent_says_whose_place_its_submission_takes() -> None:
    house = make_house(intents=True, keys=(replace(API_KEY, account="studio"),))
    house.open()

    house.desk.intents.declare(house.begun(), "epoch")

    assert written(house).account == "studio"


def test_an_intent_of_another_ledger_stops_the_post_and_the_job_is_in_doubt() -> None:
    house, event = found_there(lambda job: Intent.of(replace(job, owner="somebody"), "other"))

    assert isinstance(event, Doubted)
    assert not house.api.bodies


def test_a_doubt_about_an_earlier_submission_is_as_old_as_that_one() -> None:
    at: list[float] = []

    def earlier(job: Job) -> Intent:
        at.append(job.submitted_at - 7)
        return Intent.of(replace(job, owner="somebody", submitted_at=at[0]), "other")

    house, event = found_there(earlier)

    assert house.moved(house.stands(), event).submitted_at == at[0]


def test_an_edit_that_was_filed_and_forgotten_is_led_to_its_receipt_so_that_the_bill_has_it() -> None:
    house = forgetful()

    event = prepare(house.claimed(), house.desk)

    assert isinstance(event, Begun)


def test_an_edit_that_was_filed_so_long_ago_that_it_cannot_be_fetched_again_is_unchanged() -> None:
    house = forgetful()
    house.clock.advance(FETCHABLE_S + 1)

    event = prepare(house.claimed(), house.desk)

    assert isinstance(event, Unchanged)


def test_an_edit_whose_result_was_told_when_no_job_waited_for_it_is_unchanged() -> None:
    house = forgetful()
    house.bucket.put(Layout().found("b", "t7"), b"a line")

    event = prepare(house.claimed(), house.desk)

    assert isinstance(event, Unchanged)


def forgetful() -> House:
    """Return a house whose bucket has the result and the receipt of a job that its ledger never saw begin."""
    _, job, _ = begun()
    house = make_house(intents=True)
    house.open()
    found = check_result(picture(), content_length=None)
    house.desk.results.file(job.fingerprint, picture(), found, job=job.id, batch="b", fresh=False)
    house.desk.intents.settle(replace(job, receipt=receipt("t7")), "epoch")
    return house


@pytest.mark.parametrize("later", [-1, 1])
def test_an_intent_of_this_very_ledger_stops_the_post_whatever_the_ledger_remembers_of_it(later: int) -> None:
    house, job, intents = begun()
    house.bucket.put(KEY, Intent.of(replace(job, intent=job.intent + later, owner="w2"), "epoch").as_json())

    with pytest.raises(MayBeBought):
        intents.declare(job, "epoch")


def test_a_submission_whose_receipt_lies_in_the_bucket_is_not_made_again() -> None:
    house, event = found_there(lambda job: Intent.of(replace(job, receipt=receipt("t7")), "epoch"))

    assert event == Accepted(receipt=receipt("t7"))
    assert not house.api.bodies


def test_a_receipt_of_another_edit_is_not_used() -> None:
    house, event = found_there(
        lambda job: Intent.of(replace(job, receipt=receipt("t7"), fingerprint="another"), "epoch")
    )

    assert isinstance(event, Doubted)
    assert not house.api.bodies


def test_a_doubt_whose_receipt_lies_in_the_bucket_goes_on_with_it() -> None:
    house, job, intents = begun()
    doubted = house.moved(house.ledger.mark_sent(job), Doubted(detail="lost", wait=60.0))
    intents.settle(replace(job, receipt=receipt("t7")), "epoch")
    house.clock.advance(61)

    settle("b.1", house.desk)

    assert (house.stands().state, house.stands().receipt) == (State.RUNNING, receipt("t7"))
    assert house.stands().attempt == doubted.attempt
    assert house.progress().doubt_used == 0
    assert house.sent[-1] == (EDIT, "b.1", True)


def test_a_doubt_is_left_alone_while_the_bucket_cannot_be_asked() -> None:
    house, job, _ = begun()
    doubted = house.moved(house.ledger.mark_sent(job), Doubted(detail="lost", wait=60.0))
    house.bucket.failing["get"] = Unavailable("the bucket is away")
    house.clock.advance(61)

    settle("b.1", house.desk)

    assert house.stands() == doubted


def test_the_same_put_whose_answer_was_lost_is_the_same_intent() -> None:
    house, job, intents = begun()
    intents.declare(job, "epoch")

    intents.declare(job, "epoch")

    assert written(house) == Intent.of(job, "epoch")


def test_where_the_intent_cannot_be_written_nothing_leaves() -> None:
    house = make_house(intents=True)
    house.open()
    purchase = house.purchase()
    house.bucket.failing["put"] = Unavailable("the bucket is away")
    house.api.submits.append(protocol.Accepted(receipt=receipt()))

    event = purchase.made()

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
