"""What a transition changes beside the job: decided once, for both ledgers."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from jobs import events as e
from jobs.job import Job, Order, Receipt, Result, State
from jobs.ledger.change import (
    LONG_WAIT_S,
    Change,
    Index,
    Seat,
    counted_reason,
    holds_reserve,
    holds_slot,
    index_of,
    seat_of,
)
from jobs.request import Request
from jobs.states import apply
from tests.fakes import charged

AT = 1_800_000_000.0
RESERVE, COST = 60_000, 45_000
ORDER = Order(
    batch="b",
    row=7,
    id="chair-7",
    group="chairs",
    limit_group="flux",
    request=Request(model="flux-2-pro", prompt="a white wall", inputs=("s3://b/7.png",)),
    output="out/7.{ext}",
    reserve=RESERVE,
)
QUEUED = Job(order=ORDER, owner="w1", fence=4)
PAID = Receipt(task_id="t", polling_url="https://x/t", cost=COST)
UNPRICED = replace(PAID, cost=None)
S = State


def after(job: Job, *happened: e.Event) -> Job:
    for event in happened:
        job = apply(job, event, AT)
    return job


SUBMITTING = after(QUEUED, e.Begun(fingerprint="f", key_id="k"))
RUNNING = after(SUBMITTING, e.Accepted(receipt=PAID))
READY = after(RUNNING, e.Ready(url="u", deadline=AT + 600))
KEPT = after(READY, e.Kept(detail=""))
STORED = after(READY, e.Stored(result=Result(key="k", sha256="0", bytes=1, format="png", width=1, height=1)))
DOUBT = after(SUBMITTING, e.Doubted(detail="timeout", wait=45))
HELD = after(DOUBT, e.Held())
FAILED = after(RUNNING, e.Failed(code="lost_at_api", detail="", paid=True))
MODERATED = after(SUBMITTING, e.Moderated(code="request_moderated", detail=""))
CANCELLED = after(QUEUED, e.Cancelled())
ENDED = [STORED, FAILED, MODERATED, CANCELLED]


def name(part: object) -> str:
    """Name a job in a test's id by where it stands."""
    return f"{part.state}{'-held' if part.held else ''}" if isinstance(part, Job) else str(part)


@pytest.mark.parametrize("job", [SUBMITTING, RUNNING, DOUBT], ids=name)
def test_what_the_api_may_count_holds_a_slot(job: Job) -> None:
    assert holds_slot(job)


@pytest.mark.parametrize("job", [QUEUED, READY, KEPT, HELD, *ENDED], ids=name)
def test_what_the_api_does_not_count_holds_none(job: Job) -> None:
    assert not holds_slot(job)


def test_a_cost_that_changes_when_the_task_takes_no_place_any_more_is_not_sure() -> None:
    """The credits may have been read since."""
    renewed = after(READY, e.UrlExpired())

    ended = after(renewed, e.Failed(code="api_error", detail="", cost=COST + 1))

    assert Change.of(renewed, ended, AT).unsure == 1
    assert Change.of(RUNNING, after(RUNNING, e.Failed(code="api_error", detail="", cost=COST + 1)), AT).unsure == 0


@pytest.mark.parametrize("job", [SUBMITTING, DOUBT, HELD, after(SUBMITTING, e.Accepted(receipt=UNPRICED))], ids=name)
def test_what_may_still_cost_holds_its_reserve(job: Job) -> None:
    assert holds_reserve(job)


@pytest.mark.parametrize("job", [QUEUED, RUNNING, READY, KEPT, *ENDED], ids=name)
def test_what_is_settled_or_not_asked_for_holds_none(job: Job) -> None:
    assert not holds_reserve(job)


@pytest.mark.parametrize(
    ("job", "seat"),
    [
        (QUEUED, Seat.HOT),
        (SUBMITTING, Seat.HOT),
        (RUNNING, Seat.HOT),
        (DOUBT, Seat.HOT),
        (READY, Seat.WAITING),
        (KEPT, Seat.WAITING),
        (HELD, Seat.HELD),
        *((job, Seat.NONE) for job in ENDED),
    ],
    ids=name,
)
def test_a_job_sits_where_its_state_says(job: Job, seat: Seat) -> None:
    assert seat_of(job, AT) is seat


@pytest.mark.parametrize(
    ("wait", "seat"),
    [(0.0, Seat.HOT), (LONG_WAIT_S - 0.1, Seat.HOT), (LONG_WAIT_S, Seat.WAITING), (600.0, Seat.WAITING)],
)
def test_a_queued_job_leaves_the_window_for_a_long_wait(wait: float, seat: Seat) -> None:
    assert seat_of(after(QUEUED, e.GivenBack(wait=wait)), AT) is seat


@pytest.mark.parametrize(
    ("job", "index"),
    [
        (QUEUED, Index.LEASES),
        (RUNNING, Index.LEASES),
        (KEPT, Index.NONE),
        (replace(KEPT, owner="w1"), Index.LEASES),
        (after(QUEUED, e.GivenBack(wait=9)), Index.DUE),
        (after(RUNNING, e.GivenBack(wait=0)), Index.DUE),
        (DOUBT, Index.DOUBTS),
        (replace(DOUBT, owner="w1"), Index.DOUBTS),
        (HELD, Index.NONE),
        *((job, Index.NONE) for job in ENDED),
    ],
    ids=name,
)
def test_a_job_is_found_by_one_index(job: Job, index: Index) -> None:
    assert index_of(job) is index


