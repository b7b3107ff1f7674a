"""The API down in mid-batch: hardly more submissions than rows, and soon after its return as much to do as before.

The rates are those of the simulator's own ledger.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence

import pytest

from running.programs import Simulator, eventually, steadily
from tests.acceptance.checker import Line
from tests.acceptance.harness import House
from tests.acceptance.test_main_job import ids_of

AWAY_S, WINDOW_S = (float(n) for n in os.environ.get("API_AWAY_SIZE", "12/6").split("/"))
"""How long the API is away, and over how long a rate is taken. `API_AWAY_SIZE=60/10` plays what was promised."""

BACK_S = 30.0
"""So soon after its return the API has as much to do as before."""

AS_BUSY = 0.9 if AWAY_S >= 60 else 0.5
"""The part of the tasks a second that is wanted back. The short form runs beside other tests on a machine that may be
busy: it only tells a batch that goes on from one that rests."""

LATENCY_S, SLOTS = 3.0, 24


def most(tasks: Sequence[Line], begin: float, end: float) -> float:
    """Return the tasks a second that the API took in the busiest window between two moments."""
    windows = range(int(end - begin - WINDOW_S) + 1)
    taken = (sum(begin + s <= task["accepted_at"] < begin + s + WINDOW_S for task in tasks) for s in windows)
    rate: float = max(taken) / WINDOW_S
    return rate


def answering(form: str) -> Callable[[Simulator], None]:
    """Return an outage during which everything is answered, and nothing done."""

    def outage(api: Simulator) -> None:
        api.go_away(form)
        steadily(lambda: True, AWAY_S, "it is away")
        api.come_back()

    return outage


def unplugged(api: Simulator) -> None:
    """Let nothing listen for a while."""
    api.go_away("refused", AWAY_S)
    eventually(lambda: not _listens(api), 5, "the API is away")
    eventually(lambda: _listens(api), AWAY_S + 10, "the API is back")


def _listens(api: Simulator) -> bool:
    try:
        return bool(api.totals())
    except ConnectionError:
        return False


FORMS: Mapping[str, Callable[[Simulator], None]] = {
    "nothing listens": unplugged,
    "502 of a proxy": answering("gateway"),
    "503 of the API": answering("unavailable"),
}


def at_work(house: House) -> tuple[Simulator, str, list[dict[str, str]]]:
    """Return an API that has its hands full, the batch, and the rows of it."""
    api = house.simulate("--latency", str(LATENCY_S))
    house.workers(2)
    rows = house.rows(int(SLOTS / LATENCY_S * (2 * WINDOW_S + 10)))
    batch = house.submit(house.manifest(rows), "--max-cost", "1000", allowance="100")
    house.stored_at_least(batch, SLOTS)
    return api, batch, rows


@pytest.mark.parametrize(
    "form", ["nothing listens", "502 of a proxy", pytest.param("503 of the API", marks=pytest.mark.long)]
)
def test_an_api_that_was_away_is_soon_as_busy_as_before_and_was_hardly_asked_meanwhile(form: str, house: House) -> None:
    api, batch, rows = at_work(house)
    begin = time.time()
    steadily(lambda: True, WINDOW_S, "it works")

    left = time.time()
    FORMS[form](api)
    back = time.time()
    books = house.ended(batch, 240)

    before, after = most(books.tasks, begin, left), most(books.tasks, back, back + BACK_S)
    posts, doubts = books.api["posts"], len(books.in_doubt())
    figures = (
        f"{form} for {back - left:.0f} s: {posts} POSTs for {len(rows)} rows, {doubts} doubts;"
        f" {before:.2f} tasks/s before, {after:.2f} within {BACK_S:.0f} s after"
    )
    sys.stdout.write(f"\n{figures}\n")
    books.check(ids_of(rows))
    assert books.states == {"stored": len(rows)}
    assert {line["attempts"] for line in books.outcomes if not line["doubts"]} == {1}, "no attempt was spent on it"
    assert posts <= 1.2 * len(rows), figures
    assert after >= AS_BUSY * before, figures


def test_while_submissions_alone_fail_few_are_tried_although_there_is_room_for_many(house: House) -> None:
    api, batch, rows = at_work(house)
    before = api.totals()["posts"]

    api.set_faults(refuse=1.0)
    steadily(lambda: True, AWAY_S, "it fails")
    tried = api.totals()["posts"] - before
    api.set_faults(refuse=0.0)
    books = house.ended(batch, 240)

    books.check(ids_of(rows))
    assert books.states == {"stored": len(rows)}
    assert {line["attempts"] for line in books.outcomes if not line["doubts"]} == {1}
    assert 0 < tried <= books.api["posts"] - before
    assert books.api["faults"]["refuse"] <= 0.2 * len(rows)
    assert books.api["posts"] <= 1.2 * len(rows)
