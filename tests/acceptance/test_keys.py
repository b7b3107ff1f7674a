"""A key that is revoked in mid-batch, and a new one in the file: no row fails, no result is lost, nothing is typed."""

from __future__ import annotations

import pytest

from running.programs import KEY, eventually, steadily
from tests.acceptance.harness import House
from tests.acceptance.test_main_job import ids_of

NEW_KEY = "acceptance-key-after-rotation"


@pytest.mark.parametrize(
    "wait_s",
    [pytest.param(3, id="3s"), pytest.param(300, id="300s", marks=[pytest.mark.long, pytest.mark.timeout(900)])],
)
def test_a_revoked_key_parks_at_once_and_a_new_one_in_the_file_goes_on_by_itself(house: House, wait_s: float) -> None:
    api = house.simulate("--latency", "1")
    file = house.folder / "keys"
    file.write_text(f"{KEY}\n")
    with_file = {"RETOUCH_API__KEYS": "", "RETOUCH_API__KEYS_FILE": str(file)}
    house.workers(2, **with_file)
    rows = house.rows(120)
    batch = house.submit(house.manifest(rows), allowance="0")
    house.stored_at_least(batch, 25)

    api.know_keys(NEW_KEY)
    eventually(lambda: house.redis.hlen("retouch:parked"), 20, "the key is parked")
    eventually(lambda: house.status(batch)["reason"] == "key", 20, "the batch says why it waits")
    posts = api.totals()["posts"]
    steadily(lambda: api.totals()["posts"] - posts <= 24, wait_s, "what was under way was refused, and no more comes")
    shown = house.retouch("keys", "--json", **with_file)
    warned = house.status(batch)["warnings"]
    file.write_text(f"{NEW_KEY}\n")
    books = house.ended(batch, 120)

    (key,) = shown.document["keys"]
    assert (key["state"], key["workers"], "403" in key["why"]) == ("parked", 2, True)
    assert any("retouch keys" in sentence for sentence in warned)
    assert KEY not in shown.out
    books.check(ids_of(rows))
    assert books.states == {"stored": 120}
    assert {outcome["attempts"] for outcome in books.outcomes} == {1}
    assert set(books.charged.values()) == {1}
