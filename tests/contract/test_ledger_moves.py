"""Recording transitions: compare-and-set, slots, counts, reasons and windows."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from jobs import events as e
from jobs.errors import Superseded
from jobs.job import Failure, State
from jobs.states import apply

if TYPE_CHECKING:
    from jobs.job import Job
    from tests.contract.conftest import House

RESERVE, COST = 60_000, 45_000


# -- compare and set


def test_what_was_recorded_reads_back(house: House) -> None:
    job = house.ready(house.one())

    assert house.load("b.0") == job


def test_every_field_of_a_job_survives_the_ledger(house: House) -> None:
    job = house.running(house.one())
    full = replace(
        job,
        flags=("noise",),
        failures=(Failure(attempt=1, code="api_error", detail="é", at=1.5),),
        renewed=True,
        seed=-1,
        waits=3,
        detail="ü 椅",
        not_before=1_234.567,
    )

    house.ledger.record(job, full)

    assert house.load("b.0") == full


@pytest.mark.parametrize("change", ["state", "attempt", "fence"])
def test_a_move_from_what_the_job_is_not_any_more_leaves_everything_as_it_was(house: House, change: str) -> None:
    job = house.running(house.one())
    was = house.books()
    believed = {
        "state": replace(job, state=State.SUBMITTING),
        "attempt": replace(job, attempt=2),
        "fence": replace(job, fence=job.fence + 1),
    }[change]

    for act in (house.ledger.record, house.ledger.begin, house.ledger.resubmit):
        with pytest.raises(Superseded):
            act(believed, replace(job, detail="stale"))

    assert house.books() == was


def test_an_ended_job_moves_no_more(house: House) -> None:
    ready = house.ready(house.one())
    house.moved(ready, house.filed())
    was = house.books()

    with pytest.raises(Superseded):
        house.moved(ready, e.Failed(code="api_error", detail=""))
    house.later(3600)
    with pytest.raises(Superseded):
        house.moved(ready, e.Failed(code="api_error", detail=""))

    assert house.books() == was


def test_of_two_racing_moves_one_is_refused(house: House) -> None:
    job = house.ready(house.one())
    start, said = threading.Barrier(8), []

    def race(event: e.Event) -> None:
        after = apply(job, event, house.ledger.now())
        start.wait(10)
        try:
            house.ledger.record(job, after)
        except Superseded:
            said.append("refused")
        else:
            said.append("done")

    events = [house.filed(), e.Failed(code="api_error", detail="")] * 4
    threads = [threading.Thread(target=race, args=(event,)) for event in events]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert sorted(said) == ["done"] + ["refused"] * 7
    assert sum(house.counts().values()) == 1
    assert house.ledger.outcomes_waiting("b")[0] == 1


def test_a_move_that_is_asked_for_again_by_its_name_is_carried_out_once(house: House) -> None:
    job = house.running(house.one())
    after = apply(job, e.Ready(url="https://delivery/x", deadline=0.0), house.ledger.now())

    house.ledger.record(job, after, op="one")
    house.ledger.record(job, after, op="one")

    assert house.load("b.0") == after
    assert house.counts()["ready"] == 1


def test_an_end_that_is_asked_for_again_by_its_name_says_again_that_none_is_left(house: House) -> None:
    ready = house.ready(house.one())
    after = apply(ready, house.filed(), house.ledger.now())

    said = [house.ledger.record(ready, after, op="end").none_left for _ in range(2)]

    assert said == [True, True]
    assert house.ledger.outcomes_waiting("b")[0] == 1


# -- slots


@pytest.mark.parametrize(
    "end",
    [
        e.Moderated(code="result_moderated", detail=""),
        e.AttemptFailed(code="api_error", detail="", wait=0),
        e.Failed(code="lost_at_api", detail="", paid=True),
    ],
)
def test_a_task_that_ended_at_the_api_frees_its_slot(house: House, end: e.Event) -> None:
    job = house.running(house.one())
    assert house.ledger.slots_used()["flux"] == 1

    house.moved(job, end)

    assert house.ledger.slots_used()["flux"] == 0


def test_a_slot_is_freed_when_the_result_is_ready_and_not_a_second_time_when_it_is_stored(house: House) -> None:
    house.open()
    house.feed(2)
    job = house.ready("b.0")
    house.begun("b.1")

    house.moved(job, house.filed())

    assert house.ledger.slots_used()["flux"] == 1


def test_a_job_given_back_while_its_task_runs_keeps_its_slot(house: House) -> None:
    house.moved(house.running(house.one()), e.GivenBack(wait=0))

    assert house.ledger.slots_used()["flux"] == 1
    assert house.ledger.remove_strays() == 0


def test_the_next_attempt_takes_a_slot_of_its_own(house: House) -> None:
    job = house.moved(house.running(house.one()), e.AttemptFailed(code="api_error", detail="", wait=0))

    again = house.begun(job.id)

    assert again.attempt == 2
    assert house.ledger.slots_used()["flux"] == 1
    assert house.ledger.remove_strays() == 0


# -- counts and reasons


def test_counts_add_up_to_the_jobs_fed_in_every_mixture_of_states(house: House) -> None:
    house.open()
    house.feed(12)
    house.claimed("b.1")
    house.begun("b.2")
    house.running("b.3")
    house.ready("b.4")
    house.moved(house.ready("b.5"), e.Kept(detail=""))
    house.stored("b.6")
    house.moved(house.claimed("b.7"), e.Failed(code="image_empty", detail=""))
    house.moved(house.claimed("b.8"), e.Cancelled())
    house.doubted("b.9")
    house.held("b.10")
    house.moved(house.begun("b.11"), e.Moderated(code="request_moderated", detail=""))

    assert house.counts() == {
        "queued": 2,
        "submitting": 1,
        "running": 1,
        "ready": 1,
        "kept": 1,
        "stored": 1,
        "failed": 1,
        "cancelled": 1,
        "in_doubt": 2,
        "moderated": 1,
    }
    assert (house.progress().held, house.progress().live) == (1, 7)


def test_reasons_are_counted_with_their_cost(house: House) -> None:
    house.open()
    house.feed(4)
    house.moved(house.claimed("b.0"), e.Failed(code="image_empty", detail=""))
    house.moved(house.claimed("b.1"), e.Failed(code="image_empty", detail=""))
    house.moved(house.running("b.2"), e.Failed(code="lost_at_api", detail="", paid=True))
    house.stored("b.3")

    assert house.progress().reasons == {"image_empty": (2, 0), "lost_at_api": (1, COST)}


def test_a_doubt_that_is_held_counts_with_its_reason_until_it_is_settled(house: House) -> None:
    doubt = house.doubted(house.one())
    assert house.progress().reasons == {}

    held = house.moved(doubt, e.Held())
    assert house.progress().reasons == {"in_doubt": (1, 0)}
    assert house.progress().held == 1

    house.moved(held, house.accepted())
    assert house.progress().reasons == {}
    assert house.progress().held == 0


def test_a_held_doubt_that_fails_counts_under_its_last_reason_alone(house: House) -> None:
    house.moved(house.held(house.one()), e.Failed(code="lost_at_api", detail="", paid=True))

    assert house.progress().reasons == {"lost_at_api": (1, RESERVE)}
    assert house.progress().held == 0


# -- windows


def seats(house: House) -> tuple[int, int]:
    progress = house.progress()
    return progress.hot.get("flux", 0), progress.waiting


@pytest.mark.parametrize(
    ("steps", "seat"),
    [
        (lambda h, j: h.claimed(j), (1, 0)),
        (lambda h, j: h.moved(h.claimed(j), e.GivenBack(wait=0)), (1, 0)),
        (lambda h, j: h.moved(h.claimed(j), e.GivenBack(wait=1)), (1, 0)),
        (lambda h, j: h.moved(h.claimed(j), e.GivenBack(wait=60)), (0, 1)),
        (lambda h, j: h.begun(j), (1, 0)),
        (lambda h, j: h.moved(h.begun(j), e.NotSubmitted(wait=60)), (0, 1)),
        (lambda h, j: h.moved(h.begun(j), e.AttemptFailed(code="api_error", detail="", wait=60)), (0, 1)),
        (lambda h, j: h.running(j), (1, 0)),
        (lambda h, j: h.moved(h.running(j), e.GivenBack(wait=60)), (1, 0)),
        (lambda h, j: h.ready(j), (0, 1)),
        (lambda h, j: h.moved(h.ready(j), e.UrlExpired()), (0, 1)),  # the API is done with it
        (lambda h, j: h.moved(h.ready(j), e.Kept(detail="")), (0, 1)),
        (lambda h, j: h.stored(j), (0, 0)),
        (lambda h, j: h.doubted(j), (1, 0)),
        (lambda h, j: h.held(j), (0, 1)),
        (lambda h, j: h.moved(h.held(j), h.accepted()), (1, 0)),
        (lambda h, j: h.moved(h.doubted(j), e.Cancelled()), (0, 0)),
    ],
)
def test_a_window_counts_the_jobs_that_hold_or_want_a_slot(house: House, steps: Any, seat: tuple[int, int]) -> None:
    steps(house, house.one())

    assert seats(house) == seat


def test_a_job_that_waited_long_is_in_the_window_again_once_it_is_claimed(house: House) -> None:
    house.moved(house.claimed(house.one()), e.GivenBack(wait=60))
    house.later(61)

    house.claimed("b.0")

    assert seats(house) == (1, 0)


def test_each_group_has_a_window_of_its_own(house: House) -> None:
    house.open(groups={"flux": 4, "kontext-max": 4})
    house.feed(2)
    house.feed(3, group="kontext-max")
    house.stored("b.0")
    house.stored("b.1000")

    assert house.progress().hot == {"flux": 1, "kontext-max": 2}


def test_a_feed_is_wanted_once_when_the_window_falls_under_its_low_water(house: House) -> None:
    house.open()
    house.feed(5, low=4)

    wanted = [house.ledger.record(before, after).feed_wanted for before, after in ends(house, 3)]

    assert wanted == [False, True, False]


def test_a_feed_that_nobody_did_is_wanted_again(house: House) -> None:
    house.open()
    house.feed(5, low=5)
    moves = ends(house, 3)

    first = house.ledger.record(*moves[0]).feed_wanted
    at_once = house.ledger.record(*moves[1]).feed_wanted
    house.later(3)
    later = house.ledger.record(*moves[2]).feed_wanted

    assert (first, at_once, later) == (True, False, True)


def test_after_a_feed_the_next_one_can_be_wanted_at_once(house: House) -> None:
    house.open()
    house.feed(3, low=3)
    first = house.ledger.record(*ends(house, 1)[0]).feed_wanted
    house.feed(1, cursor=3, low=3)
    house.moved(house.claimed("b.3"), e.Cancelled())

    second = house.ledger.record(*ends(house, 1, start=1)[0]).feed_wanted

    assert first
    assert not second
    assert house.progress().low == {"flux": 3}


@pytest.mark.parametrize("why", ["paused", "all fed", "not staged"])
def test_no_feed_is_wanted_where_nothing_can_be_fed(house: House, why: str) -> None:
    house.open(groups={"flux": 3 if why == "all fed" else 40}, local=why == "not staged")
    house.ledger.stage("b", "flux", 3)
    house.feed(3, low=9)
    ((before, after),) = ends(house, 1)
    if why == "paused":
        house.pause()

    assert not house.ledger.record(before, after).feed_wanted


def test_who_ends_the_last_job_of_a_batch_is_told_so(house: House) -> None:
    house.open(groups={"flux": 2})
    house.feed(2)

    none_left = [house.ledger.record(before, after).none_left for before, after in ends(house, 2)]

    assert none_left == [False, True]


def test_a_job_that_goes_on_is_left(house: House) -> None:
    house.open()
    house.feed(1)
    job = house.claimed("b.0")

    given_back = house.ledger.record(job, apply(job, e.GivenBack(wait=0.0, why="x"), house.ledger.now()))

    assert not given_back.none_left


def test_a_batch_of_which_there_is_more_to_feed_is_fed_first(house: House) -> None:
    house.open()
    house.feed(1, low=1)

    ((before, after),) = ends(house, 1)
    recorded = house.ledger.record(before, after)

    assert (recorded.feed_wanted, recorded.none_left) == (True, False)


def ends(house: House, count: int, start: int = 0) -> list[tuple[Job, Job]]:
    """Claim so many jobs and return the moves that end them."""
    claimed = [house.claimed(f"b.{row}") for row in range(start, start + count)]
    return [(job, apply(job, e.Cancelled(), house.ledger.now())) for job in claimed]
