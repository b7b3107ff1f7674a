"""Previews that are made while an edit's pictures are in hand: by whom, of what, and how many."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from PIL import Image

from jobs.batch import Batch
from jobs.errors import LedgerError
from jobs.report.sheet import CARDS
from tests.unit.desks import make_house, picture
from workers import previews as rooms
from workers.finish import _thumbnails
from workers.previews import LOOK_EVERY_S, Previews

Counted = list[int]


@pytest.fixture
def workers() -> Counted:
    """How many worker processes there are."""
    return [1]


@pytest.fixture
def clock() -> list[float]:
    return [100.0]


@pytest.fixture
def previews(workers: Counted, clock: list[float]) -> Previews:
    return Previews(lambda: workers[0], monotonic=lambda: clock[0])


@pytest.fixture(scope="module")
def batch() -> Batch:
    house = make_house()
    house.open(rows=2)
    found = house.ledger.batch("b")
    assert found is not None
    return found[0]


def kept(previews: Previews, batch: Batch, job: str = "b.1") -> bool:
    previews.after(job, batch, picture())
    return previews.taken(job) != (None, None)


def test_both_pictures_of_a_job_are_kept_small_until_they_are_taken(previews: Previews, batch: Batch) -> None:
    previews.before("b.1", batch, picture(600, 400))
    previews.after("b.1", batch, picture(400, 600))

    before, after = previews.taken("b.1")

    assert before is not None
    assert after is not None
    assert [Image.open(io.BytesIO(each)).size for each in (before, after)] == [(256, 171), (171, 256)]
    assert previews.taken("b.1") == (None, None)


def test_an_input_that_only_the_api_reads_has_none(previews: Previews, batch: Batch) -> None:
    previews.before("b.1", batch, "https://shop.example/1.png")

    assert previews.taken("b.1") == (None, None)


def test_what_is_no_picture_has_none(previews: Previews, batch: Batch) -> None:
    previews.after("b.1", batch, b"no picture")

    assert previews.taken("b.1") == (None, None)


def test_a_batch_of_which_not_every_row_is_shown_has_none(previews: Previews, batch: Batch) -> None:
    whole = kept(previews, replace(batch, rows=CARDS))
    more = kept(previews, replace(batch, rows=CARDS + 1))

    assert (whole, more) == (True, False)


def test_of_several_workers_none_makes_any(
    previews: Previews, batch: Batch, workers: Counted, clock: list[float]
) -> None:
    alone = kept(previews, batch)
    workers[0] = 2
    soon = kept(previews, batch)
    clock[0] += LOOK_EVERY_S
    later = kept(previews, batch)

    assert (alone, soon, later) == (True, True, False)


def test_where_it_cannot_be_told_who_else_works_there_are_none(batch: Batch) -> None:
    def away() -> int:
        raise LedgerError("Redis is away")

    assert not kept(Previews(away), batch)


def test_the_oldest_are_let_go_where_there_are_too_many(
    previews: Previews, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    previews.after("b.0", batch, picture())
    one = len(previews.taken("b.0")[1] or b"")
    monkeypatch.setattr(rooms, "MOST_BYTES", 2 * one)

    for row in (1, 2, 3):
        previews.after(f"b.{row}", batch, picture())

    assert [previews.taken(f"b.{row}")[1] is not None for row in (1, 2, 3)] == [False, True, True]
    assert previews._bytes == 0


def test_no_more_are_made_at_once_than_there_is_memory_for(previews: Previews, batch: Batch) -> None:
    for _ in range(rooms.AT_ONCE):
        previews._room.acquire()
    busy = kept(previews, batch)
    previews._room.release()

    assert (busy, kept(previews, batch)) == (False, True)


def test_a_report_fetches_only_the_pictures_that_are_not_in_hand() -> None:
    house = make_house()
    house.open(rows=2)
    job = house.claimed("b.1")
    found = house.ledger.batch("b")
    assert found is not None
    house.desk.previews.before("b.1", found[0], picture())
    house.desk.previews.after("b.1", found[0], picture())
    house.bucket.calls.clear()
    outcome = {"job": "b.1", "output": "out.png"}

    in_hand = _thumbnails(job.order, outcome, house.desk)  # type: ignore[arg-type]
    asked = list(house.bucket.calls)
    _thumbnails(job.order, outcome, house.desk)  # type: ignore[arg-type]

    assert None not in in_hand
    assert (asked, [name for name, _ in house.bucket.calls]) == ([], ["get", "get"])