@pytest.mark.parametrize(
    ("job", "code"),
    [(QUEUED, ""), (DOUBT, ""), (HELD, "in_doubt"), (FAILED, "lost_at_api"), (STORED, ""), (CANCELLED, "cancelled")],
    ids=name,
)
def test_a_reason_counts_for_what_did_not_make_it_or_is_held(job: Job, code: str) -> None:
    assert counted_reason(job.state, job.reason, held=job.held) == code


@pytest.mark.parametrize(
    ("before", "event", "to"),
    [
        (QUEUED, e.Begun(fingerprint="f", key_id="k"), "keep"),
        (SUBMITTING, e.Accepted(receipt=PAID), "keep"),
        (SUBMITTING, e.NotSubmitted(wait=0), "free"),
        (SUBMITTING, e.Doubted(detail="", wait=1), "keep"),
        (SUBMITTING, e.Moderated(code="x", detail=""), "free"),
        (DOUBT, e.Held(), "free"),
        (DOUBT, e.Resubmitted(), "free"),
        (DOUBT, e.Accepted(receipt=PAID), "keep"),
        (RUNNING, e.AttemptFailed(code="x", detail="", wait=0), "free"),
        (READY, e.UrlExpired(), "keep"),
        (READY, e.Stored(result=STORED.result), "filed"),  # type: ignore[arg-type]
        (KEPT, e.Stored(result=STORED.result), "filed"),  # type: ignore[arg-type]
        (KEPT, e.Failed(code="x", detail=""), "free"),
        (QUEUED, e.Unchanged(result=STORED.result, fingerprint="f", how="kept"), "keep"),  # type: ignore[arg-type]
    ],
    ids=lambda part: type(part).__name__ if isinstance(part, e.Event) else "",
)
def test_a_fingerprint_is_kept_while_it_is_bought(before: Job, event: e.Event, to: str) -> None:
    assert Change.of(before, after(before, event), AT).fingerprint_to == to


def test_a_change_says_what_must_still_be_so_and_what_becomes_of_it() -> None:
    change = Change.of(SUBMITTING, RUNNING, AT)

    assert (change.was_state, change.was_attempt, change.was_fence) == ("submitting", 1, 4)
    assert (change.job, change.batch, change.group, change.state) == ("b.7", "b", "flux", "running")
    assert (change.was_slot, change.slot) == ("b.7:1", "b.7:1")
    assert (change.reserve, change.settled, change.paid) == (0, COST, True)
    assert (change.final, change.outcome, list(change.reasons)) == (False, "", [])


def test_a_job_in_progress_is_written_down_whole() -> None:
    change = Change.of(SUBMITTING, RUNNING, AT)

    read = Job.from_json(
        ORDER,
        json.loads(change.live),
        state=State(change.state),
        attempt=change.attempt,
        fence=change.fence,
        owner=change.owner,
        sent=change.sent,
        not_before=change.not_before_ms / 1000,
    )
    assert read == RUNNING


@pytest.mark.parametrize(("before", "ended"), [(READY, STORED), (RUNNING, FAILED), (QUEUED, CANCELLED), (DOUBT, HELD)])
def test_an_end_and_a_hold_leave_an_outcome(before: Job, ended: Job) -> None:
    change = Change.of(before, ended, AT)

    assert json.loads(change.outcome)["state"] == str(ended.state)
    assert change.final == ended.final


def test_holding_what_is_held_leaves_no_second_outcome() -> None:
    change = Change.of(HELD, after(HELD, e.Held()), AT)

    assert (change.outcome, change.held) == ("", 0)
    assert sum(rows for _, rows, _ in change.reasons) == 0


def test_a_held_doubt_that_is_settled_takes_its_reason_and_its_cost_back() -> None:
    held = replace(HELD, charges=charged(5))

    change = Change.of(held, after(held, e.Accepted(receipt=PAID)), AT)

    assert list(change.reasons) == [("in_doubt", -1, -5)]
    assert change.held == -1


def test_only_a_resubmission_uses_the_allowance() -> None:
    resubmitted = Change.of(DOUBT, after(DOUBT, e.Resubmitted()), AT)
    refused = Change.of(SUBMITTING, after(SUBMITTING, e.NotSubmitted(wait=0)), AT)

    assert (resubmitted.doubt_used, refused.doubt_used) == (RESERVE, 0)
    assert (resubmitted.was_slot, resubmitted.slot, resubmitted.reserve) == ("b.7:1", "", 0)


def test_an_index_never_points_to_the_past() -> None:
    change = Change.of(RUNNING, after(RUNNING, e.GivenBack(wait=0)), AT)

    assert change.index_at_ms == round(AT * 1000)


def test_a_change_is_json_that_any_text_survives() -> None:
    odd = 'ü 椅 🪑 "q" \\ \u2028 \n'

    change = Change.of(RUNNING, after(RUNNING, e.Failed(code="x", detail=odd)), AT)

    assert json.loads(json.loads(change.as_json())["outcome"])["detail"] == odd
