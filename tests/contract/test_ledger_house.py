"""Keeping house: strays, locks, workers, and the news that a slot is free."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from jobs import events as e
from jobs.latency import MOST
from jobs.ledger.change import WORKER_S
from jobs.ledger.news import ANYBODYS, Freed
from jobs.ledger.seen import WorkerSeen
from jobs.states import apply

if TYPE_CHECKING:
    from tests.contract.conftest import House

FREED = Freed(account="main", group="flux")


def test_slots_of_jobs_that_hold_them_are_no_strays(house: House) -> None:
    house.open()
    house.feed(5)
    house.begun("b.0")
    house.running("b.1")
    house.doubted("b.2")
    house.ready("b.3")

    assert house.ledger.remove_strays() == 0
    assert house.ledger.slots_used()["flux"] == 3


def test_slots_of_jobs_that_are_gone_are_freed(house: House) -> None:
    house.open(groups={"flux": 4, "kontext-max": 4})
    house.running(house.feed(1)[0])
    house.running(house.feed(1, group="kontext-max")[0])
    house.ledger.forget("b")
    assert house.ledger.slots_used() == {"flux": 2, "kontext-max": 1}

    freed = house.ledger.remove_strays()

    assert freed == 3
    assert house.ledger.slots_used() == {"flux": 0, "kontext-max": 0}
    assert house.ledger.remove_strays() == 0


def test_a_slot_of_a_job_that_is_queued_anew_is_a_stray(house: House) -> None:
    batch = house.open()
    house.running(house.feed(1)[0])
    house.ledger.forget("b")
    house.ledger.open_batch(batch)

    house.feed(1)

    assert house.ledger.remove_strays() == 1


def test_a_lock_has_one_holder(house: House) -> None:
    assert house.ledger.lock("tick", "a", 10)
    assert not house.ledger.lock("tick", "b", 10)
    assert house.ledger.lock("finish", "b", 10)


def test_a_lock_is_renewed_by_its_holder(house: House) -> None:
    house.ledger.lock("tick", "a", 10)
    house.later(8)
    assert house.ledger.lock("tick", "a", 10)
    house.later(8)

    assert not house.ledger.lock("tick", "b", 10)


def test_a_lock_that_is_not_renewed_is_free_again(house: House) -> None:
    house.ledger.lock("tick", "a", 10)
    house.later(11)

    assert house.ledger.lock("tick", "b", 10)
    assert not house.ledger.lock("tick", "a", 10)


def test_a_lock_is_given_back_by_its_holder_alone(house: House) -> None:
    house.ledger.lock("tick", "a", 10)

    house.ledger.unlock("tick", "b")
    refused = house.ledger.lock("tick", "b", 10)
    house.ledger.unlock("tick", "a")

    assert not refused
    assert house.ledger.lock("tick", "b", 10)


def test_workers_are_seen_for_a_minute(house: House) -> None:
    old, new = (
        WorkerSeen(id=name, threads=30, edits=3, seen_at=house.ledger.now(), about={"host": "é"}) for name in "za"
    )
    house.ledger.see_worker(old)
    house.later(WORKER_S - 20)
    house.ledger.see_worker(new)
    both = house.ledger.workers()
    house.later(30)

    assert both == [new, old]
    assert house.ledger.workers() == [new]


def test_a_worker_that_is_seen_again_replaces_what_was_said(house: House) -> None:
    for edits in (1, 2):
        house.ledger.see_worker(WorkerSeen(id="w", threads=4, edits=edits, seen_at=0.0))

    assert [worker.edits for worker in house.ledger.workers()] == [2]


def test_who_listens_hears_of_a_freed_slot(house: House) -> None:
    house.open()
    jobs = iter(house.feed(40))

    with listening(house) as (heard, arrived):
        while not arrived.wait(0.05):
            house.moved(house.begun(next(jobs)), e.NotSubmitted(wait=0))

    assert heard[0] == replace(FREED, by="w1")


def test_news_of_a_freed_slot_say_of_which_account_it_is(house: House) -> None:
    house.open()
    jobs = iter(house.feed(40))

    with listening(house) as (heard, arrived):
        while not arrived.wait(0.05):
            house.moved(house.begun(next(jobs), account="other"), e.NotSubmitted(wait=0))

    assert heard[0] == Freed(account="other", group="flux", by="w1")


def test_nobody_else_hears_of_a_slot_whose_owner_frees_it(house: House) -> None:
    house.open()
    jobs = iter(house.feed(40))

    with listening(house, owner="w2") as (heard, arrived), listening(house) as (_, told):
        while not told.wait(0.05):
            house.moved(house.begun(next(jobs)), e.NotSubmitted(wait=0))
        while not arrived.wait(0.05):
            house.ledger.pass_on(replace(FREED, by="w1"))

    assert heard == [FREED] * len(heard)


def test_who_hears_nothing_for_a_while_is_told_to_look(house: House) -> None:
    quiet, over = threading.Event(), threading.Event()

    def freed(news: Freed) -> None:
        assert news == ANYBODYS
        quiet.set()

    listener = threading.Thread(target=house.ledger.listen, args=("w1", freed, over.is_set))
    listener.start()

    try:
        assert quiet.wait(10)
    finally:
        over.set()
        listener.join(10)


def test_a_slot_that_somebody_else_frees_is_anybodys(house: House) -> None:
    house.open()
    jobs = iter(house.feed(40))

    with listening(house) as (heard, arrived):
        while not arrived.wait(0.05):
            job = house.begun(next(jobs))
            after = apply(job, e.NotSubmitted(wait=0), house.ledger.now())
            house.ledger.record(job, replace(after, fence=job.fence + 1))  # taken over: its owner has vanished

    assert heard[0] == FREED


def test_where_batches_share_the_places_a_freed_slot_is_anybodys(house: House) -> None:
    house.open()
    house.ledger.share("b", 1.0, {})
    jobs = iter(house.feed(40))

    with listening(house) as (heard, arrived):
        while not arrived.wait(0.05):
            house.moved(house.begun(next(jobs)), e.NotSubmitted(wait=0))

    assert heard[0] == FREED


def test_a_slot_that_is_passed_on_is_anybodys(house: House) -> None:
    with listening(house) as (heard, arrived):
        while not arrived.wait(0.05):
            house.ledger.pass_on(replace(FREED, by="w1"))

    assert heard[0] == FREED


@contextmanager
def listening(house: House, owner: str = "w1") -> Iterator[tuple[list[Freed], threading.Event]]:
    """Listen to news meanwhile as `w1`, or another one: what was heard, and whether anything was."""
    heard: list[Freed] = []
    arrived, over = threading.Event(), threading.Event()

    def freed(news: Freed) -> None:
        if news != ANYBODYS:
            heard.append(news)
            arrived.set()

    listener = threading.Thread(target=house.ledger.listen, args=(owner, freed, over.is_set))
    listener.start()
    try:
        yield heard, arrived
    finally:
        over.set()
        listener.join(10)
    assert not listener.is_alive()


def test_time_goes_forward(house: House) -> None:
    first = house.ledger.now()

    assert house.ledger.now() >= first > 1_700_000_000


def test_a_parked_key_is_known_to_all_with_the_first_reason_until_it_is_unparked(house: House) -> None:
    house.ledger.park_key("k1", "HTTP 403: no")
    house.ledger.park_key("k1", "HTTP 401: no")
    house.ledger.park_key("k2", "HTTP 402: no")
    parked = house.ledger.parked_keys()
    house.ledger.unpark_key("k1")

    assert {key: each.why for key, each in parked.items()} == {"k1": "HTTP 403: no", "k2": "HTTP 402: no"}
    assert parked["k1"].since > 0
    assert list(house.ledger.parked_keys()) == ["k2"]


def test_what_was_seen_of_latencies_is_added_up_for_all(house: House) -> None:
    house.ledger.learn("flux-2-pro", {100: 64})

    both = house.ledger.learn("flux-2-pro", {100: 64, 101: 64})
    other = house.ledger.learn("flux-2-max", {})

    assert both[101] >= 64
    assert both[100] >= 128
    assert other == {}


def test_of_latencies_that_fill_a_histogram_half_is_forgotten(house: House) -> None:
    house.ledger.learn("flux-2-pro", {7: 1, 100: MOST // 64 * 64})

    kept = house.ledger.learn("flux-2-pro", {101: 64})

    assert sum(kept.values()) <= MOST
    assert 7 not in kept
    assert kept[101] >= 16


def test_what_is_kept_of_the_credits_is_there_until_something_takes_its_place(house: House) -> None:
    before = house.ledger.kept("base")
    house.ledger.keep("base", "one")
    house.ledger.keep("seen", "two")
    house.ledger.keep("base", "three")

    assert (before, house.ledger.kept("base"), house.ledger.kept("seen")) == ("", "three", "two")


def test_what_the_credits_say_lies_with_its_batch_alone(house: House) -> None:
    house.open()

    house.ledger.say_of_credits("b", '{"verdict": "some"}')
    house.ledger.say_of_credits("gone", '{"verdict": "some"}')

    assert house.progress().credits == {"verdict": "some"}
    assert house.ledger.batch("gone") is None
