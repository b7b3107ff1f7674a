"""The way of one job through its steps, and what happens to it when a step, a worker or Redis fails on the way."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from jobs.batch import BatchState
from jobs.errors import LedgerError, Superseded, Unavailable
from jobs.events import Accepted, Begun, Doubted, Event, Failed, GivenBack, Held, NotSubmitted, Resubmitted
from jobs.job import Job, State
from jobs.ledger import memory_gate
from jobs.ledger.port import Recorded
from jobs.queues import EDIT, FEED, FINISH
from tests.unit.desks import COST, RESERVE, STILL, URL, House, make_house, picture, receipt
from workers import edit as editing
from workers.api import protocol
from workers.api.protocol import ResultReady, SubmitAnswer, TaskFailed
from workers.desk import insistently
from workers.edit import edit
from workers.receipts import WRITE_DOWN_S, deliver_receipt
from workers.turns import HOUSE_THREADS, SPARED

RESULT = picture(colour="red")
ACCEPTED = protocol.Accepted(receipt=receipt())


def willing(**agreed: Any) -> House:
    """Return a house whose API takes one edit and delivers it."""
    house = make_house()
    house.open(**agreed)
    house.api.submits.append(ACCEPTED)
    house.api.polls.extend([STILL, ResultReady(url=URL, deadline=house.clock() + 900, cost=None, seed=7)])
    house.api.downloads.append(RESULT)
    return house


def counts(house: House) -> dict[str, int]:
    return {state: count for state, count in house.progress().counts.items() if count}


def test_a_job_is_taken_from_the_queue_to_the_bucket_in_one_go() -> None:
    house = willing()

    edit("b.1", house.desk)

    assert counts(house) == {"stored": 1}
    assert house.bucket.get("chairs/1.png") == RESULT
    assert (house.progress().settled, house.progress().reserved) == (COST, 0)
    assert house.ledger.slots_used()["flux"] == 0
    assert house.desk.keeper.held() == 0
    assert house.desk.prepared == {}
    line = json.loads(house.outcomes())
    assert (line["state"], line["how"], line["task_id"], line["cost_usd"]) == ("stored", "bought", "t1", 0.045)


def test_a_message_that_comes_twice_buys_once() -> None:
    house = willing()

    edit("b.1", house.desk)
    edit("b.1", house.desk)

    assert len(house.api.bodies) == 1


def test_a_message_for_a_job_that_nobody_fed_does_nothing() -> None:
    house = make_house()

    edit("b.99", house.desk)

    assert house.ledger.load("b.99") is None


def test_a_message_for_a_job_that_somebody_works_on_does_nothing() -> None:
    house = willing()
    house.ledger.claim("b.1", "w2")

    edit("b.1", house.desk)

    assert house.stands().owner == "w2"
    assert house.api.bodies == []


def test_no_job_is_begun_once_a_shutdown_has() -> None:
    house = willing()
    house.stopping.set()

    edit("b.1", house.desk)

    assert house.stands().owner == ""


def test_a_job_of_a_cancelled_batch_ends_cancelled_and_unpaid() -> None:
    house = willing()
    house.ledger.set_state("b", BatchState.CANCELLED, "", only_from=[BatchState.OPEN])

    edit("b.1", house.desk)

    assert counts(house) == {"cancelled": 1}
    assert house.api.bodies == []


def test_a_receipt_of_a_cancelled_batch_is_followed_to_storage() -> None:
    house = willing()
    job = house.running()
    house.moved(job, GivenBack(wait=0.0))
    house.ledger.set_state("b", BatchState.CANCELLED, "", only_from=[BatchState.OPEN])

    edit("b.1", house.desk)

    assert counts(house) == {"stored": 1}
    assert house.api.bodies == []


def test_a_rescued_job_goes_on_from_its_state() -> None:
    house = willing()
    house.moved(house.ready(), GivenBack(wait=0.0))

    edit("b.1", house.desk)

    assert counts(house) == {"stored": 1}
    assert house.api.polled == []


def test_a_shutdown_during_a_poll_leaves_the_job_running_and_due_at_once() -> None:
    house = willing()
    house.stopping.then = house.stopping.set

    edit("b.1", house.desk)

    job = house.stands()
    assert (job.state, job.owner, job.not_before) == (State.RUNNING, "", 0.0)
    assert house.ledger.slots_used()["flux"] == 1


def test_two_rows_that_ask_for_the_same_edit_buy_it_once() -> None:
    house = willing(rows=2, order={"prompt": "the same", "inputs": ("s3://bucket/in/1.png",)})

    edit("b.1", house.desk)
    edit("b.2", house.desk)

    assert counts(house) == {"stored": 1, "unchanged": 1}
    assert len(house.api.bodies) == 1
    assert house.bucket.get("chairs/2.png") == RESULT


def test_an_edit_that_somebody_is_just_buying_waits_its_turn() -> None:
    house = willing(rows=2, order={"prompt": "the same", "inputs": ("s3://bucket/in/1.png",)})
    house.begun("b.1")

    edit("b.2", house.desk)

    job = house.stands("b.2")
    assert (job.state, job.attempt, job.owner) == (State.QUEUED, 1, "")
    assert job.not_before > house.clock()


# -- a process that is full


def crowd(house: House, count: int) -> ExitStack:
    """Hold so many other jobs while the block runs."""
    stack = ExitStack()
    for n in range(count):
        other = replace(house.stands(), order=replace(house.stands().order, row=100 + n))
        stack.enter_context(house.desk.turns.holding(other))
    return stack


def test_a_process_that_is_full_gives_an_edit_back_unspent() -> None:
    house = willing()

    with crowd(house, house.desk.threads - HOUSE_THREADS):
        edit("b.1", house.desk)

    job = house.stands()
    assert (job.state, job.attempt, job.owner) == (State.QUEUED, 1, "")
    assert 0 < job.not_before - house.clock() <= 1.5


def test_an_edit_that_is_paid_takes_a_thread_that_others_leave() -> None:
    house = willing()
    house.moved(house.running(), GivenBack(wait=0.0))

    with crowd(house, house.desk.threads - HOUSE_THREADS):
        edit("b.1", house.desk)

    assert counts(house) == {"stored": 1}


def test_two_threads_are_left_to_housekeeping_by_paid_edits_too() -> None:
    house = willing()
    house.moved(house.running(), GivenBack(wait=0.0))

    with crowd(house, house.desk.threads - SPARED[State.RUNNING]):
        edit("b.1", house.desk)

    assert house.stands().state is State.RUNNING


# -- a bug in a step


def broken(monkeypatch: pytest.MonkeyPatch, state: State) -> House:
    house = willing()

    def step(job: Job, _: Any) -> Event:
        raise ValueError("https://x.example/?sig=CANARY")

    monkeypatch.setattr(editing, "STEPS", {**editing.STEPS, state: step})
    return house


def test_a_bug_before_anything_was_asked_is_an_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    house = broken(monkeypatch, State.QUEUED)

    edit("b.1", house.desk)

    job = house.stands()
    assert (job.state, job.attempt, job.failures[0].code) == (State.QUEUED, 2, "internal_error")
    assert "CANARY" not in str(job)


def bugged(house: House, *, marked: bool) -> None:
    """Let a submission that has passed the gate meet a bug."""

    def submit(before_last: Callable[[], None]) -> SubmitAnswer:
        if marked:
            before_last()
        raise ValueError("https://x.example/?sig=CANARY")

    house.api.submits[0] = submit


def test_a_bug_before_the_sent_mark_is_an_attempt_and_no_doubt() -> None:
    house = willing()
    bugged(house, marked=False)

    edit("b.1", house.desk)

    job = house.stands()
    assert (job.state, job.attempt, job.doubts) == (State.QUEUED, 2, 0)
    assert house.ledger.slots_used()["flux"] == 0


def test_a_bug_after_the_sent_mark_is_a_doubt() -> None:
    house = willing()
    bugged(house, marked=True)

    edit("b.1", house.desk)

    assert house.stands().state is State.IN_DOUBT
    assert house.ledger.slots_used()["flux"] == 1


@pytest.mark.parametrize("state", [State.RUNNING, State.READY])
def test_a_bug_in_a_paid_job_is_tried_again_later(monkeypatch: pytest.MonkeyPatch, state: State) -> None:
    house = broken(monkeypatch, state)

    edit("b.1", house.desk)

    job = house.stands()
    assert (job.state, job.attempt, job.owner) == (state, 1, "")
    assert job.not_before - house.clock() == pytest.approx(30.0, abs=0.01)


@pytest.mark.parametrize(("state", "code"), [(State.RUNNING, "lost_at_api"), (State.READY, "paid_not_delivered")])
def test_a_bug_that_stays_ends_a_paid_job_at_last(monkeypatch: pytest.MonkeyPatch, state: State, code: str) -> None:
    house = broken(monkeypatch, state)

    for _ in range(130):
        edit("b.1", house.desk)
        house.clock.advance(31)

    assert counts(house) == {"failed": 1}
    assert house.progress().reasons[code] == (1, COST)
    assert house.ledger.slots_used()["flux"] == 0


def test_a_model_that_is_in_no_catalogue_any_more_fails_its_row() -> None:
    house = willing(order={"model": "flux-0"})

    for _ in range(3):
        edit("b.1", house.desk)
        house.clock.advance(200)

    assert house.progress().reasons["internal_error"] == (1, 0)


# -- Redis


def test_a_ledger_that_is_away_leaves_the_job_to_its_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    house = willing()

    def away(*args: Any, **named: Any) -> Recorded:
        raise LedgerError

    monkeypatch.setattr(house.ledger, "begin", away)

    edit("b.1", house.desk)

    assert (house.stands().state, house.stands().owner) == (State.QUEUED, "w1")
    assert house.api.bodies == []
    assert house.desk.keeper.held() == 0
    assert house.desk.prepared == {}


def test_a_receipt_is_written_down_as_soon_as_redis_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    house = willing()
    real, tries = house.ledger.record, []

    def flaky(before: Job, after: Job, **how: str) -> Recorded:
        tries.append(after.state)
        if after.state is State.RUNNING and len(tries) < 3:
            raise LedgerError
        return real(before, after, **how)

    monkeypatch.setattr(house.ledger, "record", flaky)
    monkeypatch.setattr("workers.desk.time.sleep", house.clock.advance)

    edit("b.1", house.desk)

    assert tries[:3] == [State.RUNNING] * 3
    assert counts(house) == {"stored": 1}


def test_a_receipt_that_was_recorded_although_redis_did_not_say_so_is_no_second_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house = willing()
    real = house.ledger.record
    lost: list[Recorded] = []

    def flaky(before: Job, after: Job, **how: str) -> Recorded:
        recorded = real(before, after, **how)
        if after.state is State.RUNNING and not lost:
            lost.append(recorded)
            raise LedgerError
        return recorded

    monkeypatch.setattr(house.ledger, "record", flaky)
    monkeypatch.setattr("workers.desk.time.sleep", house.clock.advance)

    edit("b.1", house.desk)

    assert counts(house) == {"stored": 1}
    assert list((house.desk.spool.folder / "notes").iterdir()) == []


def test_a_receipt_of_a_job_that_was_taken_over_stays_on_the_disk_where_redis_goes_away_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house = willing()
    real = house.ledger.record

    def overtaken(before: Job, after: Job, **how: str) -> Recorded:
        if after.state is State.RUNNING:
            monkeypatch.setattr(house.ledger, "load", away)
            raise Superseded
        return real(before, after, **how)

    def away(job: str) -> Job | None:
        raise LedgerError

    monkeypatch.setattr(house.ledger, "record", overtaken)
    monkeypatch.setattr("workers.desk.time.sleep", house.clock.advance)
    monkeypatch.setattr("workers.desk.time.monotonic", house.clock)

    edit("b.1", house.desk)

    assert [(note.job.id, note.receipt) for note in house.desk.spool.notes.all()] == [("b.1", receipt())]


def test_a_receipt_of_a_job_that_was_taken_over_leaves_no_note_where_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house = willing()
    real = house.ledger.record
    asked: list[Recorded] = []

    def overtaken(before: Job, after: Job, **how: str) -> Recorded:
        if after.state is State.RUNNING and not asked:
            asked.append(real(before, replace(before, owner="w2", fence=before.fence + 1)))
        return real(before, after, **how)

    monkeypatch.setattr(house.ledger, "record", overtaken)

    edit("b.1", house.desk)

    assert "t1" in house.outcomes()
    assert list((house.desk.spool.folder / "notes").iterdir()) == []


def away_at(house: House, monkeypatch: pytest.MonkeyPatch, state: State, meanwhile: Callable[[], None]) -> None:
    """Let Redis be away when a job is about to be `state`, and call `meanwhile` before it is back."""
    real, tries = house.ledger.record, []

    def flaky(before: Job, after: Job, **how: str) -> Recorded:
        if after.state is state:
            tries.append(after)
            if len(tries) == 1:
                raise LedgerError
            meanwhile()
        return real(before, after, **how)

    monkeypatch.setattr(house.ledger, "record", flaky)
    monkeypatch.setattr("workers.desk.time.sleep", house.clock.advance)


def test_a_receipt_is_on_the_disk_while_redis_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    house = willing()
    notes = house.desk.spool.folder / "notes"
    seen: list[int] = []
    away_at(house, monkeypatch, State.RUNNING, lambda: seen.append(len(list(notes.iterdir()))))

    edit("b.1", house.desk)

    assert seen == [1]
    assert list(notes.iterdir()) == []
    assert counts(house) == {"stored": 1}


def test_a_result_is_fetched_while_redis_is_away_before_its_url_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    house = willing()
    seen: list[int] = []
    away_at(house, monkeypatch, State.READY, lambda: seen.append(len(list(house.desk.spool.all()))))

    edit("b.1", house.desk)

    assert seen == [1]
    assert house.api.fetched == [URL]
    assert counts(house) == {"stored": 1}
    assert list(house.desk.spool.all()) == []


def test_a_process_that_slept_while_it_told_redis_of_a_receipt_leaves_it_on_the_disk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house = willing()
    monkeypatch.setattr("workers.desk.time.monotonic", house.clock)
    real = house.ledger.record

    def asleep(before: Job, after: Job, **how: str) -> Recorded:
        if after.state is State.RUNNING:
            house.clock.advance(2 * WRITE_DOWN_S)
            raise LedgerError
        return real(before, after, **how)

    monkeypatch.setattr(house.ledger, "record", asleep)

    edit("b.1", house.desk)

    assert [note.job.id for note in house.desk.spool.notes.all()] == ["b.1"]


def test_what_is_known_is_not_written_down_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    house = make_house()
    slept: list[float] = []
    monkeypatch.setattr("workers.desk.time.sleep", slept.append)
    monkeypatch.setattr("workers.desk.time.monotonic", lambda: sum(slept))

    def away() -> None:
        raise LedgerError

    with pytest.raises(LedgerError):
        insistently(away, house.desk, errors=LedgerError, give_up_s=60.0)
    patient, slept[:] = sum(slept), []
    house.stopping.set()
    with pytest.raises(LedgerError):
        insistently(away, house.desk, errors=LedgerError, give_up_s=60.0)

    assert 60 < patient <= 65
    assert 15 < sum(slept) <= 20


def test_a_job_that_somebody_else_took_is_left_to_them() -> None:
    house = willing()

    def submit(before_last: Callable[[], None]) -> SubmitAnswer:
        house.moved(house.stands(), NotSubmitted(wait=0.0, why="lease lapsed"))
        house.ledger.claim("b.1", "w2")
        before_last()
        return ACCEPTED

    house.api.submits[0] = submit

    edit("b.1", house.desk)

    assert (house.stands().state, house.stands().owner) == (State.QUEUED, "w2")


def test_a_late_owner_does_not_take_the_next_ones_body() -> None:
    house = willing()
    late = house.begun()
    house.moved(late, NotSubmitted(wait=0.0, why="lease lapsed"))
    now = house.begun()

    house.desk.prepared.pop((late.id, late.fence), None)

    assert (now.id, now.fence) in house.desk.prepared


def test_a_window_under_its_low_water_asks_to_be_fed(monkeypatch: pytest.MonkeyPatch) -> None:
    house = willing()
    real = house.ledger.record
    said = Recorded(feed_wanted=True)
    monkeypatch.setattr(house.ledger, "record", lambda b, a, **how: (real(b, a, **how), said)[a.final])

    edit("b.1", house.desk)

    assert house.sent == [(FEED, "b", "flux")]


def test_the_last_job_of_a_batch_asks_for_its_report() -> None:
    house = willing()

    edit("b.1", house.desk)

    assert house.sent == [(FINISH, "b")]


def test_storage_that_is_away_before_the_purchase_spends_nothing() -> None:
    house = willing()
    house.bucket.failing["get"] = Unavailable("no answer")

    edit("b.1", house.desk)

    job = house.stands()
    assert (job.state, job.attempt, job.waits) == (State.QUEUED, 1, 1)


# -- room for what is bought


def test_nothing_is_bought_whose_result_could_not_be_kept() -> None:
    house = willing()
    house.desk.spool._room._limit = house.desk.model("flux-2-pro").largest_result - 1

    edit("b.1", house.desk)

    job = house.stands()
    assert (job.state, job.attempt, job.waits) == (State.QUEUED, 1, 1)
    assert house.api.bodies == []
    assert house.desk.spool.full
    assert house.ledger.slots_used()["flux"] == 0


def test_the_room_for_a_result_is_reserved_before_its_submission_and_free_after_its_end() -> None:
    house = willing()
    room = house.desk.spool._room
    seen: list[int] = []

    def submitted(before_last: Callable[[], None]) -> SubmitAnswer:
        before_last()
        seen.append(room.reserved)
        return ACCEPTED

    house.api.submits[0] = submitted

    edit("b.1", house.desk)

    assert seen == [house.desk.model("flux-2-pro").largest_result]
    assert room.reserved == 0
    assert counts(house) == {"stored": 1}


def test_a_task_that_was_taken_over_is_reserved_for_whatever_room_there_is() -> None:
    house = willing()
    house.moved(house.running(), GivenBack(wait=0.0))
    room = house.desk.spool._room
    room._limit = 1
    seen: list[int] = []
    poll = house.api.poll

    def polled(*asked: Any) -> Any:
        seen.append(room.reserved)
        return poll(*asked)

    house.api.poll = polled  # type: ignore[method-assign,assignment]

    edit("b.1", house.desk)

    assert min(seen) > 0
    assert counts(house) == {"stored": 1}


@pytest.mark.parametrize("when", ["before it is prepared", "after"])
def test_while_storage_is_away_nothing_is_bought_and_nobody_is_asked(
    monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    house = willing()
    trouble = iter(["no answer"] if when == "before it is prepared" else ["", "no answer"])
    monkeypatch.setattr(type(house.desk.storage), "trouble", property(lambda _: next(trouble)))

    edit("b.1", house.desk)

    job = house.stands()
    assert (job.state, job.attempt) == (State.QUEUED, 1)
    assert job.not_before > house.clock()
    assert house.api.bodies == []
    assert (house.bucket.calls == []) is (when == "before it is prepared")


def test_a_kept_job_holds_no_thread_and_is_taken_up_again_by_whoever_has_its_disk() -> None:
    house = willing()
    put = Unavailable("no answer")

    def away(before_last: Callable[[], None]) -> SubmitAnswer:
        before_last()
        house.bucket.failing["put"] = put
        return ACCEPTED

    house.api.submits[0] = away
    edit("b.1", house.desk)
    kept = house.stands()
    house.bucket.failing.clear()

    why = edit("b.1", house.desk)

    assert (kept.state, kept.owner, kept.spool) == (State.KEPT, "", house.desk.spool.id)
    assert why == ""
    assert counts(house) == {"stored": 1}
    assert house.api.fetched == [URL]


# -- receipts that come late


def doubted(house: House) -> tuple[Job, Job]:
    """Return the job as its late worker knows it, and as it stands in doubt."""
    job = house.ledger.mark_sent(house.begun())
    return job, house.moved(job, Doubted(detail="the worker vanished", wait=60.0))


def test_a_late_receipt_settles_the_doubt_and_the_job_goes_on() -> None:
    house = willing()
    job, _ = doubted(house)

    deliver_receipt(job, receipt(), house.desk)

    assert (house.stands().state, house.stands().receipt) == (State.RUNNING, receipt())
    assert house.sent == [(EDIT, "b.1", True)]
    assert house.progress().settled == COST


def test_a_late_receipt_of_a_held_doubt_is_used_too() -> None:
    house = willing()
    job, in_doubt = doubted(house)
    house.moved(in_doubt, Held())

    deliver_receipt(job, receipt(), house.desk)

    assert house.stands().state is State.RUNNING
    assert house.progress().held == 0


def test_a_late_receipt_of_a_job_that_waits_to_be_asked_again_saves_the_second_purchase() -> None:
    house = willing()
    job, in_doubt = doubted(house)
    house.moved(in_doubt, Resubmitted())

    deliver_receipt(job, receipt(), house.desk)

    assert house.stands().state is State.RUNNING
    assert house.ledger.slots_used()["flux"] == 1


def test_a_late_receipt_of_a_job_that_runs_again_is_recorded_as_a_second_charge() -> None:
    house = willing()
    job, in_doubt = doubted(house)
    house.moved(in_doubt, Resubmitted())
    house.moved(house.begun(), Accepted(receipt=receipt("t2")))

    deliver_receipt(job, receipt("t1"), house.desk)

    assert house.stands().receipt == receipt("t2")
    assert "t1" in house.outcomes()
    assert house.progress().settled == 2 * COST


def test_a_late_receipt_of_a_job_that_has_ended_is_an_outcome_line_with_its_cost() -> None:
    house = willing()
    job, in_doubt = doubted(house)
    house.moved(in_doubt, Failed(code="in_doubt", detail=""))

    deliver_receipt(job, receipt(), house.desk)

    assert house.progress().settled == COST
    lines = [json.loads(line) for line in house.outcomes().splitlines()]
    assert len(lines) == 2
    assert "t1" in json.dumps(lines[1])


def test_a_late_receipt_of_a_batch_that_was_forgotten_lands_in_the_bucket() -> None:
    house = willing()
    job, in_doubt = doubted(house)
    house.moved(in_doubt, Failed(code="in_doubt", detail=""))
    house.ledger.forget("b")
    house.bucket.failing["put"] = Unavailable("no answer")
    mended = threading.Timer(0.3, house.bucket.failing.clear)
    mended.start()

    deliver_receipt(job, receipt(), house.desk)
    deliver_receipt(job, receipt(), house.desk)

    mended.join()
    (part,) = house.bucket.keys("retouch/batches/b/outcomes/")
    (line,) = house.bucket.get(part.key).decode().splitlines()
    said = json.loads(line)
    assert part.key.startswith("retouch/batches/b/outcomes/late-")
    assert (said["state"], said["row"], said["cost_usd"]) == ("late_receipt", 1, COST / 1_000_000)
    assert (said["task_id"], said["polling_url"]) == ("t1", receipt().polling_url)


def test_a_receipt_that_is_known_already_is_not_counted_twice() -> None:
    house = willing()
    job = house.running()

    deliver_receipt(job, receipt(), house.desk)

    assert house.outcomes() == ""
    assert house.progress().settled == COST


def test_a_late_receipt_of_a_job_that_is_just_being_prepared_is_not_lost() -> None:
    house = willing()
    job, in_doubt = doubted(house)
    house.moved(in_doubt, Resubmitted())
    house.claimed()

    deliver_receipt(job, receipt(), house.desk)

    assert house.progress().settled == COST


def test_a_late_receipt_of_a_job_that_was_made_anew_is_filed_and_paid_as_what_was_bought() -> None:
    lost = willing()
    job = lost.ledger.mark_sent(lost.begun())
    house = willing()

    deliver_receipt(job, receipt(), house.desk)
    edit("b.1", house.desk)

    assert counts(house) == {"stored": 1}
    assert house.desk.results.find(job.fingerprint) is not None
    assert house.ledger.money(job.day, job.key_id).settled == COST


def test_a_late_receipt_of_a_doubt_that_was_made_anew_is_filed_as_what_was_bought() -> None:
    lost = willing()
    job = lost.ledger.mark_sent(lost.begun())
    house = willing()
    claimed = house.claimed()
    begun = house.moved(claimed, Begun(fingerprint="", key_id="", day=job.day))
    house.moved(begun, Doubted(detail="the ledger was lost", wait=60.0))

    deliver_receipt(job, receipt(), house.desk)
    edit("b.1", house.desk)

    assert counts(house) == {"stored": 1}
    assert house.desk.results.find(job.fingerprint) is not None
    assert (house.progress().settled, house.progress().reserved) == (COST, 0)
    assert house.ledger.money(job.day).reserved == 0


def test_a_late_receipt_of_a_job_that_is_submitted_again_meanwhile_is_a_second_charge() -> None:
    house = willing()
    job, in_doubt = doubted(house)
    house.moved(in_doubt, Resubmitted())
    again = house.begun()

    deliver_receipt(job, receipt("t1"), house.desk)
    house.moved(again, Accepted(receipt=receipt("t2")))

    assert house.stands().receipt == receipt("t2")
    assert "t1" in house.outcomes()
    assert house.progress().settled == 2 * COST


def test_an_answer_that_came_after_its_job_was_doubted_is_delivered_by_the_edit_itself() -> None:
    house = willing()

    def submit(before_last: Callable[[], None]) -> SubmitAnswer:
        before_last()
        house.moved(house.stands(), Doubted(detail="the worker vanished", wait=60.0))
        return ACCEPTED

    house.api.submits[0] = submit

    edit("b.1", house.desk)

    assert house.stands().state is State.RUNNING
    assert house.sent == [(EDIT, "b.1", True)]
    assert house.progress().reserved == 0
    assert house.progress().settled == COST < RESERVE


def test_threads_that_meet_the_same_job_do_not_buy_it_twice() -> None:
    house = willing()
    threads = [threading.Thread(target=edit, args=("b.1", house.desk)) for _ in range(6)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(house.api.bodies) == 1
    assert counts(house) == {"stored": 1}


def test_superseded_at_the_gate_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    house = willing()

    def taken(*args: Any, **named: Any) -> Recorded:
        raise Superseded

    monkeypatch.setattr(house.ledger, "begin", taken)

    edit("b.1", house.desk)

    assert house.desk.keeper.held() == 0


def test_a_failed_edit_whose_batch_has_no_new_tries_left_ends_with_that_reason_and_its_cost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house = willing()
    house.api.polls.clear()
    house.api.polls.append(TaskFailed(detail="overloaded", for_good=False, cost=COST))
    monkeypatch.setattr(memory_gate, "may_try_again", lambda *_: False)

    edit("b.1", house.desk)

    ended = json.loads(house.outcomes())
    assert (ended["state"], ended["reason"], ended["detail"]) == ("failed", "retry_budget", "api_error: overloaded")
    assert ended["cost_usd"] == COST / 1e6


def test_an_edit_that_keeps_failing_is_tried_for_no_longer_than_the_setting_says() -> None:
    house = willing()
    house.desk.retry_for_s = 60.0
    failed = TaskFailed(detail="overloaded", for_good=False, cost=0)
    house.api.polls.clear()
    house.api.polls.append(failed)
    edit("b.1", house.desk)
    house.clock.advance(61)
    house.api.submits.append(protocol.Accepted(receipt=receipt("t2")))
    house.api.polls.append(failed)

    edit("b.1", house.desk)

    ended = json.loads(house.outcomes())
    assert (ended["reason"], ended["attempts"]) == ("api_error", 2)
    assert "not tried again: the first failure was 1 minutes ago" in ended["detail"]
