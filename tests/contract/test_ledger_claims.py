"""Who owns a job: claiming, leases, taking over, the sent mark, and what is refused to one who lost it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from jobs import events as e
from jobs.batch import BatchState
from jobs.errors import Superseded
from jobs.ledger.change import LEASE_S, RESEND_S, TOMBSTONE_S
from jobs.states import apply
from tests.contract.conftest import NOTHING

if TYPE_CHECKING:
    from tests.contract.conftest import House


def test_a_claim_gives_the_job_to_its_owner_under_a_higher_fence(house: House) -> None:
    fed = house.load(house.one())

    claim = house.ledger.claim("b.0", "w1")

    assert claim.job is not None
    assert (claim.job.owner, claim.job.fence) == ("w1", fed.fence + 1)
    assert claim.batch_state is BatchState.OPEN
    assert house.load("b.0") == claim.job


def test_each_claim_raises_the_fence(house: House) -> None:
    first = house.moved(house.claimed(house.one()), e.GivenBack(wait=0))

    assert house.claimed("b.0", "w2").fence == first.fence + 1


def test_a_second_claimer_is_refused(house: House) -> None:
    owned = house.claimed(house.one())

    claim = house.ledger.claim("b.0", "w2")

    assert (claim.job, claim.why) == (None, "owned")
    assert house.load("b.0") == owned


def test_a_job_that_the_ledger_does_not_hold_is_missing(house: House) -> None:
    house.open()

    assert house.ledger.claim("b.7", "w1").why == "missing"
    assert house.ledger.load("b.7") is None


def test_an_early_claim_is_refused_until_the_time_has_come(house: House) -> None:
    house.moved(house.claimed(house.one()), e.GivenBack(wait=40))

    early = house.ledger.claim("b.0", "w1")
    house.later(41)
    late = house.ledger.claim("b.0", "w1")

    assert early.why == "early"
    assert late.job is not None
    assert late.job.not_before == 0


def test_a_cancelled_batch_makes_no_job_wait_for_its_time(house: House) -> None:
    house.open()
    house.feed(1)
    job = house.claimed("b.0")
    house.cancel()
    house.moved(job, e.GivenBack(wait=40))

    claim = house.ledger.claim("b.0", "w1")

    assert claim.job is not None
    assert claim.batch_state is BatchState.CANCELLED


def test_a_queued_job_of_a_paused_batch_is_not_claimed(house: House) -> None:
    house.one()
    house.pause()

    assert house.ledger.claim("b.0", "w1").why == "paused"
    house.resume()
    assert house.ledger.claim("b.0", "w1").job is not None


def test_a_job_with_a_receipt_is_claimed_although_its_batch_is_paused(house: House) -> None:
    house.moved(house.running(house.one()), e.GivenBack(wait=0))
    house.pause()

    claim = house.ledger.claim("b.0", "w2")

    assert claim.job is not None
    assert claim.batch_state is BatchState.PAUSED


def test_an_ended_job_is_final_for_a_minute_and_then_missing(house: House) -> None:
    house.stored(house.one())

    soon = house.ledger.claim("b.0", "w1")
    house.later(TOMBSTONE_S + 1)
    much_later = house.ledger.claim("b.0", "w1")

    assert soon.why == "final"
    assert much_later.why == "missing"
    assert house.ledger.load("b.0") is None


@pytest.mark.parametrize("held", [False, True])
def test_a_doubt_is_nobodys(house: House, held: bool) -> None:
    job = house.one()
    _ = house.held(job) if held else house.doubted(job)

    assert house.ledger.claim(job, "w1").why == "doubt"


# -- leases


def test_a_lease_that_is_renewed_does_not_lapse(house: House) -> None:
    job = house.claimed(house.one())
    for _ in range(3):
        house.later(LEASE_S - 5)
        assert house.ledger.renew("w1", {job.id: job.fence}) == []

    assert house.ledger.lapsed(10) == []


def test_a_lease_that_is_not_renewed_lapses(house: House) -> None:
    job = house.claimed(house.one())

    house.later(LEASE_S + 1)

    assert house.ledger.lapsed(10) == [job]


def test_no_more_lapsed_jobs_are_returned_than_asked_for(house: House) -> None:
    house.open()
    for job in house.feed(4):
        house.claimed(job)
    house.later(LEASE_S + 1)

    assert len(house.ledger.lapsed(3)) == 3


def test_renewing_nothing_loses_nothing(house: House) -> None:
    assert house.ledger.renew("w1", {}) == []


def test_renewing_tells_which_jobs_are_lost(house: House) -> None:
    house.open()
    house.feed(5)
    mine = house.claimed("b.0")
    others = house.claimed("b.1", "w2")
    given_back = house.moved(house.claimed("b.2"), e.GivenBack(wait=0))
    taken_over = replace(house.claimed("b.3"), fence=9)
    ended = house.stored("b.4")

    fences = {job.id: job.fence for job in (mine, others, given_back, taken_over, ended)} | {"b.9": 1}

    assert list(house.ledger.renew("w1", fences)) == ["b.1", "b.2", "b.3", "b.4", "b.9"]


@pytest.mark.parametrize("later", ["the next round", "put right"])
def test_who_holds_a_row_of_an_earlier_time_cannot_send_in_the_name_of_its_owner_now(house: House, later: str) -> None:
    batch = house.open(groups={"flux": 1})
    earlier = house.begun(house.feed(1)[0])
    house.ledger.forget("b")
    house.ledger.remove_strays()
    house.later(1)
    time.sleep(0.002)  # Redis's own clock is not moved
    if later == "the next round":
        house.ledger.open_batch(replace(batch, round=2))
        house.ledger.feed("b", "flux", 0, house.orders([0]), low=1, round_=2)
    else:
        house.ledger.restore(batch, replace(NOTHING, cursors={"flux": 1}, orders=house.orders([0])))
        house.resume()
    now = house.begun("b.0")

    with pytest.raises(Superseded):
        house.ledger.mark_sent(earlier)

    assert house.ledger.mark_sent(now).sent


def test_a_lapsed_job_is_taken_over_under_a_higher_fence_and_its_old_owner_is_refused(house: House) -> None:
    old = house.begun(house.one())
    house.later(LEASE_S + 1)
    (found,) = house.ledger.lapsed(10)

    back = apply(found, e.NotSubmitted(wait=0), house.ledger.now())
    house.ledger.record(found, replace(back, fence=found.fence + 1))

    with pytest.raises(Superseded):
        house.ledger.mark_sent(old)
    with pytest.raises(Superseded):
        house.moved(old, house.accepted())
    assert house.ledger.renew("w1", {old.id: old.fence}) == [old.id]
    assert house.ledger.slots_used() == {"flux": 0, "kontext-max": 0}
    assert house.claimed("b.0", "w2").fence > found.fence + 1


def test_two_who_take_over_the_same_job_take_it_over_once(house: House) -> None:
    house.begun(house.one())
    house.later(LEASE_S + 1)
    (found,) = house.ledger.lapsed(10)
    back = replace(apply(found, e.NotSubmitted(wait=0), house.ledger.now()), fence=found.fence + 1)
    house.ledger.record(found, back)

    with pytest.raises(Superseded):
        house.ledger.record(found, back)

    assert house.counts() == {"queued": 1}


def test_a_job_that_was_sent_after_it_was_seen_is_not_taken_over_as_unsent(house: House) -> None:
    slow = house.begun(house.one())
    house.later(LEASE_S + 1)
    (seen,) = house.ledger.lapsed(10)
    house.ledger.mark_sent(slow)

    unsent = replace(apply(seen, e.NotSubmitted(wait=0), house.ledger.now()), fence=seen.fence + 1)
    with pytest.raises(Superseded):
        house.ledger.record(seen, unsent)

    (again,) = house.ledger.lapsed(10)
    assert again.sent
    assert house.moved(slow, house.accepted()).receipt is not None


def test_an_owner_whose_mark_was_written_without_its_knowing_may_say_that_nothing_left(house: House) -> None:
    begun = house.begun(house.one())
    house.ledger.mark_sent(begun)

    house.moved(begun, e.NotSubmitted(wait=0))

    assert house.counts() == {"queued": 1}


def test_what_an_owner_holds_is_told_before_its_leases_lapse_and_after(house: House) -> None:
    house.open()
    house.feed(4)
    mine = [house.claimed("b.0"), house.running("b.1")]
    house.claimed("b.2", "w2")
    house.moved(house.claimed("b.3"), e.GivenBack(wait=0))

    before = house.ledger.held_by("w1")
    house.later(LEASE_S + 1)
    after = house.ledger.held_by("w1")

    assert sorted(before, key=lambda job: job.id) == mine
    assert sorted(after, key=lambda job: job.id) == mine
    assert house.ledger.held_by("w3") == []


# -- the sent mark


def test_the_sent_mark_is_written_and_told(house: House) -> None:
    begun = house.begun(house.one())

    marked = house.ledger.mark_sent(begun)

    assert marked == replace(begun, sent=True)
    assert house.load("b.0").sent


def test_the_answer_to_a_submission_takes_the_mark_away(house: House) -> None:
    marked = house.ledger.mark_sent(house.begun(house.one()))

    house.moved(marked, e.NotSubmitted(wait=0))

    assert not house.load("b.0").sent


@pytest.mark.parametrize("stop", ["pause", "cancel"])
def test_nothing_is_sent_when_the_batch_was_stopped(house: House, stop: str) -> None:
    begun = house.begun(house.one())
    getattr(house, stop)()

    with pytest.raises(Superseded):
        house.ledger.mark_sent(begun)

    assert not house.load("b.0").sent


def test_nothing_is_sent_before_its_submission_has_begun(house: House) -> None:
    claimed = house.claimed(house.one())

    with pytest.raises(Superseded):
        house.ledger.mark_sent(claimed)


@pytest.mark.parametrize("change", [{"attempt": 2}, {"fence": 7}])
def test_nothing_is_sent_for_another_attempt_or_owner(house: House, change: dict[str, int]) -> None:
    begun = house.begun(house.one())

    with pytest.raises(Superseded):
        house.ledger.mark_sent(replace(begun, attempt=change.get("attempt", 1), fence=change.get("fence", 1)))


# -- who is told of what


def test_a_fed_job_wants_its_next_message_after_thirty_seconds(house: House) -> None:
    house.one()

    at_once = house.ledger.due(10)
    house.later(RESEND_S + 1)

    assert at_once == []
    assert [hint.job for hint in house.ledger.due(10)] == ["b.0"]


def test_a_due_job_is_given_once_in_thirty_seconds(house: House) -> None:
    house.one()
    house.later(RESEND_S + 1)
    first = house.ledger.due(10)
    again = house.ledger.due(10)
    house.later(RESEND_S + 1)
    much_later = house.ledger.due(10)

    assert first == much_later
    assert len(first) == 1
    assert again == []


def test_no_more_due_jobs_are_given_than_asked_for_and_the_rest_follows(house: House) -> None:
    house.open()
    jobs = house.feed(5)
    house.later(RESEND_S + 1)

    first, second = house.ledger.due(3), house.ledger.due(3)

    assert (len(first), len(second)) == (3, 2)
    assert sorted(hint.job for hint in (*first, *second)) == jobs


def test_an_owned_job_is_not_due(house: House) -> None:
    house.claimed(house.one())
    house.later(RESEND_S + 1)

    assert house.ledger.due(10) == []


def test_a_job_given_back_is_due_when_its_wait_is_over(house: House) -> None:
    house.moved(house.claimed(house.one()), e.GivenBack(wait=10))

    early = house.ledger.due(10)
    house.later(11)

    assert early == []
    assert [hint.job for hint in house.ledger.due(10)] == ["b.0"]


def test_a_job_of_a_paused_batch_that_was_asked_for_is_not_due_at_once_again(house: House) -> None:
    house.one()
    house.later(RESEND_S + 1)
    house.pause()
    house.ledger.claim("b.0", "w1")

    assert house.ledger.due(10) == []


def test_a_hint_says_whether_the_job_has_a_receipt(house: House) -> None:
    house.open()
    house.feed(3)
    house.moved(house.claimed("b.0"), e.GivenBack(wait=0))
    house.moved(house.running("b.1"), e.GivenBack(wait=0))
    house.moved(house.ready("b.2"), e.GivenBack(wait=0))
    house.later(1)

    paid = {hint.job: hint.paid for hint in house.ledger.due(10)}

    assert paid == {"b.0": False, "b.1": True, "b.2": True}
