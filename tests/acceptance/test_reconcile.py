"""Redis is emptied in mid-batch: nothing is submitted before it is reconciled, and nothing is lost."""

from __future__ import annotations

import json

from running.programs import eventually, steadily
from tests.acceptance.harness import House
from tests.acceptance.test_main_job import ids_of
from tests.acceptance.test_money import charged_usd, paused

INTENTS = {"RETOUCH_SUBMIT__INTENTS_IN_BUCKET": "true"}


def seen_open(house: House) -> list[str]:
    """Return the batches that were open when the ledger was last seen."""
    bucket = house.servers.bucket
    lives = [json.loads(bucket.get(head.key)) for head in bucket.keys(f"{house.prefix}ledgers/")]
    return [name for life in lives for name in life["batches"]]


def test_after_redis_was_emptied_in_mid_batch_nothing_is_lost_and_nothing_paid_for_twice(house: House) -> None:
    api = house.simulate("--latency", "1")
    house.workers(2, **INTENTS)
    rows = house.rows(150)
    batch = house.submit(house.manifest(rows), allowance="0")
    house.stored_at_least(batch, 40)
    eventually(lambda: batch in seen_open(house), 30, "the ledger was seen with the batch open")

    house.redis.flushall()
    eventually(lambda: house.redis.hget("retouch:epoch", "guard"), 30, "the ledger is guarded")
    eventually(lambda: api.in_flight() == 0, 30, "what was submitted has ended")
    posts = api.totals()["posts"]
    steadily(lambda: api.totals()["posts"] == posts, 3, "nothing is submitted")
    shown = house.retouch("reconcile", "--json", **INTENTS)
    done = house.retouch("reconcile", "--yes", "--json", **INTENTS)
    books = house.ended(batch, 180)

    (found,) = shown.document["batches"]
    assert (shown.code, shown.document["changed"], found["batch"], found["intents"]) == (0, False, batch, True)
    assert found["bought"] + found["again"] + found["in_doubt"] > 0
    assert (done.code, done.document["changed"]) == (0, True), done
    assert books.lost(ids_of(rows)) == []
    assert set(books.charged.values()) == {1}
    assert set(books.states) <= {"stored", "unchanged", "in_doubt"}
    assert books.states.get("in_doubt", 0) <= 2, "only what was in the POST at that moment"
    assert books.peak <= 24


def test_what_was_spent_before_redis_was_emptied_counts_against_the_days_cap(house: House) -> None:
    cap = 0.5
    env = {**INTENTS, "RETOUCH_MONEY__DAY_CAP_USD": str(cap), "RETOUCH_API__ACTIVE_LIMIT": "4"}
    api = house.simulate("--latency", "1.5", "--active-limit", "4")
    house.workers(1, **env)
    batch = house.submit(house.manifest(house.rows(80)), allowance="0")
    parts = f"{house.prefix}batches/{batch}/outcomes/"
    eventually(lambda: next(iter(house.servers.bucket.keys(parts)), None), 60, "outcomes lie in the bucket")
    eventually(lambda: batch in seen_open(house), 30, "the ledger was seen with the batch open")

    house.redis.flushall()
    eventually(lambda: house.redis.hget("retouch:epoch", "guard"), 30, "the ledger is guarded")
    eventually(lambda: api.in_flight() == 0, 30, "what was submitted has ended")
    before = charged_usd(house)
    house.retouch("reconcile", "--yes", "--json", **env)
    paused(house, batch, "cap", 120)

    assert 0 < before < charged_usd(house) <= cap
    assert api.totals()["repeated"] == 0
