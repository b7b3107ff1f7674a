"""Ceilings of a batch, of a day and of a key: nothing begins that could break one, and nothing is counted twice."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from jobs import events as e
from jobs.batch import BatchState
from jobs.ledger.change import Closed
from jobs.money import NO_CAPS, PROOF_EDITS, UNPROVED, Caps, Sums
from jobs.states import apply

if TYPE_CHECKING:
    import redis

    from jobs.job import Job
    from jobs.ledger.port import Recorded
    from tests.contract.conftest import House

RESERVE, COST = 60_000, 45_000
TODAY, TOMORROW = "2026-11-22", "2026-11-23"
KEY, OTHER = "k1", "k2"


def knock(house: House, job: str | Job, caps: Caps = NO_CAPS, *, day: str = TODAY, key: str = KEY) -> Recorded:
    """Claim a job and try the gate; nothing may have changed where it stays closed."""
    before = house.claimed(job) if isinstance(job, str) else job
    was = house.books(), house.ledger.money(day), house.ledger.money(day, key)
    said = house.ledger.begin(before, house.to_begin(before, day=day, key=key), caps=caps)
    if said.closed:
        assert (house.books(), house.ledger.money(day), house.ledger.money(day, key)) == was
    return said


def proved(house: House) -> list[str]:
    """Open a batch in which one edit has cost what it should; return the jobs after that one."""
    house.open()
    jobs = house.feed(30)
    house.stored(jobs[0])
    return jobs[1:]


# -- the day and the key


def test_an_edit_is_in_the_books_of_its_day_and_of_its_key(house: House) -> None:
    house.begun(house.one())

    for sums in (house.ledger.money(TODAY), house.ledger.money(TODAY, KEY)):
        assert (sums.reserved, sums.settled) == (RESERVE, 0)
    assert house.ledger.money(TODAY, OTHER) == house.ledger.money(TOMORROW) == Sums()


def test_what_it_cost_stays_on_the_day_of_its_reserve(house: House) -> None:
    job = house.running(house.one(), cost=None)
    house.open("c")
    house.begun(house.feed(1, batch="c")[0], day=TOMORROW)

    house.moved(job, house.fetchable(cost=COST))

    assert house.ledger.money(TODAY) == house.ledger.money(TODAY, KEY) == Sums(settled=COST)
    assert house.ledger.money(TOMORROW).settled == 0


def test_another_attempt_on_another_day_leaves_the_first_ones_cost_where_it_was(house: House) -> None:
    job = house.moved(house.running(house.one()), e.AttemptFailed(code="api_error", detail="", wait=0))
    second = house.begun(job.id, day=TOMORROW, key=OTHER)

    house.moved(second, house.accepted(50_000))

    assert house.ledger.money(TODAY, KEY).settled == COST
    assert house.ledger.money(TOMORROW, OTHER).settled == 50_000
    assert house.progress().settled == COST + 50_000


@pytest.mark.parametrize(
    ("caps", "closed"), [(Caps(day=RESERVE - 1), Closed.DAY_CAP), (Caps(key_day=RESERVE - 1), Closed.KEY_CAP)]
)
def test_an_edit_that_does_not_fit_into_the_day_does_not_begin(house: House, caps: Caps, closed: Closed) -> None:
    said = knock(house, house.one(), caps)

    assert (said.closed, said.needed) == (closed, RESERVE)


def test_an_edit_that_fits_exactly_into_the_day_begins(house: House) -> None:
    assert knock(house, house.one(), Caps(day=RESERVE, key_day=RESERVE)).closed is None


def test_what_the_day_has_cost_counts_over_all_batches_and_the_next_day_is_a_new_one(house: House) -> None:
    house.stored(house.one())
    house.open("c")
    job = house.claimed(house.feed(1, batch="c")[0])
    caps = Caps(day=COST + RESERVE - 1)

    assert knock(house, job, caps).closed is Closed.DAY_CAP
    assert knock(house, job, caps, day=TOMORROW).closed is None


def test_a_keys_cap_does_not_hold_another_key_back(house: House) -> None:
    job = proved(house)[0]
    caps = Caps(key_day=COST)

    assert knock(house, house.claimed(job), caps).closed is Closed.KEY_CAP
    assert knock(house, house.load(job), Caps(key_day=RESERVE), key=OTHER).closed is None


def test_where_only_open_reserves_stand_in_the_days_way_the_gate_says_so(house: House) -> None:
    first, second = proved(house)[:2]
    caps = Caps(day=COST + 2 * RESERVE - 1)
    assert knock(house, first, caps).closed is None
    waiting = house.claimed(second)

    assert knock(house, waiting, caps).closed is Closed.MONEY_OPEN
    house.moved(house.load(first), e.NotSubmitted(wait=0))
    assert knock(house, waiting, caps).closed is None


def test_a_batch_that_is_forgotten_leaves_its_money_in_the_day(house: House) -> None:
    house.stored(house.one())

    house.ledger.forget("b")

    assert house.ledger.money(TODAY) == house.ledger.money(TODAY, KEY) == Sums(settled=COST)


def test_a_charge_that_comes_late_is_in_its_days_book_even_when_its_batch_is_forgotten(house: House) -> None:
    house.stored(house.one())
    house.ledger.forget("b")

    house.ledger.late_receipt("b", "{}", 7_000, day=TODAY, key=KEY)

    assert house.ledger.money(TODAY).settled == house.ledger.money(TODAY, KEY).settled == COST + 7_000


def test_a_doubt_that_is_asked_again_stays_in_the_day(house: House) -> None:
    doubt = house.doubted(house.one())

    house.ledger.resubmit(doubt, apply(doubt, e.Resubmitted(), house.ledger.now()))

    assert house.ledger.money(TODAY) == house.ledger.money(TODAY, KEY) == Sums(doubt_used=RESERVE)


# -- doubts that nobody settles


def test_a_held_doubts_reserve_does_not_let_others_wait_for_it(house: House) -> None:
    house.open(ceiling=2 * RESERVE - 1, allowance=0)
    first, second = house.feed(2)
    doubt = house.doubted(first)
    waiting = house.claimed(second)

    assert knock(house, waiting).closed is Closed.MONEY_OPEN
    house.moved(doubt, e.Held())
    assert knock(house, waiting).closed is Closed.CEILING


def test_a_held_doubt_that_proves_free_gives_its_money_back(house: House) -> None:
    house.open(ceiling=2 * RESERVE - 1, allowance=0)
    first, second = house.feed(2)
    held = house.held(first)
    assert (house.progress().withheld, house.ledger.money(TODAY).withheld) == (RESERVE, RESERVE)

    house.moved(held, e.Failed(code="in_doubt", detail=""))

    assert house.progress().withheld == house.progress().reserved == 0
    assert house.ledger.money(TODAY) == Sums()
    assert knock(house, second).closed is None


# -- a price that nobody has seen yet


def test_while_no_price_was_seen_only_as_many_begin_as_ten_times_the_price_allows(house: House) -> None:
    house.open(ceiling=2 * UNPROVED * RESERVE)
    jobs = house.feed(3)

    said = [knock(house, job).closed for job in jobs]

    assert said == [None, None, Closed.MONEY_OPEN]
    assert house.progress().reserved == 2 * RESERVE


def test_the_first_edit_begins_alone_however_low_the_ceiling(house: House) -> None:
    house.open(ceiling=3 * RESERVE)
    first, second = house.feed(2)

    assert knock(house, first).closed is None
    assert knock(house, second).closed is Closed.MONEY_OPEN


def test_once_a_price_was_seen_edits_begin_up_to_the_ceiling(house: House) -> None:
    house.open(ceiling=COST + 3 * RESERVE)
    jobs = house.feed(5)
    house.running(jobs[0])

    said = [knock(house, job).closed for job in jobs[1:]]

    assert said == [None, None, None, Closed.MONEY_OPEN]


def test_the_open_edits_of_an_unseen_price_count_more_until_they_settle(house: House) -> None:
    house.open(ceiling=2 * UNPROVED * RESERVE)
    jobs = house.feed(4)
    first, second = house.begun(jobs[0]), house.begun(jobs[1])

    house.moved(first, house.accepted())
    between = house.ledger.money(TODAY).unproved
    house.moved(second, house.accepted())

    assert between == (UNPROVED - 1) * RESERVE
    assert house.ledger.money(TODAY) == Sums(settled=2 * COST)
    assert knock(house, jobs[2]).closed is None


def test_where_edits_cost_more_than_they_should_the_reserve_of_the_next_rises_with_them(house: House) -> None:
    house.open()
    jobs = house.feed(3)
    house.running(jobs[0], cost=3 * RESERVE)

    assert knock(house, jobs[1]).closed is None

    assert house.progress().reserved == 3 * RESERVE
    house.moved(house.load(jobs[1]), house.accepted(3 * RESERVE))
    assert (house.progress().reserved, house.progress().settled) == (0, 6 * RESERVE)


def test_at_three_times_the_price_the_ceiling_is_not_broken(house: House) -> None:
    house.open(ceiling=20 * RESERVE)
    spent = 0

    for job in house.feed(20):
        before = house.claimed(job)
        if house.ledger.begin(before, house.to_begin(before)).closed is None:
            house.moved(house.load(job), house.accepted(3 * RESERVE), e.Failed(code="api_error", detail=""))
            spent += 1

    assert spent == 6
    assert house.progress().settled == 18 * RESERVE


# -- the race for the last of the money


@pytest.mark.parametrize(
    ("ceiling", "caps"),
    [(2 * COST + 10, NO_CAPS), (50_000_000, Caps(day=2 * COST + 10)), (50_000_000, Caps(key_day=2 * COST + 10))],
    ids=["batch", "day", "key"],
)
def test_24_workers_racing_for_the_last_of_the_money_overspend_by_nothing(
    house: House, ceiling: int, caps: Caps
) -> None:
    """$0.10 is left, an edit costs $0.045: two can be had."""
    house.open(ceiling=ceiling + 10 * COST if caps is NO_CAPS else ceiling, groups={"flux": 60})
    jobs = house.feed(34)
    more = Caps(day=caps.day and caps.day + 10 * COST, key_day=caps.key_day and caps.key_day + 10 * COST)
    for job in jobs[:10]:
        house.stored(job)
    ready = [house.claimed(job) for job in jobs[10:]]
    start, won = threading.Barrier(24), []

    def race(before: Job) -> None:
        start.wait(10)
        for _ in range(8):
            said = house.ledger.begin(before, house.to_begin(before), caps=more)
            if said.closed is None:
                won.append(before.id)
                house.moved(house.load(before.id), house.accepted(COST))
                return

    threads = [threading.Thread(target=race, args=(job,)) for job in ready]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    limit = 12 * COST + 10
    assert house.progress().settled == (10 + len(won)) * COST <= limit
    assert house.ledger.money(TODAY).settled == house.progress().settled
    assert 1 <= len(won) <= 2


# -- the first edits


def first_edits(house: House, costs: list[int]) -> None:
    """Let so many edits cost this; a batch that has paused stays paused."""
    for job, cost in zip(house.feed(len(costs)), costs, strict=True):
        house.moved(house.running(job, cost=cost), house.fetchable(), house.filed())


def test_first_edits_that_cost_just_20_percent_more_do_not_pause_the_batch(house: House) -> None:
    house.open()

    first_edits(house, [COST * 12 // 10] * PROOF_EDITS)

    progress = house.progress()
    assert progress.state is BatchState.OPEN
    assert (progress.first, progress.first_cost, progress.first_expected) == (20, 24 * COST, 20 * COST)


def test_first_edits_that_cost_over_20_percent_more_pause_the_batch_with_the_last_of_them(house: House) -> None:
    house.open()

    first_edits(house, [COST * 12 // 10] * (PROOF_EDITS - 1))
    before = house.progress().state
    job = house.running(house.feed(1, cursor=PROOF_EDITS - 1)[0], cost=COST * 12 // 10 + 1)

    assert before is BatchState.OPEN
    assert (house.progress().state, house.progress().reason) == (BatchState.PAUSED, "proof")
    house.moved(job, house.fetchable(), house.filed())


def test_a_batch_that_goes_on_does_not_pause_for_its_first_edits_again(house: House) -> None:
    house.open()
    first_edits(house, [3 * COST] * PROOF_EDITS)
    house.resume()

    for job in house.feed(5, cursor=PROOF_EDITS):
        house.moved(house.running(job, cost=3 * COST), house.fetchable(), house.filed())

    assert house.progress().state is BatchState.OPEN
    assert house.progress().first == PROOF_EDITS


def test_what_the_api_takes_back_is_no_settled_edit(house: House) -> None:
    house.open()
    moderated = house.running(house.feed(1)[0], cost=3 * COST)
    assert house.progress().first == 1

    house.moved(moderated, e.Moderated(code="request_moderated", detail="", cost=0))

    progress = house.progress()
    assert (progress.first, progress.first_cost, progress.first_expected, progress.settled) == (0, 0, 0, 0)


def test_a_batch_that_is_paused_by_hand_waits_for_approval_of_its_first_edits(house: House) -> None:
    house.open()
    jobs = house.feed(PROOF_EDITS)
    for job in jobs[:-5]:
        house.moved(house.running(job, cost=3 * COST), house.fetchable(), house.filed())
    in_flight = [house.begun(job) for job in jobs[-5:]]
    house.pause()

    for begun in in_flight:
        house.moved(begun, house.accepted(3 * COST), house.fetchable(), house.filed())

    assert (house.progress().state, house.progress().reason) == (BatchState.PAUSED, "proof")


def test_a_cancelled_batch_stays_cancelled_whatever_its_first_edits_cost(house: House) -> None:
    house.open()
    jobs = house.feed(PROOF_EDITS)
    for job in jobs[:-5]:
        house.moved(house.running(job, cost=3 * COST), house.fetchable(), house.filed())
    in_flight = [house.begun(job) for job in jobs[-5:]]
    house.cancel()

    for begun in in_flight:
        house.moved(begun, house.accepted(3 * COST), house.fetchable(), house.filed())

    assert house.progress().state is BatchState.CANCELLED


# -- why a batch waits


def test_a_batch_keeps_the_facts_of_its_reason_until_it_goes_on(house: House) -> None:
    house.open()
    facts = {"cap": "day", "needed": 5}
    house.ledger.set_state("b", BatchState.PAUSED, "cap", only_from=[BatchState.OPEN], about=facts)
    kept = house.progress().about

    house.resume()

    assert kept == facts
    assert house.progress().about == {}


def test_only_a_batch_that_waits_for_this_reason_is_let_go(house: House) -> None:
    house.open()
    house.pause("operator")
    only_from = [BatchState.PAUSED]

    assert not house.ledger.set_state("b", BatchState.OPEN, "", only_from=only_from, only_reason="cap")
    assert house.progress().state is BatchState.PAUSED
    assert house.ledger.set_state("b", BatchState.OPEN, "", only_from=only_from, only_reason="operator")


# -- what Redis alone could get wrong


def test_at_maxmemory_money_is_still_settled_in_the_days_book(on_redis: tuple[House, redis.Redis]) -> None:
    house, client = on_redis
    job = house.begun(house.one())
    client.script_flush()
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", 1)

    house.moved(job, house.accepted())

    assert house.ledger.money(TODAY) == Sums(settled=COST)


def test_a_days_book_expires_some_days_after_its_last_change(on_redis: tuple[House, redis.Redis]) -> None:
    house, client = on_redis

    house.stored(house.one())

    assert 7 * 86_400 < client.ttl(f"retouch:money:{TODAY}") <= 8 * 86_400


def test_finished_outcomes_can_be_read_and_stay_until_they_are_in_the_bucket(house: House) -> None:
    house.open()
    first, second = house.feed(2)
    house.stored(first)
    part = house.ledger.take_outcomes("b")
    house.stored(second)

    assert part is not None
    assert len(house.ledger.outcomes("b")) == 2
    house.ledger.drop_outcomes("b", part[0])
    assert len(house.ledger.outcomes("b")) == 1
    assert house.ledger.outcomes("unknown") == []


# -- costs that are not sure


def unsure(house: House) -> tuple[int, int]:
    """Return how many costs of the day, and of the key on it, need not be what the API charged."""
    return house.ledger.money(TODAY).unsure, house.ledger.money(TODAY, KEY).unsure


def test_a_cost_that_the_api_named_is_sure(house: House) -> None:
    house.stored(house.one())

    assert unsure(house) == (0, 0)


def test_a_cost_that_nobody_named_is_counted_as_not_sure(house: House) -> None:
    running = house.running(house.one(), cost=None)

    house.moved(running, house.fetchable(cost=None))

    assert unsure(house) == (1, 1)


@pytest.mark.parametrize("cost", [COST, None])
def test_the_receipt_of_a_doubt_that_is_held_may_be_one_of_long_ago(house: House, cost: int | None) -> None:
    held = house.held(house.one())

    running = house.moved(held, house.accepted(cost))
    first = unsure(house)
    house.moved(running, house.fetchable(COST), house.filed())

    assert first == ((1, 1) if cost is None else (2, 2))
    assert unsure(house) == first


def test_a_second_charge_of_an_edit_is_not_sure(house: House) -> None:
    house.open()
    for _ in range(2):
        house.ledger.late_receipt("b", "a line", COST, day=TODAY, key=KEY)

    assert unsure(house) == (1, 1)
