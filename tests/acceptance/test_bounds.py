"""Failures that are not those of single rows, in the real house: what stops, what goes on, and what was spent."""

from __future__ import annotations

from running.programs import Document, eventually
from tests.acceptance.harness import House, Row

SLOTS = 24
MOST = 15
"""So many of a group's last 30 ends may be bad."""

Categories = list[tuple[str, int, str]]


def catalogue(house: House, *categories: tuple[str, int, str]) -> list[Row]:
    """Return a sorted manifest: of each category so many rows, with a mark in their prompts."""
    rows = house.rows(sum(count for _, count, _ in categories))
    marks = [(name, mark) for name, count, mark in categories for _ in range(count)]
    return [
        {**row, "prompt": f"{row['prompt']} {mark}", "category": name}
        for row, (name, mark) in zip(rows, marks, strict=True)
    ]


def waits(house: House, batch: str, within: float = 90.0) -> Document:
    """Wait until a batch is paused for its failures and nothing of it is at the API any more, and return it."""

    def is_so() -> Document | None:
        found = house.status(batch)
        at_work = sum(found["counts"][state] for state in ("submitting", "running", "ready", "in_doubt"))
        return found if (found["state"], found["reason"], at_work) == ("paused", "failures", 0) else None

    eventually(is_so, within, lambda: f"{batch} waits: {house.status(batch)}")
    found = is_so()
    assert found is not None
    return found


def posts(house: House) -> int:
    """Return how many submissions the API has seen."""
    assert house.api is not None
    return int(house.api.ledger()["posts"])


def test_60_moderated_rows_in_a_row_stop_their_group_and_no_other_and_resume_runs_the_rest(house: House) -> None:
    house.simulate("--latency", "0.5")
    house.workers(2)
    rows = catalogue(house, ("beds", 30, ""), ("knives", 60, "[[content-moderated]]"), ("tables", 60, ""))
    batch = house.submit(house.manifest(rows), "--group", "category")

    found = waits(house, batch)
    watched = house.retouch("status", batch, "--watch", "--json")
    said = house.retouch("status", batch).out
    counts, bought = found["counts"], posts(house)
    resumed = 0
    while house.status(batch)["state"] == "paused":
        house.retouch("resume", batch, "--group", "knives", "--json")
        resumed += 1
        eventually(lambda: house.status(batch)["state"] != "open", 60, "the batch waits again, or has ended")
    books = house.ended(batch, 60)

    assert counts["stored"] == 90
    assert MOST < counts["moderated"] <= MOST + SLOTS
    assert bought == 90 + counts["moderated"]
    assert [(stop["group"], stop["why"]) for stop in found["stopped_groups"]] == [("knives", "moderated")]
    assert watched.code == 5
    assert "The group knives is stopped: 16 of its last 16 were moderated." in " ".join(said.split())
    assert resumed <= 3
    books.check([row["id"] for row in rows])
    assert books.states == {"stored": 90, "moderated": 60}


def test_a_stopped_group_of_600_rows_lets_the_rows_after_it_pass_and_redis_holds_a_window_of_it(house: House) -> None:
    house.simulate("--latency", "0.2")
    house.workers(2)
    rows = catalogue(house, ("knives", 600, "[[request-moderated]]"), ("tables", 60, ""))
    batch = house.submit(house.manifest(rows), "--group", "category")

    found = waits(house, batch)
    held = house.redis.scard(f"retouch:jobs:{batch}")
    house.retouch("cancel", batch, "--yes", "--json")
    books = house.ended(batch, 60)

    assert found["counts"]["stored"] == 60
    assert found["counts"]["moderated"] <= MOST + SLOTS
    assert held <= 40
    books.check([row["id"] for row in rows])
    assert books.states["stored"] == 60
    assert books.states["moderated"] + books.states["cancelled"] == 600


def test_a_group_whose_edits_fail_stops_alone_and_goes_on_when_the_api_can(house: House) -> None:
    house.simulate("--latency", "0.2")
    house.workers(2)
    rows = catalogue(house, ("knives", 100, "[[error]]"), ("tables", 60, ""))
    batch = house.submit(house.manifest(rows), "--group", "category")

    found = waits(house, batch)
    retries = found["retries"]
    unknown = house.retouch("resume", batch, "--group", "tables", "--json")

    assert found["counts"]["stored"] == 60
    assert MOST < found["counts"]["failed"] < 100
    assert found["counts"]["failed"] + found["counts"]["queued"] == 100
    assert [(stop["group"], stop["why"]) for stop in found["stopped_groups"]] == [("knives", "failed")]
    assert retries["retried"] <= max(20, retries["calls"] // 5)
    assert (unknown.code, unknown.document["error"]["code"]) == (2, "no_such_group")


def test_failures_all_over_a_batch_pause_it_before_it_spends_everything(house: House) -> None:
    house.simulate("--latency", "0.2")
    house.workers(2)
    rows = catalogue(house, *((f"group-{n:02d}", 10, "[[error]]") for n in range(40)))
    batch = house.submit(house.manifest(rows), "--group", "category")

    found = waits(house, batch)
    said = house.retouch("status", batch).out

    assert found["stopped_groups"] == []
    assert 50 < found["counts"]["failed"] <= 50 + SLOTS + 30
    assert posts(house) <= 50 + SLOTS + 30 + 20 + SLOTS
    assert "51 of the batch's last 51 edits failed." in " ".join(said.split())
    assert {reason["code"] for reason in found["reasons"]} <= {"api_error", "retry_budget"}
