"""A limit group whose size the API's refusals have lowered: the gate keeps to it, and it changes one step at a time."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from jobs.ledger.change import Closed
from jobs.ledger.news import ANYBODYS, Freed
from jobs.ledger.port import Law, Places
from jobs.limit import FORGOTTEN_S, Limit

if TYPE_CHECKING:
    import redis

    from tests.contract.conftest import House


def to(size: int) -> Law:
    """Return the law that makes it this size, whatever it was."""
    return lambda limit, _: replace(limit, size=size)


def refused(intent: int) -> Law:
    """Return the law of a 429 for the submission of this number."""
    return lambda limit, places: limit.refused(intent=intent, latest=places.latest, now=1.0)


def closed(house: House, job: str) -> Closed | None:
    """Claim a job and say what stopped it at the gate."""
    before = house.claimed(job)
    return house.ledger.begin(before, house.to_begin(before)).closed


def test_nothing_is_known_of_a_group_that_the_api_never_refused(house: House) -> None:
    assert house.ledger.limits() == {}


def test_no_more_begins_than_a_lowered_size_allows(house: House) -> None:
    house.open()
    jobs = house.feed(5)
    house.ledger.adjust("flux", to(2))

    said = [closed(house, job) for job in jobs]

    assert said == [None, None, Closed.NO_SLOT, Closed.NO_SLOT, Closed.NO_SLOT]
    assert {name: limit.size for name, limit in house.ledger.limits().items()} == {"flux": 2}


def test_while_every_place_is_taken_nothing_but_the_batch_itself_says_more_than_that(house: House) -> None:
    house.open()
    *busy, job = house.feed(6)
    for each in busy:
        closed(house, each)
    house.ledger.throttle(30.0)
    waits = house.claimed(job)

    full = house.ledger.begin(waits, house.to_begin(waits)).closed
    house.pause()
    paused = house.ledger.begin(waits, house.to_begin(waits)).closed

    assert (full, paused) == (Closed.NO_SLOT, Closed.PAUSED)


def test_a_lowered_outer_group_holds_its_inner_ones_and_a_lowered_inner_one_only_itself(house: House) -> None:
    house.open(groups={"flux": 9, "kontext-max": 9})
    inner, outer = house.feed(4, group="kontext-max"), house.feed(4)
    house.ledger.adjust("kontext-max", to(1))
    house.ledger.adjust("flux", to(3))

    said = [closed(house, job) for job in (*inner[:2], *outer[:3])]

    assert said == [None, Closed.NO_SLOT, None, None, Closed.NO_SLOT]


def test_a_size_above_the_catalogues_lets_no_more_begin(house: House) -> None:
    house.open()
    house.ledger.adjust("flux", to(9))

    said = [closed(house, job) for job in house.feed(6)]

    assert said == [None] * 5 + [Closed.NO_SLOT]


def test_whoever_changes_a_size_is_told_the_places_in_use_and_the_last_submission_that_began(house: House) -> None:
    house.open()
    first, second = (house.begun(job) for job in house.feed(2))
    seen: list[Places] = []

    def law(limit: Limit, places: Places) -> Limit:
        seen.append(places)
        return limit

    house.ledger.adjust("flux", law)

    assert seen == [Places(used=2, latest=second.intent)]
    assert second.intent == first.intent + 1
    assert house.ledger.limits() == {}


def test_twenty_refusals_of_one_burst_told_at_once_lower_the_size_once(house: House) -> None:
    house.open()
    begun = [house.begun(job) for job in house.feed(5)]
    start = threading.Barrier(20)

    def tell(intent: int) -> None:
        start.wait(10)
        house.ledger.adjust("flux", refused(intent))

    threads = [threading.Thread(target=tell, args=(begun[n % 5].intent,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    limit = house.ledger.limits()["flux"]
    assert (limit.size, limit.strikes, limit.mark) == (3, 1, begun[-1].intent)


def test_eight_who_count_at_once_are_all_counted(house: House) -> None:
    house.ledger.adjust("flux", to(3))
    start = threading.Barrier(8)

    def tell() -> None:
        start.wait(10)
        house.ledger.adjust("flux", lambda limit, _: replace(limit, strikes=limit.strikes + 1))

    threads = [threading.Thread(target=tell) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    counted = house.ledger.limits()["flux"].strikes
    assert counted == 8 or (house.name.endswith("twice") and counted > 8), "a lost reply may count one twice"


def test_a_size_that_is_whole_again_is_forgotten(house: House) -> None:
    house.ledger.adjust("flux", to(2))

    said = house.ledger.adjust("flux", lambda limit, _: Limit.whole(limit.most))

    assert said == Limit.whole(5)
    assert house.ledger.limits() == {}


def test_a_size_that_nothing_has_moved_for_ten_minutes_is_forgotten(house: House) -> None:
    house.open()
    house.ledger.adjust("flux", to(1))
    house.later(FORGOTTEN_S - 5)
    still = house.ledger.limits()

    house.later(10)

    assert still["flux"].size == 1
    assert house.ledger.limits() == {}
    assert [closed(house, job) for job in house.feed(2)] == [None, None]


def test_those_who_wait_at_the_gate_are_told_when_the_size_grows(house: House) -> None:
    told, stop = threading.Event(), threading.Event()
    house.ledger.adjust("flux", to(2))

    def freed(news: Freed) -> None:
        if news != ANYBODYS:  # it is also told to look where nothing is heard
            told.set()

    listener = threading.Thread(target=house.ledger.listen, args=("w1", freed, stop.is_set))
    listener.start()

    try:
        until = threading.Event()
        for size in (3, 4, 5) * 20:  # a listener that has only just begun hears nothing of what was before
            house.ledger.adjust("flux", to(2))
            house.ledger.adjust("flux", to(size))
            if told.is_set() or until.wait(0.1):
                break
    finally:
        stop.set()
        listener.join(10)

    assert told.is_set()


# -- what only Redis can get wrong


def test_a_submission_that_begins_while_a_burst_is_told_belongs_to_it(on_redis: tuple[House, redis.Redis]) -> None:
    """The mark is the last submission that had begun when the size was written, not when it was read."""
    house, _ = on_redis
    house.open()
    jobs = house.feed(3)
    first = house.begun(jobs[0])
    meanwhile = iter(jobs[1:2])

    def law(limit: Limit, places: Places) -> Limit:
        for job in meanwhile:
            house.begun(job)
        return limit.refused(intent=first.intent, latest=places.latest, now=1.0)

    house.ledger.adjust("flux", law)

    assert house.ledger.limits()["flux"].mark == first.intent + 1


def test_a_size_is_lowered_although_redis_is_full(on_redis: tuple[House, redis.Redis]) -> None:
    house, client = on_redis
    house.ledger.adjust("flux", to(4))
    client.config_set("maxmemory", 1)
    try:
        said = house.ledger.adjust("flux", to(2))
    finally:
        client.config_set("maxmemory", 0)

    assert said.size == 2
    assert house.ledger.limits()["flux"].size == 2


def test_accounts_have_sizes_of_their_own(on_redis: tuple[House, redis.Redis]) -> None:
    house, _ = on_redis

    house.ledger.adjust("flux", to(2))

    assert house.ledger.limits("other") == {}
