"""Who has how many places, as it is worked out of what the ledger counts, and what follows where that changes."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.batch import Batch, BatchState
from jobs.events import GivenBack
from jobs.queues import FEED
from jobs.shares import MOST_WEIGHT, Priority
from tests.unit.desks import START, House, make_house
from tests.unit.test_feed import forgetful, planned  # noqa: F401  a fixture is used by its name
from workers.edit import edit
from workers.feed import feed
from workers.pace import NEW
from workers.sharing import share_out, weigh
from workers.tick import Tick

SLOTS, WINDOW = 4, 8


def two(rows: int = 100, **other: Any) -> House:
    """Return a house with a batch `b`, which has filled its window, and beside it a batch `c`."""
    house = make_house(slots=SLOTS)
    planned(house, 100)
    feed("b", "flux", house.desk)
    planned(house, rows, batch="c", **other)
    house.sent.clear()
    return house


def shares(house: House) -> list[int]:
    return [house.progress(batch).shares.get("flux", 0) for batch in house.ledger.batches()]


def test_a_batch_that_is_alone_has_no_share_and_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    house = make_house(slots=SLOTS)
    planned(house, 20)
    monkeypatch.setattr(house.ledger, "share", None)

    assert share_out(house.desk) == {"b": {}}


def test_two_batches_know_at_once_what_each_has() -> None:
    house = two(priority=Priority.URGENT, rows=3)

    feed("c", "flux", house.desk)

    assert shares(house) == [5, 3]
    assert [house.progress(batch).weight for batch in "bc"] == [1.0, 8.0]
    assert house.progress("c").hot["flux"] == 3


def test_a_batch_beyond_its_share_is_not_fed_and_its_messages_give_way() -> None:
    house = two()
    feed("c", "flux", house.desk)
    feed("b", "flux", house.desk)

    said = [house.ledger.claim(f"b.{n}", "w1").why for n in range(1, 9)]

    assert said == ["aside"] * 4 + [""] * 4
    assert (house.progress("b").hot["flux"], house.progress("c").hot["flux"]) == (4, 4)


def test_what_left_its_place_comes_before_rows_that_are_not_fed() -> None:
    house = two()
    feed("c", "flux", house.desk)
    jobs = [house.ledger.claim(f"b.{n}", "w1").job for n in range(1, 9)]
    fed = house.progress("b").cursors["flux"]
    last = jobs[-1]
    assert last is not None
    house.moved(last, GivenBack(wait=60.0, why="throttled"))

    feed("b", "flux", house.desk)

    assert house.progress("b").cursors["flux"] == fed
    assert house.ledger.claim("b.1", "w1").job is not None


def test_a_batch_that_is_alone_again_is_fed_at_once() -> None:
    house = two()
    feed("c", "flux", house.desk)
    house.ledger.set_state("c", BatchState.PAUSED, "operator", only_from=[BatchState.OPEN])
    house.sent.clear()

    Tick(house.desk).once()

    assert shares(house) == [0, 0]
    assert (FEED, "b", "flux") in house.sent


def test_nothing_is_written_while_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    house = two()
    share_out(house.desk)
    monkeypatch.setattr(house.ledger, "share", None)

    share_out(house.desk)


def test_a_priority_that_is_changed_counts_from_the_next_turn() -> None:
    house = two()
    feed("c", "flux", house.desk)
    assert shares(house) == [4, 4]

    house.ledger.set_priority("c", Priority.URGENT, 0.0)
    Tick(house.desk).once()

    assert shares(house) == [1, 7]


def test_rows_that_cannot_be_fed_want_no_places() -> None:
    house = two(local=True, chunk_rows=4)
    assert share_out(house.desk)["b"] == {}

    house.ledger.stage("c", "flux", 4)

    assert share_out(house.desk) == {"b": {"flux": 4}, "c": {"flux": 4}}


def test_a_batch_whose_jobs_all_wait_keeps_one_place_for_them() -> None:
    house = two(rows=1)
    feed("c", "flux", house.desk)
    job = house.claimed("c.1")
    house.moved(job, GivenBack(wait=60.0, why="throttled"))

    assert share_out(house.desk) == {"b": {"flux": 7}, "c": {"flux": 1}}


def test_a_batch_in_which_too_many_jobs_wait_has_no_places_for_rows_that_are_not_fed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house = two()
    monkeypatch.setattr("workers.sharing.WAITING_LIMIT", 0)

    assert share_out(house.desk)["b"] == {}, "nobody else has a job"


def test_batches_of_two_limit_groups_share_no_window_but_weigh_something() -> None:
    house = make_house(slots=SLOTS)
    house.open(3, id="b")
    house.open(3, id="c", group="kontext-max", order={"model": "flux-kontext-max"})

    assert share_out(house.desk) == {"b": {}, "c": {}}
    assert [house.progress(batch).weight for batch in "bc"] == [1.0, 1.0]


# -- deadlines


def due(house: House, by: float, rows: int = 40) -> Batch:
    return house.open(rows, feed=False, id="d", by=by)


def taught(house: House, seconds: float) -> None:
    """Let the house have seen how long edits take."""
    for _ in range(NEW):
        house.desk.pace.saw(house.desk.model("flux-2-pro"), seconds, seconds)


def weighs(house: House, batch: Batch) -> float:
    return weigh(batch, house.progress(batch.id), house.clock(), house.desk)


def test_a_deadline_that_is_far_away_changes_nothing() -> None:
    house = make_house(slots=SLOTS)

    assert weighs(house, due(house, START + 1e6)) == 1.0


def test_a_deadline_that_comes_near_weighs_more_and_more() -> None:
    house = make_house(slots=SLOTS)
    taught(house, 20.0)  # so that 40 edits in 4 places take 200 s
    batch = due(house, START + 400.0)
    found = [weighs(house, batch)]

    for _ in range(5):
        house.clock.advance(45)
        found.append(weighs(house, batch))

    assert found == sorted(found)
    assert found[0] == pytest.approx(2.0, rel=0.2)
    assert found[0] < found[2] < found[4] < found[5] == MOST_WEIGHT


def test_how_near_a_deadline_is_follows_from_how_long_edits_were_seen_to_take() -> None:
    house = make_house(slots=SLOTS)
    batch = due(house, START + 300.0)
    cautious = weighs(house, batch)

    taught(house, 1.0)

    assert weighs(house, batch) == 1.0 < cautious


def test_the_work_that_is_done_counts_no_more() -> None:
    house = make_house(slots=SLOTS)
    taught(house, 20.0)
    batch = house.open(40, id="d", by=START + 250.0)
    before = weighs(house, batch)

    for n in range(1, 11):
        house.ready(f"d.{n}")

    assert weighs(house, batch) < before


# -- threads


def test_an_edit_is_told_what_its_batch_weighs(monkeypatch: pytest.MonkeyPatch) -> None:
    house = two()
    feed("c", "flux", house.desk)
    asked: list[float] = []

    def refuses(job: object, now: float, weight: float) -> str:
        asked.append(weight)
        return "this process is full"

    monkeypatch.setattr(house.desk.turns, "refuses", refuses)

    edit("c.1", house.desk)

    assert asked == [1.0]
