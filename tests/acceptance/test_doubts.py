"""Rows held in doubt: the batch ends all the same, and a person decides about them."""

from __future__ import annotations

from tests.acceptance.harness import House
from tests.acceptance.programs import eventually
from tests.acceptance.test_faults import injected
from tests.acceptance.test_main_job import ids_of, keys_left

AT_ONCE = {"RETOUCH_API__ACTIVE_LIMIT": "60"}
"""So many slots that no doubt waits for another one's."""


AMPLE = ("--max-cost", "100")
"""While no cost of a model is known, open edits count tenfold: here none ever is, and no ceiling is to slow them."""


def test_without_an_allowance_a_batch_of_many_doubts_ends_and_what_is_held_can_be_bought_again(house: House) -> None:
    api = house.simulate("--latency", "0.2", "--lose-answer", "1", "--active-limit", "60")
    house.workers(1, **AT_ONCE)
    rows = house.rows(60)
    batch = house.submit(house.manifest(rows), *AMPLE, allowance="0")

    first = house.ended(batch, 240)
    api.set_faults(lose_answer=0)
    refused = house.retouch("retry", batch, "--yes", "--json")
    said = house.retouch("retry", batch, "--in-doubt", "--yes", "--json", "--watch")
    eventually(lambda: not keys_left(house), 30, lambda: f"Redis holds nothing that lasts: {keys_left(house)}")
    books = house.books(batch)

    assert injected(api, "lose_answer") == first.api["posts"] == 60
    assert first.states == {"in_doubt": 60}
    assert (first.summary["held"], first.summary["doubt_exposure_usd"]) == (60, 0)
    assert set(first.charged.values()) == {1}
    assert (refused.code, refused.document["error"]["code"]) == (2, "in_doubt")
    assert said.code == 0, said
    books.check(ids_of(rows), limit=60)
    assert books.states == {"stored": 60}
    assert set(books.charged.values()) == {2}
    assert books.summary["doubt_exposure_usd"] >= books.api["charged"] / 100 / 2


def test_what_is_held_can_be_given_up(house: House) -> None:
    house.simulate("--latency", "0.2", "--lose-answer", "1")
    house.workers(1)
    rows = house.rows(3)
    batch = house.submit(house.manifest(rows), *AMPLE, allowance="0")
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
