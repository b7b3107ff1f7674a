"""How the ledger lets open batches share: who leaves its place in a window, and whose the next slot is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jobs import events as e
from jobs.batch import BatchState
from jobs.errors import LedgerError
from jobs.ledger.change import ASIDE_AGAIN_S, COMES_S, FRONT_S, LONG_WAIT_S, Closed
from jobs.shares import Priority

if TYPE_CHECKING:
    import redis

    from jobs.job import Job
    from jobs.ledger.port import Claim, Recorded
    from tests.contract.conftest import House

GROUPS = {"flux": 40, "kontext-max": 40}


def claim(house: House, job: str) -> Claim:
    return house.ledger.claim(job, "w1")


def knock(house: House, job: str | Job) -> Recorded:
    """Claim a job and try the gate."""
    before = house.claimed(job) if isinstance(job, str) else job
    return house.ledger.begin(before, house.to_begin(before))


def fed(house: House, large: int, small: int = 1) -> tuple[list[str], list[str]]:
    """Open two batches that have rows in `flux`, and feed so many of each."""
    house.open("large")
    house.open("small")
    return house.feed(large, batch="large"), house.feed(small, batch="small")


def weigh(house: House, large: float = 1.0, small: float = 1.0) -> None:
    """Let both batches know that they are not alone; none has to leave a place."""
    house.ledger.share("large", large, {"flux": 30})
    house.ledger.share("small", small, {"flux": 30})


def test_a_batch_is_as_it_was_agreed_until_its_priority_is_changed(house: House) -> None:
    batch = house.open(priority=Priority.LOW, by=1_800_000_000.5)
    assert house.progress().urgency(batch) == (Priority.LOW, 1_800_000_000.5)

    house.ledger.set_priority("b", Priority.URGENT, 0.0)

    assert house.progress().urgency(batch) == (Priority.URGENT, 0.0)


def test_of_a_batch_that_is_not_there_nothing_is_kept(house: House) -> None:
    house.ledger.set_priority("gone", Priority.URGENT, 0.0)
    house.ledger.share("gone", 8.0, {"flux": 3})

    assert house.ledger.batch("gone") is None


def test_shares_are_counted_with_the_batch_and_its_low_water_goes_with_them(house: House) -> None:
    house.open(groups=GROUPS)

    house.ledger.share("b", 8.0, {"flux": 20, "kontext-max": 0})

    found = house.progress()
    assert (found.weight, found.shares, found.low) == (8.0, {"flux": 20}, {"flux": 18, "kontext-max": 1})


def test_a_batch_that_is_alone_again_has_no_share(house: House) -> None:
    house.open()
    house.ledger.share("b", 8.0, {"flux": 20})

    house.ledger.share("b", 0.0, {"flux": 0})

    assert (house.progress().weight, house.progress().shares) == (0.0, {})


def test_a_claim_says_what_the_batch_weighs(house: House) -> None:
    one, other = house.one(), house.feed(1, cursor=1)[0]
    assert claim(house, one).weight == 0.0

    house.ledger.share("b", 0.25, {"flux": 20})

    assert claim(house, other).weight == 0.25


def test_jobs_beyond_the_share_leave_their_places_until_it_fits(house: House) -> None:
    house.open()
    jobs = house.feed(5)
    house.ledger.share("b", 1.0, {"flux": 3})

    said = [claim(house, job).why for job in jobs]

    assert said == ["aside", "aside", "", "", ""]
    assert (house.progress().hot["flux"], house.progress().aside, house.progress().waiting) == (3, {"flux": 2}, 0)


def test_a_job_that_left_its_place_takes_the_next_that_is_free(house: House) -> None:
    house.open()
    jobs = house.feed(3)
    house.ledger.share("b", 1.0, {"flux": 2})
    assert claim(house, jobs[0]).why == "aside"
    assert claim(house, jobs[0]).why == "aside", "there still is no place"

    house.stored(jobs[1])

    assert claim(house, jobs[0]).why == ""
    assert (house.progress().hot["flux"], house.progress().aside) == (2, {})


def test_a_job_that_left_its_place_is_given_a_message_soon(house: House) -> None:
    house.open()
    jobs = house.feed(2)
    house.ledger.share("b", 1.0, {"flux": 1})
    claim(house, jobs[0])

    house.later(ASIDE_AGAIN_S + 0.1)

    assert [hint.job for hint in house.ledger.due(10)] == [jobs[0]]


def test_a_job_that_comes_back_from_a_long_wait_finds_a_place_or_waits_for_one(house: House) -> None:
    house.open()
    first, other = house.feed(2)
    waits = house.moved(house.claimed(first), e.GivenBack(wait=LONG_WAIT_S + 1, why="throttled"))
    house.ledger.share("b", 1.0, {"flux": 1})
    house.later(LONG_WAIT_S + 2)

    assert claim(house, waits.id).why == "aside"
    house.stored(other)
    assert claim(house, waits.id).why == ""


def test_what_is_in_flight_leaves_no_place(house: House) -> None:
    house.open()
    jobs = [house.moved(house.running(job), e.GivenBack(wait=0.0, why="shutting down")) for job in house.feed(3)]
    house.ledger.share("b", 1.0, {"flux": 1})

    assert [claim(house, job.id).why for job in jobs] == ["", "", ""]


def test_shares_are_of_one_limit_group(house: House) -> None:
    house.open(groups=GROUPS)
    flux, kontext = house.feed(3), house.feed(3, group="kontext-max")
    house.ledger.share("b", 1.0, {"flux": 0, "kontext-max": 1})

    assert [claim(house, job).why for job in flux] == ["", "", ""]
    assert [claim(house, job).why for job in kontext] == ["aside", "aside", ""]


@pytest.mark.parametrize("state", [BatchState.CANCELLED, BatchState.PAUSED])
def test_a_batch_that_is_not_open_leaves_no_place(house: House, state: BatchState) -> None:
    house.open()
    jobs = house.feed(2)
    house.ledger.share("b", 1.0, {"flux": 1})

    house.cancel() if state is BatchState.CANCELLED else house.pause()

    assert claim(house, jobs[0]).why == ("" if state is BatchState.CANCELLED else "paused")
    assert house.progress().aside == {}


def test_what_left_its_place_is_ended_with_its_batch(house: House) -> None:
    house.open()
    jobs = house.feed(2)
    house.ledger.share("b", 1.0, {"flux": 1})
    claim(house, jobs[0])

    house.cancel()
    ended = house.moved(house.claimed(jobs[0]), e.Cancelled())

    assert ended.final
    assert (house.progress().aside, house.progress().hot["flux"]) == ({}, 1)


def test_the_next_slot_is_for_who_has_fewest_for_its_weight(house: House) -> None:
    large, small = fed(house, 7)
    weigh(house)
    running = [house.running(job) for job in large[:5]]
    late = house.claimed(small[0])
    assert knock(house, late).closed is Closed.NO_SLOT
    again = house.claimed(large[5])
    assert knock(house, again).closed is Closed.NO_SLOT

    house.moved(running[0], house.fetchable())

    assert knock(house, again).closed is Closed.NO_SLOT, "somebody waits who has none"
    assert knock(house, late).closed is None
    house.moved(running[1], house.fetchable())
    assert knock(house, again).closed is None, "nobody does any more"


@pytest.mark.parametrize(("heavier", "lighter"), [(4.0, 1.0), (32.0, 1.0), (8.0, 0.25)])
def test_slots_go_to_both_by_weight_and_the_light_batch_is_not_starved(
    house: House, heavier: float, lighter: float
) -> None:
    heavy, light = fed(house, 16, 16)
    weigh(house, large=heavier, small=lighter)
    waiting = [house.claimed(job) for job in [*light, *heavy]]
    in_flight: list[Job] = []

    def everybody_knocks() -> None:
        for job in list(waiting):
            after = house.to_begin(job)
            if house.ledger.begin(job, after).closed is None:
                waiting.remove(job)
                in_flight.append(house.moved(after, house.accepted()))

    everybody_knocks()
    everybody_knocks()
    assert [job.order.batch for job in in_flight] == ["small"] * 5, "nobody else had asked"
    for _ in range(10):
        house.moved(in_flight.pop(0), house.fetchable())
        everybody_knocks()

    assert sorted(job.order.batch for job in in_flight) == ["large"] * 4 + ["small"]


def test_a_batch_does_not_wait_for_itself(house: House) -> None:
    house.open("large", groups=GROUPS)
    house.open("small", groups=GROUPS)
    inner = [house.running(job) for job in house.feed(2, batch="large", group="kontext-max")]
    weigh(house)
    waits = house.claimed(house.feed(1, batch="small", group="kontext-max")[0])
    assert knock(house, waits).closed is Closed.NO_SLOT
    assert knock(house, house.feed(1, batch="small")[0]).closed is None, "it has one more than when it asked"

    house.moved(inner[0], house.fetchable())

    assert knock(house, waits).closed is None


def test_doubts_that_are_held_for_a_person_count_as_no_slots(house: House) -> None:
    large, small = fed(house, 2)
    for job in large[:1]:
        house.held(job)
    house.open("third")
    running = [house.running(job) for job in house.feed(5, batch="third")]
    weigh(house)
    assert knock(house, small[0]).closed is Closed.NO_SLOT

    house.moved(running[0], house.fetchable())

    assert knock(house, large[1]).closed is None, "both have none"


def test_a_batch_that_is_alone_asks_nobody(house: House) -> None:
    large, small = fed(house, 6)
    weigh(house)
    running = [house.running(job) for job in large[:5]]
    assert knock(house, small[0]).closed is Closed.NO_SLOT

    house.ledger.share("large", 0.0, {"flux": 0})
    house.moved(running[0], house.fetchable())

    assert knock(house, large[5]).closed is None


def second_in_line(house: House) -> Job:
    """Return a job that waits for a slot behind another batch, which has left; one slot is free."""
    large, small = fed(house, 6)
    weigh(house)
    running = [house.running(job) for job in large[:5]]
    assert knock(house, small[0]).closed is Closed.NO_SLOT
    house.moved(running[0], house.fetchable())
    return house.claimed(large[5])


def test_who_does_not_come_for_a_slot_that_is_kept_free_keeps_nobody_waiting_for_long(house: House) -> None:
    waits = second_in_line(house)
    assert knock(house, waits).closed is Closed.NO_SLOT

    house.later(COMES_S - 0.5)
    kept = knock(house, waits).closed
    house.later(0.6)

    assert (kept, knock(house, waits).closed) == (Closed.NO_SLOT, None)


def test_a_batch_keeps_its_turn_for_a_while_although_no_slot_is_free(house: House) -> None:
    waits = second_in_line(house)

    house.later(FRONT_S - 0.5)

    assert knock(house, waits).closed is Closed.NO_SLOT


def test_who_has_not_tried_for_long_has_lost_its_turn(house: House) -> None:
    waits = second_in_line(house)

    house.later(FRONT_S + 0.1)

    assert knock(house, waits).closed is None


@pytest.mark.parametrize("end", ["pause", "cancel", "forget"])
def test_a_batch_that_does_not_go_on_keeps_no_slot_from_others(house: House, end: str) -> None:
    waits = second_in_line(house)

    getattr(house.ledger if end == "forget" else house, end)(batch="small")

    assert knock(house, waits).closed is None


def test_a_batch_that_waits_takes_the_turn_of_one_that_does_not_go_on(house: House) -> None:
    large, small = fed(house, 7, 2)
    weigh(house)
    house.open("third")
    house.ledger.share("third", 1.0, {"flux": 30})
    running = [house.running(job) for job in [*large[:4], small[0]]]
    third = house.feed(1, batch="third")[0]
    assert [knock(house, job).closed for job in (third, small[1])] == [Closed.NO_SLOT, Closed.NO_SLOT]
    house.pause(batch="third")
    assert knock(house, house.load(small[1])).closed is Closed.NO_SLOT

    house.moved(running[0], house.fetchable())

    assert [knock(house, job).closed for job in (large[4], house.load(small[1]))] == [Closed.NO_SLOT, None]


def test_who_only_asks_gets_no_place_in_line(house: House) -> None:
    large, small = fed(house, 6)
    weigh(house)
    running = [house.running(job) for job in large[:5]]
    asks = house.claimed(small[0])
    assert house.ledger.begin(asks, house.to_begin(asks), only_ask=True).closed is None

    house.moved(running[0], house.fetchable())

    assert knock(house, large[5]).closed is None


def test_who_only_asks_takes_nobodys_place_in_line(house: House) -> None:
    large, small = fed(house, 6, 2)
    weigh(house)
    running = [house.running(job) for job in large[:5]]
    assert knock(house, small[0]).closed is Closed.NO_SLOT
    house.moved(running[0], house.fetchable())
    asks = house.claimed(small[1])
    assert house.ledger.begin(asks, house.to_begin(asks), only_ask=True).closed is None

    assert knock(house, large[5]).closed is Closed.NO_SLOT


def test_who_waits_for_a_place_of_an_inner_group_holds_nobody_back_from_the_outer_one(house: House) -> None:
    house.open("large", groups=GROUPS)
    house.open("small", groups=GROUPS)
    inner, outer = house.feed(2, batch="large", group="kontext-max"), house.feed(2, batch="large")
    for job in inner:
        house.running(job)
    weigh(house)
    assert knock(house, house.feed(1, batch="small", group="kontext-max")[0]).closed is Closed.NO_SLOT

    assert [knock(house, job).closed for job in outer] == [None, None]


def test_shares_are_written_although_redis_is_full(on_redis: tuple[House, redis.Redis]) -> None:
    house, client = on_redis
    house.open()
    client.config_set("maxmemory", 1)
    try:
        house.ledger.share("b", 8.0, {"flux": 20})
    finally:
        client.config_set("maxmemory", 0)

    assert house.progress().shares == {"flux": 20}


def test_a_full_redis_lets_nothing_begin_of_batches_that_share(on_redis: tuple[House, redis.Redis]) -> None:
    house, client = on_redis
    large, small = fed(house, 6)
    weigh(house)
    running = [house.running(job) for job in large[:5]]
    waits = house.claimed(small[0])
    assert knock(house, waits).closed is Closed.NO_SLOT
    house.moved(running[0], house.fetchable())
    was = house.ledger.slots_used()

    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(LedgerError):
            house.ledger.begin(waits, house.to_begin(waits))
    finally:
        client.config_set("maxmemory", 0)

    assert house.ledger.slots_used() == was
