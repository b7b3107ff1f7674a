"""Another program with the same key: the API refuses what our limit would allow, and takes it again later."""

from __future__ import annotations

import os
from collections.abc import Sequence

from running.programs import eventually
from tests.acceptance.checker import Line
from tests.acceptance.harness import House
from tests.acceptance.test_main_job import ids_of

OURS, THEIRS, ROWS = (int(n) for n in os.environ.get("LIMIT_SIZE", "12/6/320").split("/"))
"""`LIMIT_SIZE=24/12/700` plays it at the API's own size; `make chaos` does. Places are won back by submissions that are
taken while all are in use, so rows must be left to the end."""


def in_use(tasks: Sequence[Line], begin: float, end: float) -> float:
    """Return the mean number of tasks in flight between two moments, by the API's own ledger."""
    spans = (min(task["ended_at"], end) - max(task["accepted_at"], begin) for task in tasks)
    used: float = sum(max(span, 0.0) for span in spans)
    return used / (end - begin)


def test_with_half_of_the_places_taken_by_another_program_the_rest_is_kept_full_and_all_are_won_back(
    house: House,
) -> None:
    api = house.simulate("--latency", "1.5", "--active-limit", str(OURS), "--elsewhere", str(THEIRS))
    size = {"RETOUCH_API__ACTIVE_LIMIT": str(OURS)}
    house.workers(2, **size)
    rows = house.rows(ROWS)
    batch = house.submit(house.manifest(rows))
    house.stored_at_least(batch, 2 * OURS)
    begin = eventually(lambda: max(task["accepted_at"] for task in api.ledger()["entries"]), 5, "a task")

    house.stored_at_least(batch, 6 * OURS)
    shown = house.retouch("status", batch, "--json", **size).document
    squeezed = api.ledger()
    api.hold_elsewhere(0)
    eventually(lambda: not house.redis.exists("retouch:limit:main:flux"), 150, "all places are used again")
    refused = api.totals()["crowded_out"]
    books = house.ended(batch, 240)

    books.check(ids_of(rows), limit=OURS)
    assert books.states == {"stored": ROWS}
    assert {outcome["attempts"] for outcome in books.outcomes} == {1}
    assert books.peak == OURS, "the catalogue's places were all used in the end"
    (lowered,) = shown["live"]["lowered"]
    assert lowered["most"] == OURS
    assert shown["live"]["slots"] == lowered["slots"] <= OURS - THEIRS + 1
    assert any("another program may use the key" in sentence for sentence in shown["warnings"])
    end = max(task["accepted_at"] for task in squeezed["entries"])
    mean = in_use(books.tasks, begin, end)
    assert 0 < squeezed["crowded_out"] <= 2 * OURS
    assert mean > 0.75 * (OURS - THEIRS), "what the other program leaves is used"
    assert books.api["crowded_out"] == refused <= squeezed["crowded_out"] + 1, "what is free is not refused"
