"""Workers that die, messages that vanish, and an API that throttles, loses answers, cuts downloads and expires URLs.

Every test first makes sure that what it is about has really happened.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from jobs.queues import KEY_PREFIX, QUEUES
from running.programs import Simulator, eventually
from tests.acceptance.harness import House
from tests.acceptance.test_main_job import ids_of


def injected(api: Simulator, *names: str) -> int:
    """Return how often these faults have been injected."""
    counts = api.totals()["faults"]
    return sum(counts.get(name, 0) for name in names)


# -- workers

ELSEWHERE = {"RETOUCH_WORKER__SPOOL_DIR": "elsewhere"}
"""A disk of its own: nothing there proves a death to anybody else, so a lease has to lapse."""


def test_a_worker_killed_in_mid_batch_costs_no_row_and_only_what_was_in_its_post_twice(house: House) -> None:
    api = house.simulate("--latency", "1", "--slow-answer-s", "6")
    (victim,) = house.workers(1, **ELSEWHERE)
    house.workers(1)
    rows = house.rows(120)
    batch = house.submit(house.manifest(rows), allowance="5")
    house.stored_at_least(batch, 25)
    api.set_faults(slow_answer=1)
    eventually(lambda: house.posting(victim) >= 3, 30, "three POSTs of the victim wait for their answer")

    victim.kill()
    api.set_faults(slow_answer=0)
    books = house.ended(batch, 90)

    books.check(ids_of(rows))
    assert books.states == {"stored": 120}
    assert books.unanswered(), "the kill fell into a POST"
    assert books.unanswered() == books.charged_again()
    assert books.unanswered() <= books.in_doubt(), "a POST that had not quite left is in doubt, and was never charged"
    assert books.summary["doubts"] == len(books.in_doubt())
    assert set(books.charged.values()) == {1, 2}


def test_without_an_allowance_what_was_in_a_dead_workers_post_is_held_and_listed(house: House) -> None:
    house.simulate("--latency", "0.5", "--slow-answer", "1", "--slow-answer-s", "20", "--active-limit", "4")
    limit = {"RETOUCH_API__ACTIVE_LIMIT": "4"}
    (victim,) = house.workers(1, **limit)
    rows = house.rows(12)
    batch = house.submit(house.manifest(rows), "--max-cost", "100", allowance="0")
    api = house.api
    assert api is not None
    eventually(lambda: api.totals()["tasks"] == 4, 20, "four POSTs have been accepted and not answered")

    victim.kill()
    api.set_faults(slow_answer=0)
    house.workers(1, **limit)
    books = house.ended(batch, 100)

    books.check(ids_of(rows), limit=4)
    assert books.states == {"stored": 8, "in_doubt": 4}
    assert books.summary["held"] == 4
    assert [(reason["code"], reason["rows"]) for reason in books.summary["reasons"]] == [("in_doubt", 4)]
    assert set(books.charged.values()) == {1}
    assert house.status(batch)["held"] == 4


def test_slots_of_a_dead_worker_are_freed_while_every_edit_of_the_other_waits_for_one(house: House) -> None:
    limit = {"RETOUCH_API__ACTIVE_LIMIT": "4"}
    api = house.simulate("--latency", "1", "--active-limit", "4", "--hang-poll", "1", "--hang-s", "25")
    (victim,) = house.workers(1, **ELSEWHERE, **limit)
    rows = house.rows(10)
    batch = house.submit(house.manifest(rows))
    eventually(
        lambda: [task["polls"] > 0 for task in api.ledger()["entries"]] == [True] * 4, 30, "the victim has 4 receipts"
    )
    survivor = house.worker(RETOUCH_WORKER__CONCURRENCY="5", **limit)  # one edit at a time
    house.working(survivor)
    eventually(lambda: house.seen(survivor)["edits"] >= 1, 40, "the survivor's edit waits at the gate")
    assert house.redis.scard("retouch:slots:main:flux") == 4, "the victim holds every slot"

    victim.kill()
    api.set_faults(hang_poll=0)
    books = house.ended(batch, 100)

    books.check(ids_of(rows), limit=4)
    assert books.states == {"stored": 10}
    assert books.in_doubt() == set()
    assert set(books.charged.values()) == {1}


def test_a_worker_told_to_stop_finishes_its_posts_and_leaves_no_doubt(house: House) -> None:
    api = house.simulate("--latency", "1", "--slow-answer", "0.25", "--slow-answer-s", "2")
    leaving, staying = house.workers(2)
    rows = house.rows(120)
    batch = house.submit(house.manifest(rows))
    house.stored_at_least(batch, 25)
    eventually(lambda: house.seen(leaving)["edits"] > 4, 20, "the worker is at work")

    leaving.terminate()
    code = leaving.ended(60)
    left = api.totals()["tasks"]
    books = house.ended(batch, 90)

    assert code == 0, leaving.said[-3000:]
    assert left < 120, "it left in mid-batch"
    assert injected(api, "slow_answer") > 0
    assert staying.runs
    books.check(ids_of(rows))
    assert books.states == {"stored": 120}
    assert books.in_doubt() == books.unanswered() == set()
    assert set(books.charged.values()) == {1}


# -- messages


@contextmanager
def deleting(house: House, seconds: float) -> Iterator[Callable[[], int]]:
    """Delete every key of Celery's queues now and every few seconds; yields how many messages were lost that way."""
    lost = [0]
    over = threading.Event()

    def delete() -> None:
        while True:
            lost[0] += sum(int(str(house.redis.llen(KEY_PREFIX + queue))) for queue in QUEUES)
            keys = list(house.redis.scan_iter(f"{KEY_PREFIX}*"))
            if keys:
                house.redis.delete(*keys)
            if over.wait(seconds):
                return

    thread = threading.Thread(target=delete, name="deleting")
    thread.start()
    try:
        yield lambda: lost[0]
    finally:
        over.set()
        thread.join()


