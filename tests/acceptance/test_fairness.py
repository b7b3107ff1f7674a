"""Batches side by side: a small urgent one beside a large one, judged by the order in which the API took the edits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from hashlib import sha256

import pytest

from tests.acceptance.checker import Books, Line
from tests.acceptance.harness import House
from tests.acceptance.test_main_job import ids_of

SLOTS, ROWS = (int(n) for n in os.environ.get("FAIRNESS_SIZE", "12/180").split("/"))
"""`FAIRNESS_SIZE=24/1000` plays it at the API's own size; `make chaos` does."""
URGENT = 10
SIZE = {"RETOUCH_API__ACTIVE_LIMIT": str(SLOTS)}


def named(rows: list[dict[str, str]], name: str) -> list[dict[str, str]]:
    """Return rows whose ids, and so outputs, are this batch's own."""
    return [{**row, "id": f"{name}-{n}"} for n, row in enumerate(rows)]


def taken(books: Books, rows: list[dict[str, str]]) -> list[Line]:
    """Return the tasks of these rows, in the order in which the API took them."""
    prompts = {sha256(row["prompt"].encode()).hexdigest() for row in rows}
    return sorted(
        (task for task in books.tasks if task["prompt_sha256"] in prompts), key=lambda task: float(task["accepted_at"])
    )


def between(tasks: list[Line], begin: float, end: float) -> int:
    """Return how many tasks the API took between two moments."""
    return sum(begin < task["accepted_at"] < end for task in tasks)


@pytest.mark.parametrize(
    ("workers", "settings"),
    [(2, {}), (1, {"RETOUCH_WORKER__CONCURRENCY": str(SLOTS // 2 + 4)})],
    ids=["slots are short", "threads are short, and messages wait"],
)
def test_ten_urgent_rows_are_submitted_at_once_beside_a_large_batch_that_goes_on(
    house: House, workers: int, settings: Mapping[str, str]
) -> None:
    house.simulate("--latency", "1", "--spread", "0.15", "--active-limit", str(SLOTS))
    house.workers(workers, **SIZE, **settings)
    rows = named(house.rows(ROWS), "large")
    hurried = named(house.rows(URGENT, prompt="put it on black, view {n}"), "urgent")
    large = house.submit(house.manifest(rows, "large.csv"))
    house.stored_at_least(large, 3 * SLOTS)

    urgent = house.submit(house.manifest(hurried, "urgent.csv"), "--priority", "urgent")
    house.finished(urgent, 60)
    meanwhile = house.retouch("priority", large, "low", "--by", "2099-01-01T06:00", "--json").document
    other, books = house.ended(large, 60 + ROWS), house.books(urgent)  # while one runs, a result may be on its way

    books.check(ids_of(hurried), limit=SLOTS)
    other.check(ids_of(rows), limit=SLOTS)
    assert (books.states, other.states) == ({"stored": URGENT}, {"stored": ROWS})
    assert (meanwhile["state"], meanwhile["priority"], meanwhile["by"]) == ("open", "low", 4_070_930_400)
    fed = min(outcome["at"]["queued"] for outcome in books.outcomes)
    ours, theirs = taken(other, hurried), taken(other, rows)
    last = ours[-1]["accepted_at"]
    assert between(theirs, fed, last) <= SLOTS, "all ten have a slot within one edit's time"
    assert between(theirs, last, float("inf")) > SLOTS
