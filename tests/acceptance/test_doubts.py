"""Rows held in doubt: the batch ends all the same, and a person decides about them."""

from __future__ import annotations

import pytest

from running.programs import eventually
from tests.acceptance.harness import House
from tests.acceptance.test_faults import injected
from tests.acceptance.test_main_job import ids_of, keys_left

AT_ONCE = {"RETOUCH_API__ACTIVE_LIMIT": "60"}
"""So many slots that no doubt waits for another one's."""


def test_without_an_allowance_a_batch_of_many_doubts_ends_and_what_is_held_can_be_bought_again(house: House) -> None:
    api = house.simulate("--latency", "0.2", "--lose-answer", "0.5", "--active-limit", "60")
    house.workers(1, **AT_ONCE)
    rows = house.rows(140)
    batch = house.submit(house.manifest(rows), allowance="0")

    first = house.ended(batch, 240)
    api.set_faults(lose_answer=0)
    refused = house.retouch("retry", batch, "--yes", "--json")
    said = house.retouch("retry", batch, "--in-doubt", "--yes", "--json", "--watch")
    eventually(lambda: not keys_left(house), 30, lambda: f"Redis holds nothing that lasts: {keys_left(house)}")
    books = house.books(batch)

    lost = injected(api, "lose_answer")
    assert lost >= 50
    assert first.states == {"stored": 140 - lost, "in_doubt": lost}
    assert (first.summary["held"], first.summary["doubt_exposure_usd"]) == (lost, 0)
    assert set(first.charged.values()) == {1}
    assert (refused.code, refused.document["error"]["code"]) == (2, "in_doubt")
    assert said.code == 0, said
    books.check(ids_of(rows), limit=60)
    assert books.states == {"stored": 140}
    assert len(books.charged_again()) == lost
    assert books.summary["doubt_exposure_usd"] > 0


def test_what_is_held_can_be_given_up(house: House) -> None:
    house.simulate("--latency", "0.2", "--lose-answer", "1")
    house.workers(1)
    rows = house.rows(3)
    batch = house.submit(house.manifest(rows), allowance="0")
    house.ended(batch, 240)

    said = house.retouch("cancel", batch, "--in-doubt", "--yes", "--json")
    eventually(lambda: not keys_left(house), 30, lambda: f"Redis holds nothing that lasts: {keys_left(house)}")
    books = house.books(batch)
    again = house.retouch("cancel", batch, "--in-doubt", "--yes", "--json")

    assert said.code == 0, said
    assert books.states == {"cancelled": 3}
    assert [(each["code"], each["rows"]) for each in books.summary["reasons"]] == [("in_doubt", 3)]
    assert books.summary["held"] == 0
    assert books.api["posts"] == 3
    assert (again.code, again.document["error"]["code"]) == (2, "nothing_held")


def test_doubts_of_which_none_was_charged_are_asked_again_without_an_allowance_or_a_command(house: House) -> None:
    api = house.simulate("--latency", "0.2", "--refuse", "0.4")
    house.workers(2)
    rows = house.rows(30)
    batch = house.submit(house.manifest(rows), allowance="0")
    eventually(lambda: api.totals()["posts"] >= 30, 60, "each row has been posted")

    api.set_faults(refuse=0)
    books = house.ended(batch, 150)

    assert api.totals()["answers"]["500"] >= 3
    books.check(ids_of(rows))
    assert books.states == {"stored": 30}
    assert books.summary["doubts"] == api.totals()["answers"]["500"]
    assert (books.summary["held"], books.summary["doubt_exposure_usd"], books.summary["credits"]) == (0, 0, None)
    assert set(books.charged.values()) == {1}


def test_doubts_of_which_some_were_charged_stay_held_and_the_report_says_what_is_gone(house: House) -> None:
    api = house.simulate("--latency", "0.2", "--refuse", "0.4", "--lose-answer", "0.2")
    house.workers(2)
    rows = house.rows(30)
    batch = house.submit(house.manifest(rows), allowance="0")
    eventually(lambda: api.totals()["posts"] >= 30, 60, "each row has been posted")

    api.set_faults(refuse=0, lose_answer=0)
    books = house.ended(batch, 150)

    lost, failed = injected(api, "lose_answer"), api.totals()["answers"]["500"]
    assert lost >= 1
    assert failed >= 1
    books.check(ids_of(rows))
    assert books.states == {"stored": 30 - lost - failed, "in_doubt": lost + failed}
    assert set(books.charged.values()) == {1}
    unknown = [task for task in books.tasks if task["id"] not in {each["task_id"] for each in books.outcomes}]
    gone = sum(task["charged"] for task in unknown) / 100
    credit = books.summary["credits"]
    assert (credit["verdict"], credit["doubts"]) == ("some", lost + failed)
    assert credit["unexplained_usd"] == pytest.approx(gone)
    assert books.summary["held"] == lost + failed