def test_a_batch_ends_complete_although_every_queue_key_is_deleted_every_3_s(house: House) -> None:
    house.simulate("--latency", "1")
    rows = house.rows(100)
    batch = house.submit(house.manifest(rows))

    with deleting(house, 3) as lost:
        eventually(lost, 10, "the message that asks to feed the batch is lost")
        house.workers(2)
        books = house.ended(batch, 150)

    books.check(ids_of(rows))
    assert books.states == {"stored": 100}
    assert books.in_doubt() == set()
    assert set(books.charged.values()) == {1}


# -- the API


def test_a_429_waits_as_it_is_told_and_spends_no_attempt(house: House) -> None:
    api = house.simulate("--latency", "0.3", "--rate-limit", "0.25", "--retry-after", "any")
    house.workers(1)
    rows = house.rows(40)

    books = house.ended(house.submit(house.manifest(rows)), 120)

    assert injected(api, "rate_limit") >= 5
    books.check(ids_of(rows))
    assert books.states == {"stored": 40}
    assert {outcome["attempts"] for outcome in books.outcomes} == {1}
    assert books.in_doubt() == set()
    assert books.api["answers"]["429"] == books.api["posts"] - 40


def test_lost_and_unclear_answers_are_doubts_that_are_asked_again_within_the_allowance(house: House) -> None:
    api = house.simulate(
        "--latency",
        "0.3",
        "--lose-answer",
        "0.15",
        "--five-xx-after",
        "0.1",
        "--refuse",
        "0.15",
        "--reset-before",
        "0.1",
    )
    house.workers(1)
    rows = house.rows(40)
    batch = house.submit(house.manifest(rows), allowance="5")
    eventually(lambda: api.totals()["posts"] >= 36, 60, "most rows have been posted")

    api.set_faults(lose_answer=0, five_xx_after=0, refuse=0, reset_before=0)
    books = house.ended(batch, 90)

    taken = injected(api, "lose_answer", "five_xx_after")
    assert injected(api, "lose_answer") > 0
    assert injected(api, "five_xx_after") > 0
    assert injected(api, "refuse") > 0
    assert injected(api, "reset_before") > 0
    books.check(ids_of(rows))
    assert books.states == {"stored": 40}
    assert len(books.charged_again()) == taken
    assert books.charged_again() == books.unanswered()
    assert len(books.in_doubt()) <= taken + injected(api, "refuse", "reset_before")
    assert 0 < books.summary["doubt_exposure_usd"] <= 5


