"""Feeding: how large a window is, whose turn it is, and that no row is fed twice or left out."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from jobs.batch import Batch, BatchState, Progress
from jobs.bounds import Bounds
from jobs.errors import Refused, Unavailable
from jobs.events import Cancelled, Event, Failed
from jobs.ledger.change import WAITING_LIMIT
from jobs.models import LimitGroup
from jobs.queues import EDIT, FEED
from jobs.request import Request
from jobs.row import Row
from jobs.states import apply
from tests.unit import desks
from tests.unit.desks import RESERVE, House, make_house
from workers import feed as feeding
from workers.feed import CHUNKS_AT_ONCE, feed, pause_if_stopped, wants
from workers.finish import over

BARE = Bounds(failed=0, failed_batch=100, moderated=0)
"""They bear no failure of a group."""


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "_chunks", feeding._Chunks())


def planned(
    house: House, rows: int, *, batch: str = "b", chunk_rows: int = 256, groups: Sequence[str] = (), **agreed: Any
) -> Batch:
    """Open a batch whose plan lies in the bucket."""
    found = house.open(rows, feed=False, id=batch, chunk_rows=chunk_rows, **agreed)
    for chunk in range(-(-rows // chunk_rows)):
        numbers = range(chunk * chunk_rows + 1, min((chunk + 1) * chunk_rows, rows) + 1)
        make = house.desk.layout.staged_plan if found.local else house.desk.layout.plan
        text = "".join(f"{row(number, *groups[number - 1 : number]).as_line()}\n" for number in numbers)
        house.bucket.lay(make(batch, found.round, "flux", chunk), text.encode())
    return found


def row(number: int, group: str = "chairs") -> Row:
    return Row(
        number=number,
        id=f"chair-{number}",
        group=group,
        limit_group="flux",
        request=Request(model="flux-2-pro", prompt="p", inputs=(f"s3://bucket/in/{number}.png",)),
        output=f"chairs/{number}.{{ext}}",
        expected=desks.COST,
        at_most=RESERVE,
        cells=(str(number),),
        sizes={},
    )


@pytest.mark.parametrize(("slots", "jobs"), [(24, 30), (6, 10), (1, 5), (100, 125)])
def test_a_window_is_the_slots_and_a_few_that_wait(slots: int, jobs: int) -> None:
    assert LimitGroup(name="g", size=slots).window == jobs


def test_a_window_is_fed_and_each_job_gets_a_message() -> None:
    house = make_house(slots=4)
    planned(house, 20)

    feed("b", "flux", house.desk)

    assert house.progress().hot["flux"] == 8
    assert house.progress().low["flux"] == 7
    assert house.sent == [(EDIT, f"b.{n}") for n in range(1, 9)]


def test_a_window_that_is_full_is_not_fed() -> None:
    house = make_house(slots=4)
    planned(house, 20)
    feed("b", "flux", house.desk)
    house.sent.clear()

    feed("b", "flux", house.desk)

    assert house.sent == []


def test_a_window_reaches_over_several_chunks() -> None:
    house = make_house(slots=4)
    planned(house, 20, chunk_rows=3)

    feed("b", "flux", house.desk)

    assert house.ledger.jobs_of("b") == sorted(f"b.{n}" for n in range(1, 9))


def test_the_last_rows_end_the_feeding() -> None:
    house = make_house(slots=4)
    planned(house, 5, chunk_rows=2)

    feed("b", "flux", house.desk)
    feed("b", "flux", house.desk)

    assert len(house.sent) == 5
    assert house.progress().cursors["flux"] == 5


def test_two_batches_share_the_window_of_their_group() -> None:
    house = make_house(slots=4)
    planned(house, 20)
    planned(house, 20, batch="c")

    feed("b", "flux", house.desk)
    feed("c", "flux", house.desk)

    assert (house.progress("b").hot["flux"], house.progress("c").hot["flux"]) == (4, 4)


def test_a_batch_that_is_paused_takes_no_share() -> None:
    house = make_house(slots=4)
    planned(house, 20)
    planned(house, 20, batch="c")
    house.ledger.set_state("c", BatchState.PAUSED, "operator", only_from=[BatchState.OPEN])

    feed("b", "flux", house.desk)

    assert house.progress("b").hot["flux"] == 8


def test_local_rows_are_fed_up_to_the_staged_mark_only() -> None:
    house = make_house(slots=4)
    planned(house, 20, chunk_rows=4, local=True)

    feed("b", "flux", house.desk)
    assert house.sent == []
    house.ledger.stage("b", "flux", 4)
    feed("b", "flux", house.desk)

    assert len(house.sent) == 4


@pytest.mark.parametrize("state", [BatchState.PAUSED, BatchState.CANCELLED, BatchState.DONE])
def test_only_an_open_batch_is_fed(state: BatchState) -> None:
    house = make_house()
    planned(house, 4)
    house.ledger.set_state("b", state, "", only_from=[BatchState.OPEN])

    feed("b", "flux", house.desk)

    assert house.sent == []


def test_a_batch_that_nobody_knows_is_not_fed() -> None:
    house = make_house()

    feed("b", "flux", house.desk)

    assert house.bucket.calls == []


def test_too_many_jobs_that_wait_stop_the_feeding() -> None:
    house = make_house()
    batch = planned(house, 20)
    progress = house.progress()

    def waiting(count: int) -> Progress:
        return replace(progress, waiting=count)

    assert wants(batch, waiting(WAITING_LIMIT - 1), "flux")
    assert not wants(batch, waiting(WAITING_LIMIT), "flux")


def test_of_two_feeders_at_the_same_cursor_one_feeds(monkeypatch: pytest.MonkeyPatch) -> None:
    house = make_house(slots=4)
    planned(house, 20)
    real = house.ledger.feed

    def raced(*args: Any, **named: Any) -> bool:
        monkeypatch.setattr(house.ledger, "feed", real)
        assert real(*args, **named)  # somebody was faster
        return real(*args, **named)

    monkeypatch.setattr(house.ledger, "feed", raced)

    feed("b", "flux", house.desk)

    assert house.sent == []
    assert house.progress().hot["flux"] == 8


def test_a_feed_that_was_held_up_into_the_next_round_creates_none_of_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    house = make_house(slots=4)
    batch = planned(house, 3)
    read = feeding._chunks.rows

    def slow(*what: Any) -> Sequence[Row]:
        rows = read(*what)
        house.ledger.forget("b")
        house.ledger.open_batch(replace(batch, round=2))
        return rows

    monkeypatch.setattr(feeding._chunks, "rows", slow)
    feed("b", "flux", house.desk)

    assert (house.ledger.jobs_of("b"), house.progress().cursors) == ([], {"flux": 0})


def test_a_plan_that_cannot_be_read_now_is_asked_for_again_by_the_tick() -> None:
    house = make_house()
    planned(house, 4)
    house.bucket.failing["get"] = Unavailable("no answer")

    feed("b", "flux", house.desk)

    assert house.progress().state is BatchState.OPEN
    assert house.sent == []


def test_a_plan_that_is_refused_or_gone_makes_the_batch_wait_for_a_person() -> None:
    house = make_house()
    planned(house, 4)
    house.bucket.failing["get"] = Refused("AccessDenied")

    feed("b", "flux", house.desk)

    assert (house.progress().state, house.progress().reason) == (BatchState.PAUSED, "storage")


def test_a_chunk_is_read_once_for_many_windows() -> None:
    house = make_house(slots=4)
    planned(house, 20)
    for _ in range(3):
        feed("b", "flux", house.desk)

    assert [key for method, key in house.bucket.calls if method == "get"] == [house.desk.layout.plan("b", 1, "flux", 0)]


# -- groups of the manifest that are stopped

KNIVES, TABLES = ["knives"], ["tables"]


def stop(house: House, group: str = "knives") -> None:
    """Stop a group of a batch whose bounds bear no failure, by its first row."""
    job = next(job for job in house.ledger.jobs_of("b") if house.stands(job).order.group == group)
    claimed = house.claimed(job)
    refused = Failed(code="request_refused", detail="x")
    house.ledger.record(claimed, apply(replace(claimed, submitted_at=1.0), refused, house.clock()))
    assert group in house.progress().stops


def fed_of(house: House, group: str) -> list[int]:
    """Return the rows of a group that are jobs now."""
    orders = [house.stands(job).order for job in house.ledger.jobs_of("b")]
    return sorted(order.row for order in orders if order.group == group)


def set_aside(house: House) -> None:
    """Let every message come, so that rows of stopped groups are set aside."""
    for job in house.ledger.jobs_of("b"):
        if house.stands(job).order.bound in house.progress().stops:
            house.ledger.claim(job, "w1")


def test_rows_of_a_stopped_group_are_stepped_over_and_those_after_them_fed() -> None:
    house = make_house(slots=4)
    planned(house, 60, chunk_rows=8, groups=KNIVES * 40 + TABLES * 20, bounds=BARE)
    feed("b", "flux", house.desk)
    stop(house)
    set_aside(house)

    feed("b", "flux", house.desk)

    assert fed_of(house, "knives") == list(range(2, 9))
    assert fed_of(house, "tables") == list(range(41, 49))
    assert house.progress().behind == {"flux": {"knives": 8}}
    assert house.progress().cursors["flux"] == 48


def test_a_group_that_goes_on_is_fed_from_where_it_was_left_before_any_other_row() -> None:
    house = make_house(slots=4)
    planned(house, 60, chunk_rows=8, groups=KNIVES * 40 + TABLES * 20, bounds=BARE)
    feed("b", "flux", house.desk)
    stop(house)
    set_aside(house)
    feed("b", "flux", house.desk)
    tables = fed_of(house, "tables")

    house.ledger.resume_groups("b", "knives")
    for job in list(house.ledger.jobs_of("b")):
        house.ledger.record(house.claimed(job), apply(house.stands(job), Cancelled(), house.clock()))
    feed("b", "flux", house.desk)

    assert fed_of(house, "knives") == list(range(9, 17))
    assert fed_of(house, "tables") == []
    assert len(tables) == 8


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_stopped_and_goes_on_every_row_is_fed_once(seed: int) -> None:
    chance = random.Random(seed)
    house = make_house(slots=2)
    groups = [chance.choice(["knives", "tables", "beds"]) for _ in range(50)]
    planned(house, 50, chunk_rows=7, groups=groups, bounds=BARE)
    seen: list[str] = []

    for _ in range(400):
        feed("b", "flux", house.desk)
        if house.ledger.jobs_of("b") and chance.random() < 0.8:
            job = chance.choice(list(house.ledger.jobs_of("b")))
            if house.ledger.claim(job, "w1").job is not None:
                ends: list[Event] = [Failed(code="api_error", detail="x"), Cancelled()]
                job_now = house.stands(job)
                if chance.random() < 0.4:
                    job_now = replace(job_now, submitted_at=1.0)
                house.ledger.record(house.stands(job), apply(job_now, chance.choice(ends), house.clock()))
                seen.append(job)
        if chance.random() < 0.1:
            house.ledger.resume_groups("b", chance.choice(["", *house.progress().stops]))
        if house.progress().state is BatchState.PAUSED:
            house.ledger.set_state("b", BatchState.OPEN, "", only_from=[BatchState.PAUSED])

    house.ledger.resume_groups("b")
    for _ in range(60):
        feed("b", "flux", house.desk)
        for job in list(house.ledger.jobs_of("b")):
            house.moved(house.claimed(job), Cancelled())
            seen.append(job)
    assert sorted(seen) == sorted(f"b.{n}" for n in range(1, 51))
    assert house.progress().behind == {}


def test_a_long_stretch_of_stopped_rows_is_gone_over_in_turns() -> None:
    house = make_house(slots=4)
    planned(house, 200, chunk_rows=2, groups=KNIVES * 200, bounds=BARE)
    feed("b", "flux", house.desk)
    stop(house)
    set_aside(house)
    house.sent.clear()

    feed("b", "flux", house.desk)

    assert house.sent == [(FEED, "b", "flux")]
    assert house.progress().cursors["flux"] == 8 + 2 * CHUNKS_AT_ONCE


def test_a_batch_of_which_only_stopped_rows_are_left_waits_for_a_person() -> None:
    house = make_house(slots=4)
    batch = planned(house, 30, groups=KNIVES * 20 + TABLES * 10, bounds=BARE)
    feed("b", "flux", house.desk)
    stop(house)
    set_aside(house)
    states = []
    for _ in range(3):
        feed("b", "flux", house.desk)
        pause_if_stopped(batch, house.progress(), house.desk)
        states.append(house.progress().state)
        for job in house.ledger.jobs_of("b"):
            if house.stands(job).order.group == "tables":
                house.moved(house.claimed(job), Cancelled())

    assert states == [BatchState.OPEN, BatchState.OPEN, BatchState.PAUSED]
    assert (house.progress().reason, house.progress().about) == ("failures", {"why": "left"})
    assert not over(batch, house.progress())


def test_a_batch_with_pictures_to_upload_does_not_wait_for_a_person_yet() -> None:
    house = make_house(slots=4)
    batch = planned(house, 30, chunk_rows=10, groups=KNIVES * 30, bounds=BARE, local=True)
    house.ledger.stage("b", "flux", 10)
    feed("b", "flux", house.desk)
    stop(house)
    set_aside(house)
    feed("b", "flux", house.desk)

    pause_if_stopped(batch, house.progress(), house.desk)

    assert house.progress().state is BatchState.OPEN
