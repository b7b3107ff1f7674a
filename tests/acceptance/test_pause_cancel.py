"""Pause, resume and cancel in mid-run, as the command line gives them."""

from __future__ import annotations

import time

import pytest

from running.programs import eventually, steadily
from tests.acceptance.harness import House
from tests.acceptance.test_main_job import ids_of

EIGHT = ("--active-limit", "8")
LIMIT = {"RETOUCH_API__ACTIVE_LIMIT": "8"}
"""With few slots a batch is still in mid-run when a command has started, however busy the machine is."""


def test_no_post_arrives_2_s_after_a_pause_and_resume_finishes_the_batch(house: House) -> None:
    api = house.simulate("--latency", "1", *EIGHT)
    house.workers(2, **LIMIT)
    rows = house.rows(140)
    batch = house.submit(house.manifest(rows))
    house.stored_at_least(batch, 10)

    paused = house.retouch("pause", batch, "--json")
    later = time.monotonic() + 2
    eventually(lambda: time.monotonic() >= later, 3, "2 s after the pause")
    posts = api.totals()["posts"]
    steadily(lambda: api.totals()["posts"] == posts, 5, "no POST while paused")
    paid = api.totals()["tasks"]  # a POST that the pause caught before its last byte left no task
    eventually(lambda: house.status(batch)["counts"]["stored"] == paid, 30, "what was paid is stored")
    document = house.status(batch)
    resumed = house.retouch("resume", batch, "--json")
    books = house.ended(batch, 90)

    assert paused.code == resumed.code == 0, (paused, resumed)
    assert (document["state"], document["reason"]) == ("paused", "operator")
    assert paid < 140, "it was paused in mid-run"
    assert sum(document["counts"].values()) == 140
    books.check(ids_of(rows), limit=8)
    assert books.states == {"stored": 140}
    assert set(books.charged.values()) == {1}


@pytest.mark.parametrize("paused", [False, True], ids=["open", "paused"])
def test_a_cancelled_batch_stores_what_is_paid_and_gives_every_row_one_outcome(house: House, paused: bool) -> None:
    api = house.simulate("--latency", "1", *EIGHT)
    house.workers(2, **LIMIT)
    rows = house.rows(400)
    batch = house.submit(house.manifest(rows))
    house.stored_at_least(batch, 20)
    if paused:
        house.retouch("pause", batch)

    cancelled = house.retouch("cancel", batch, "--yes", "--json")
    books = house.ended(batch, 60)

    assert cancelled.code == 0, cancelled
    books.check(ids_of(rows), limit=8)
    assert set(books.states) == {"stored", "cancelled"}
    assert books.summary["state"] == "cancelled"
    assert books.states["stored"] == len(books.charged) == books.api["tasks"]
    assert 20 <= books.api["tasks"] < 350, "it was cancelled in mid-run, with rows that were never fed"
    assert {row["reason"] for row in books.outcomes if row["state"] == "cancelled"} == {"cancelled"}
    assert house.status(batch)["state"] == "cancelled"
    steadily(lambda: api.totals()["posts"] == books.api["posts"], 3, "no POST after the end")
