"""Ceilings in the real house: what the API itself says was charged never goes over them."""

from __future__ import annotations

from running.programs import eventually
from tests.acceptance.harness import House

EDIT_USD = 0.015
"""What an edit of the harness's model is expected to cost: less than a megapixel in, less than one out."""


def charged_usd(house: House) -> float:
    """Return what the API's own ledger has charged, in dollars."""
    assert house.api is not None
    return sum(float(task["charged"]) for task in house.api.ledger()["entries"]) / 100


def paused(house: House, batch: str, reason: str, within: float = 60.0) -> None:
    """Wait until a batch is paused for this reason and nothing of it is at the API any more."""

    def is_so() -> bool:
        found = house.status(batch)
        at_work = sum(found["counts"][state] for state in ("submitting", "running", "ready", "in_doubt"))
        return (found["state"], found["reason"], at_work) == ("paused", reason, 0)

    eventually(is_so, within, lambda: f"{batch} waits for {reason}: {house.status(batch)}")


def test_an_api_at_three_times_the_price_is_paused_within_the_first_edits_and_never_above_the_ceiling(
    house: House,
) -> None:
    api = house.simulate("--latency", "0.5", "--price-factor", "3")
    house.workers(2)
    batch = house.submit(house.manifest(house.rows(120)))

    paused(house, batch, "proof")

    found = house.status(batch)
    assert api.ledger()["posts"] <= 20 + 24
    assert charged_usd(house) <= found["ceiling_usd"]
    assert found["cost_usd"] == round(charged_usd(house), 6)
    assert found["first_edits"]["edits"] == 20
    assert "The first 20 edits cost" in found["detail"]
    assert "The first 20 edits cost" in house.retouch("status", batch).out


def test_24_slots_racing_for_the_last_ten_cents_overspend_by_nothing_and_a_higher_ceiling_goes_on(
    house: House,
) -> None:
    house.simulate("--latency", "0.2")
    house.workers(2)
    rows = house.rows(40)
    batch = house.submit(house.manifest(rows), "--max-cost", "0.10")

    paused(house, batch, "cap")
    followed = house.retouch("status", batch, "--watch", "--json")
    spent = charged_usd(house)
    in_vain = house.retouch("resume", batch, "--max-cost", "0.10", "--json")
    house.retouch("resume", batch, "--max-cost", "5", "--json")
    books = house.ended(batch, 60)

    assert 0.10 - 2 * EDIT_USD < spent <= 0.10
    assert followed.code == 4
    assert followed.document["cap"]["which"] == "ceiling"
    assert (in_vain.code, in_vain.document["error"]["code"]) == (4, "ceiling")
    books.check([row["id"] for row in rows])
    assert books.states == {"stored": 40}


def test_a_days_cap_holds_every_batch_of_the_day_and_lets_go_when_it_is_raised(house: House) -> None:
    house.simulate("--latency", "0.2")
    (worker,) = house.workers(1, RETOUCH_MONEY__DAY_CAP_USD="0.10")
    rows = house.rows(20)
    batch = house.submit(house.manifest(rows))

    paused(house, batch, "cap")
    found, spent = house.status(batch), charged_usd(house)
    worker.kill()
    house.workers(1, RETOUCH_MONEY__DAY_CAP_USD="10")
    books = house.ended(batch, 90)

    assert 0.10 - 2 * EDIT_USD < spent <= 0.10
    assert (found["cap"]["which"], found["cap"]["limit_usd"]) == ("day_cap", 0.1)
    books.check([row["id"] for row in rows])
    assert books.states == {"stored": 20}
