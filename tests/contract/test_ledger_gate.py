"""The gate before a submission: slots, money, fingerprints and pauses; all are taken, or none."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from jobs import events as e
from jobs.batch import BatchState
from jobs.errors import Superseded
from jobs.ledger.change import FILED_S, Closed
from jobs.states import apply

if TYPE_CHECKING:
    from jobs.job import Job
    from jobs.ledger.port import Recorded
    from tests.contract.conftest import House

RESERVE, COST = 60_000, 45_000


def knock(house: House, job: str | Job, fingerprint: str = "") -> Recorded:
    """Claim a job and try the gate; nothing may have changed where it stays closed."""
    before = house.claimed(job) if isinstance(job, str) else job
    was = house.books()
    said = house.ledger.begin(before, house.to_begin(before, fingerprint))
    if said.closed:
        assert house.books() == was
    return said


def test_a_submission_that_begins_takes_slot_and_money(house: House) -> None:
    begun = house.begun(house.one())

    assert house.load("b.0") == begun
    assert house.ledger.slots_used() == {"flux": 1, "kontext-max": 0}
    assert house.progress().reserved == RESERVE
    assert house.counts() == {"submitting": 1}


def test_no_more_than_the_size_of_a_group_begins(house: House) -> None:
    house.open()
    jobs = house.feed(6)

    said = [knock(house, job).closed for job in jobs]

    assert said == [None] * 5 + [Closed.NO_SLOT]


def test_who_begins_is_told_whether_another_slot_may_be_free(house: House, request: pytest.FixtureRequest) -> None:
    house.open()
    house.ledger.adjust("flux", lambda was, _: replace(was, size=3))

    said = [knock(house, job).more for job in house.feed(3)]

    # A script that is asked again after a lost reply does not know any more, and says that one may be.
    assert said == [True, True, "twice" in request.node.name]


def test_whose_inner_group_is_full_is_told_that_no_slot_is_free(house: House, request: pytest.FixtureRequest) -> None:
    house.open(groups={"flux": 9, "kontext-max": 9})

    said = [knock(house, job).more for job in house.feed(2, group="kontext-max")]

    assert said == [True, "twice" in request.node.name]


def test_an_inner_group_takes_places_of_the_outer_one_too(house: House) -> None:
    house.open(groups={"flux": 9, "kontext-max": 9})
    inner, outer = house.feed(3, group="kontext-max"), house.feed(4)

    said = [knock(house, job).closed for job in inner + outer]

    assert said == [None, None, Closed.NO_SLOT, None, None, None, Closed.NO_SLOT]
    assert house.ledger.slots_used() == {"flux": 5, "kontext-max": 2}


def test_an_inner_group_waits_when_the_outer_one_is_full(house: House) -> None:
    house.open(groups={"flux": 9, "kontext-max": 9})
    for job in house.feed(5):
        house.begun(job)

    said = knock(house, house.feed(1, group="kontext-max")[0])

    assert said.closed is Closed.NO_SLOT
    assert house.ledger.slots_used() == {"flux": 5, "kontext-max": 0}


def test_a_slot_of_an_inner_group_is_freed_in_both(house: House) -> None:
    house.open(groups={"kontext-max": 9})
    job = house.moved(house.begun(house.feed(1, group="kontext-max")[0]), house.accepted())
    assert house.ledger.slots_used() == {"flux": 1, "kontext-max": 1}

    house.moved(job, house.fetchable())

    assert house.ledger.slots_used() == {"flux": 0, "kontext-max": 0}


def test_batches_share_the_slots(house: House) -> None:
    house.open("b")
    house.open("c")
    for job in house.feed(3) + house.feed(2, batch="c"):
        house.begun(job)

    assert knock(house, house.feed(1, cursor=3)[0]).closed is Closed.NO_SLOT


def test_fifty_threads_never_take_more_slots_than_there_are(house: House) -> None:
    house.open(groups={"flux": 60})
    ready = [house.claimed(job) for job in house.feed(50)]
    start, said = threading.Barrier(50), []

    def race(before: Job) -> None:
        after = house.to_begin(before)
        start.wait(10)
        said.append(house.ledger.begin(before, after).closed)

    threads = [threading.Thread(target=race, args=(job,)) for job in ready]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert said.count(None) == 5
    assert said.count(Closed.NO_SLOT) == 45
    assert house.ledger.slots_used()["flux"] == 5
    assert house.progress().reserved == 5 * RESERVE


@pytest.mark.parametrize(
    ("state", "closed"),
    [
        (BatchState.PAUSED, Closed.PAUSED),
        (BatchState.CANCELLED, Closed.CANCELLED),
        (BatchState.DONE, Closed.PAUSED),
    ],
)
def test_nothing_begins_in_a_batch_that_is_not_open(house: House, state: BatchState, closed: Closed) -> None:
    job = house.claimed(house.one())
    house.ledger.set_state("b", state, "operator", only_from=[BatchState.OPEN])

    assert knock(house, job).closed is closed


def test_only_the_owner_of_the_claim_begins(house: House) -> None:
    job = house.claimed(house.one())

    with pytest.raises(Superseded):
        house.ledger.begin(replace(job, fence=job.fence - 1), house.to_begin(job))

    assert house.ledger.slots_used()["flux"] == 0
    assert house.progress().reserved == 0


# -- throttle


def test_nobody_submits_while_the_api_wants_a_pause(house: House) -> None:
    job = house.claimed(house.one())
    house.ledger.throttle(30)

    said = knock(house, job)

    assert said.closed is Closed.THROTTLED
    assert 25 < said.wait_s <= 30
    house.later(31)
    assert knock(house, job).closed is None


def test_the_longest_wish_counts(house: House) -> None:
    job = house.claimed(house.one())
    for seconds in (5, 60, 10, 0):
        house.ledger.throttle(seconds)

    assert 50 < knock(house, job).wait_s <= 60


# -- money


def test_an_edit_that_does_not_fit_under_the_ceiling_does_not_begin(house: House) -> None:
    house.open(ceiling=RESERVE - 1)

    assert knock(house, house.feed(1)[0]).closed is Closed.CEILING


def test_an_edit_that_fits_exactly_begins(house: House) -> None:
    house.open(ceiling=RESERVE)

    assert knock(house, house.feed(1)[0]).closed is None


def test_where_only_open_reserves_stand_in_the_way_the_gate_says_so(house: House) -> None:
    house.open(ceiling=2 * RESERVE - 1)
    house.feed(2)
    first = house.begun("b.0")
    second = house.claimed("b.1")

    waiting = knock(house, second).closed
    house.moved(first, e.NotSubmitted(wait=0))

    assert waiting is Closed.MONEY_OPEN
    assert knock(house, second).closed is None


def test_what_was_spent_counts_against_the_ceiling(house: House) -> None:
    house.open(ceiling=RESERVE + COST - 1)
    house.feed(2)
    house.stored("b.0")

    assert knock(house, "b.1").closed is Closed.CEILING


def test_what_resubmitted_doubts_may_have_cost_counts_against_the_ceiling(house: House) -> None:
    house.open(ceiling=2 * RESERVE - 1)
    doubt = house.doubted(house.feed(1)[0])
    house.ledger.resubmit(doubt, apply(doubt, e.Resubmitted(), house.ledger.now()))

    assert knock(house, doubt.id).closed is Closed.CEILING


def test_the_reserve_is_settled_with_what_the_receipt_says(house: House) -> None:
    house.running(house.one(), cost=COST)

    assert (house.progress().reserved, house.progress().settled) == (0, COST)


def test_without_a_cost_on_the_receipt_the_reserve_stays_until_the_result_tells_it(house: House) -> None:
    job = house.running(house.one(), cost=None)
    assert (house.progress().reserved, house.progress().settled) == (RESERVE, 0)

    house.moved(job, house.fetchable(cost=COST))

    assert (house.progress().reserved, house.progress().settled) == (0, COST)


def test_where_nobody_tells_the_cost_the_reserve_is_taken_for_it(house: House) -> None:
    job = house.moved(house.running(house.one(), cost=None), house.fetchable())

    assert (job.cost, job.cost_source) == (RESERVE, "reserve")
    assert (house.progress().reserved, house.progress().settled) == (0, RESERVE)


@pytest.mark.parametrize(
    "event",
    [
        e.NotSubmitted(wait=0),
        e.AttemptFailed(code="api_error", detail="", wait=0),
        e.Moderated(code="request_moderated", detail=""),
        e.Failed(code="request_refused", detail=""),
    ],
)
def test_money_comes_back_when_nothing_was_charged(house: House, event: e.Event) -> None:
    house.moved(house.begun(house.one()), event)

    assert (house.progress().reserved, house.progress().settled) == (0, 0)
    assert house.ledger.slots_used()["flux"] == 0


# -- the same edit is bought once


def test_the_same_edit_begins_once(house: House) -> None:
    house.open()
    house.feed(2)
    house.begun("b.0", "same")

    assert knock(house, "b.1", "same").closed is Closed.BEING_BOUGHT


def test_the_same_edit_is_bought_once_over_all_batches(house: House) -> None:
    house.open("b")
    house.open("c")
    house.begun(house.feed(1)[0], "same")

    assert knock(house, house.feed(1, batch="c")[0], "same").closed is Closed.BEING_BOUGHT


def test_an_edit_that_was_filed_moments_ago_is_not_bought_again(house: House) -> None:
    house.open()
    house.feed(2)
    house.stored("b.0", "same")
    second = house.claimed("b.1")

    soon = knock(house, second, "same").closed
    house.later(FILED_S + 1)

    assert soon is Closed.JUST_FILED
    assert knock(house, second, "same").closed is None


@pytest.mark.parametrize(("ago", "closed"), [(FILED_S + 5, Closed.JUST_FILED), (FILED_S - 30, None)])
def test_on_a_look_that_is_older_than_what_the_ledger_remembers_nothing_begins(
    house: House, ago: float, closed: Closed | None
) -> None:
    house.open()
    house.feed(1)
    job = house.claimed("b.0")
    now = house.ledger.now()

    begun = house.ledger.begin(job, apply(job, e.Begun(fingerprint="same", key_id="k"), now), looked_at=now - ago)

    assert begun.closed is closed


@pytest.mark.parametrize(
    "event",
    [
        e.NotSubmitted(wait=0),
        e.AttemptFailed(code="api_error", detail="", wait=0),
        e.Failed(code="request_refused", detail=""),
        e.Moderated(code="request_moderated", detail=""),
    ],
)
def test_an_edit_that_was_not_bought_can_be_bought_by_another_row(house: House, event: e.Event) -> None:
    house.open()
    house.feed(2)
    house.moved(house.begun("b.0", "same"), event)

    assert knock(house, "b.1", "same").closed is None


def test_an_edit_of_which_only_the_receipt_says_what_it_is_is_not_bought_by_another_row(house: House) -> None:
    house.open()
    house.feed(2)
    of_a_lost_ledger = e.Begun(fingerprint="", key_id="")
    doubt = house.moved(house.claimed("b.0"), of_a_lost_ledger, e.Doubted(detail="", wait=45))
    second = house.claimed("b.1")

    house.moved(replace(doubt, fingerprint="same"), house.accepted())

    assert knock(house, second, "same").closed is Closed.BEING_BOUGHT


def test_an_edit_in_doubt_is_not_bought_by_another_row_until_the_doubt_is_held(house: House) -> None:
    house.open()
    house.feed(2)
    doubt = house.moved(house.begun("b.0", "same"), e.Doubted(detail="timeout", wait=45))
    second = house.claimed("b.1")

    before = knock(house, second, "same").closed
    house.moved(doubt, e.Held())

    assert before is Closed.BEING_BOUGHT
    assert knock(house, second, "same").closed is None


def test_a_row_that_ends_unchanged_leaves_anothers_purchase_alone(house: House) -> None:
    house.open()
    house.feed(3)
    house.begun("b.0", "same")
    copied = e.Unchanged(result=house.filed().result, fingerprint="same", how="copied")
    house.moved(house.claimed("b.1"), copied)

    assert knock(house, "b.2", "same").closed is Closed.BEING_BOUGHT
    assert house.counts() == {"queued": 1, "submitting": 1, "unchanged": 1}


def test_racing_identical_edits_are_bought_once(house: House) -> None:
    house.open()
    ready = [house.claimed(job) for job in house.feed(5)]
    start, said = threading.Barrier(5), []

    def race(before: Job) -> None:
        after = house.to_begin(before, "same")
        start.wait(10)
        said.append(house.ledger.begin(before, after).closed)

    threads = [threading.Thread(target=race, args=(job,)) for job in ready]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert sorted(map(str, said)) == ["None"] + ["being_bought"] * 4


# -- only asking


def test_who_only_asks_takes_nothing(house: House) -> None:
    job = house.claimed(house.one())
    was = house.books()

    said = house.ledger.begin(job, house.to_begin(job), only_ask=True)

    assert (said.closed, said.intent) == (None, 0)
    assert house.books() == was
    assert knock(house, job).closed is None


@pytest.mark.parametrize(
    ("ceiling", "begun", "closed"),
    [(100 * RESERVE, 5, Closed.NO_SLOT), (2 * RESERVE, 1, Closed.MONEY_OPEN)],
)
def test_who_only_asks_is_told_nothing_of_slots_and_money_that_will_be_free(
    house: House, ceiling: int, begun: int, closed: Closed
) -> None:
    house.open(ceiling=ceiling)
    *jobs, last = house.feed(begun + 1)
    for job in jobs:
        house.begun(job)
    waiting = house.claimed(last)

    said = house.ledger.begin(waiting, house.to_begin(waiting), only_ask=True)

    assert said.closed is None
    assert knock(house, waiting).closed is closed


def test_who_only_asks_is_told_what_would_turn_him_back(house: House) -> None:
    house.open()
    first, second = house.feed(2)
    house.begun(first, fingerprint="f")
    job = house.claimed(second)

    bought = house.ledger.begin(job, house.to_begin(job, "f"), only_ask=True)
    house.ledger.throttle(20.0)
    throttled = house.ledger.begin(job, house.to_begin(job), only_ask=True)
    house.ledger.set_state("b", BatchState.PAUSED, "operator", only_from=[BatchState.OPEN])
    paused = house.ledger.begin(job, house.to_begin(job), only_ask=True)

    assert [bought.closed, throttled.closed, paused.closed] == [
        Closed.BEING_BOUGHT,
        Closed.THROTTLED,
        Closed.PAUSED,
    ]
    assert throttled.wait_s > 19


def test_who_only_asks_for_a_job_that_was_moved_is_told_so(house: House) -> None:
    job = house.claimed(house.one())
    knock(house, job)

    with pytest.raises(Superseded):
        house.ledger.begin(job, house.to_begin(job), only_ask=True)