def test_broken_downloads_and_polls_never_lead_to_a_second_purchase(house: House) -> None:
    api = house.simulate(
        *("--latency", "0.3", "--cut-download", "0.15", "--fail-download", "0.15"),
        *("--early-404", "0.5", "--poll-5xx", "0.2", "--hang-poll", "0.05", "--hang-s", "1"),
    )
    house.workers(1)
    rows = house.rows(40)

    books = house.ended(house.submit(house.manifest(rows)), 120)

    for fault in ("cut_download", "fail_download", "early_404", "poll_5xx", "hang_poll"):
        assert injected(api, fault) > 0, fault
    books.check(ids_of(rows))
    assert books.states == {"stored": 40}
    assert books.api["posts"] == 40
    assert set(books.charged.values()) == {1}


def test_an_expired_result_is_polled_for_again_and_then_counted_as_paid_and_never_bought_again(house: House) -> None:
    api = house.simulate("--latency", "0.3", "--url-life", "0.001")
    house.workers(1)
    rows = house.rows(6)

    books = house.ended(house.submit(house.manifest(rows)), 60)

    assert all(task["polls"] >= 2 for task in books.tasks), "it was looked at again"
    assert api.totals()["downloads"] == 0
    assert books.states == {"failed": 6}
    assert {outcome["reason"] for outcome in books.outcomes} == {"paid_not_delivered"}
    assert books.api["posts"] == 6
    assert books.summary["cost_usd"] == pytest.approx(books.api["charged"] / 100)
    assert books.lost(ids_of(rows)) == []


def test_an_error_of_a_task_is_tried_again_whatever_http_status_carries_it(house: House) -> None:
    api = house.simulate("--latency", "0.3", "--fail-task", "0.25", "--error-as-422", "0.4", "--error-as-503", "0.5")
    house.workers(1)
    rows = house.rows(40)

    books = house.ended(house.submit(house.manifest(rows)), 120)

    assert api.totals()["statuses"]["Error"] >= 5
    books.check(ids_of(rows))
    assert set(books.states) <= {"stored", "failed"}
    assert books.states["stored"] >= 30
    again = [outcome for outcome in books.outcomes if outcome["attempts"] > 1]
    assert any(outcome["state"] == "stored" for outcome in again)
    failed = [outcome for outcome in books.outcomes if outcome["state"] == "failed"]
    tries = [outcome for outcome in failed if outcome["reason"] != "retry_budget"]  # of 40 rows, 20 may be asked again
    assert {(outcome["reason"], outcome["attempts"]) for outcome in tries} <= {("api_error", 3)}
    assert sum(outcome["attempts"] for outcome in books.outcomes) == books.api["posts"]
    assert set(books.charged.values()) == {1}
    assert books.in_doubt() == set()


def test_moderated_rows_end_moderated_with_what_they_cost(house: House) -> None:
    house.simulate("--latency", "0.3")
    house.workers(1)
    rows = house.rows(12)
    rows[3]["prompt"] += " [[request-moderated]]"
    rows[7]["prompt"] += " [[content-moderated]]"

    books = house.ended(house.submit(house.manifest(rows)), 60)

    books.check(ids_of(rows))
    assert books.states == {"stored": 10, "moderated": 2}
    refused, withheld = books.by_id["row-003"], books.by_id["row-007"]
    assert (refused["reason"], refused["cost_usd"]) == ("request_moderated", 0)
    assert withheld["reason"] == "result_moderated"
    assert withheld["cost_usd"] > 0
    assert books.api["posts"] == 12
    assert books.summary["cost_usd"] == pytest.approx(books.api["charged"] / 100)
