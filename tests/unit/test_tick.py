"""The tick: what was forgotten is found, by one process, and moved to where somebody can go on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jobs.batch import BatchState, document, exit_code
from jobs.errors import LedgerError
from jobs.events import Accepted, Begun, Cancelled, Doubted, Event, GivenBack, Held, NotSubmitted, Resubmitted
from jobs.job import Job, State
from jobs.money import Caps, Days, Reached
from jobs.queues import EDIT, FEED, FINISH, FLUSH, SETTLE
from tests.unit.desks import COST, KEY, OTHER_KEY, RESERVE, House, make_house, make_order, receipt
from workers import feed as feeding
from workers.away import LASTING_S
from workers.edit import edit
from workers.tick import FLUSH_AGE_S, Tick, after_lapse, take_over

LAPSE_S = 26.0


def ticked(house: House) -> set[tuple[str | int | bool, ...]]:
    """Tick once, and return the messages of it."""
    house.sent.clear()
    Tick(house.desk).once()
    return set(house.sent)


def test_a_quiet_house_gets_no_message() -> None:
    house = make_house()
    house.open()

    assert ticked(house) == set()


def test_a_process_that_ticks_is_seen() -> None:
    house = make_house()

    ticked(house)

    assert [worker.id for worker in house.ledger.workers()] == ["w1"]


def test_a_process_says_what_it_cannot_reach() -> None:
    house = make_house()
    house.desk.away.failed("api", "ConnectError")
    house.clock.advance(LASTING_S)

    ticked(house)

    assert house.ledger.workers()[0].about["away"] == {"api": "ConnectError"}


def test_a_process_says_which_keys_it_uses_and_which_it_leaves_out() -> None:
    house = make_house()
    house.desk.read_keys = lambda: (KEY, replace(OTHER_KEY, account=""))
    ticked(house)

    ticked(house)

    about = house.ledger.workers()[0].about
    assert (about["keys"], about["unnamed"]) == ([KEY.id], [OTHER_KEY.id])


def test_only_the_process_with_the_lock_looks_around() -> None:
    house = make_house()
    house.open()
    house.clock.advance(31)
    house.ledger.lock("tick", "w2", 6.0)

    assert ticked(house) == set()
    assert [worker.id for worker in house.ledger.workers()] == ["w1"]


def test_a_job_whose_message_was_lost_gets_another_one() -> None:
    house = make_house()
    house.open()
    house.clock.advance(31)

    assert ticked(house) == {(EDIT, "b.1")}
    assert ticked(house) == set()


def test_a_paid_job_is_sent_for_before_all_others() -> None:
    house = make_house()
    house.open()
    house.moved(house.running(), GivenBack(wait=0.0))

    assert ticked(house) == {(EDIT, "b.1", True)}


# -- lapsed leases


def test_a_job_that_was_only_claimed_goes_back_unspent() -> None:
    house = make_house()
    house.open()
    house.claimed()
    house.clock.advance(LAPSE_S)

    ticked(house)

    job = house.stands()
    assert (job.state, job.owner, job.attempt) == (State.QUEUED, "", 1)


def test_a_submission_without_the_sent_mark_was_none() -> None:
    house = make_house()
    house.open()
    begun = house.begun()
    house.clock.advance(LAPSE_S)

    ticked(house)

    job = house.stands()
    assert (job.state, job.attempt, job.doubts) == (State.QUEUED, 1, 0)
    assert house.ledger.slots_used()["flux"] == 0
    assert isinstance(after_lapse(begun, house.desk), NotSubmitted)


def test_a_submission_with_the_sent_mark_is_in_doubt_and_keeps_its_slot() -> None:
    house = make_house()
    house.open()
    house.ledger.mark_sent(house.begun())
    house.clock.advance(LAPSE_S)

    ticked(house)

    job = house.stands()
    assert (job.state, job.doubts) == (State.IN_DOUBT, 1)
    assert job.not_before - house.clock() == pytest.approx(
        1.5 * house.desk.model("flux-2-pro").latency.p999_s, abs=0.01
    )
    assert house.ledger.slots_used()["flux"] == 1
    assert (EDIT, "b.1") not in house.sent


@pytest.mark.parametrize("state", [State.RUNNING, State.READY])
def test_a_paid_job_is_given_on_at_once(state: State) -> None:
    house = make_house()
    house.open()
    _ = house.running() if state is State.RUNNING else house.ready()
    house.clock.advance(LAPSE_S)

    found = ticked(house)

    assert (house.stands().state, house.stands().owner) == (state, "")
    assert (EDIT, "b.1", True) in found


def test_a_job_that_moved_since_it_was_found_is_left_alone() -> None:
    house = make_house()
    house.open()
    stale = house.begun()
    now = house.moved(stale, Accepted(receipt=receipt()))

    take_over(stale, house.desk)

    assert house.stands() == now
    assert house.sent == []


def test_the_late_worker_of_a_job_that_was_taken_over_changes_nothing_any_more() -> None:
    house = make_house()
    house.open()
    job = house.running()
    house.clock.advance(LAPSE_S)
    ticked(house)
    house.ledger.claim("b.1", "w2")

    take_over(job, house.desk)

    assert house.stands().owner == "w2"


def test_one_job_that_cannot_be_moved_does_not_keep_the_tick_from_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    house = make_house()
    house.open(rows=2)
    house.claimed("b.1")
    house.claimed("b.2")
    house.clock.advance(LAPSE_S)
    real = house.ledger.record

    def poisoned(before: Job, after: Job) -> Any:
        if before.id == "b.1":
            raise KeyError("flux-0")
        return real(before, after)

    monkeypatch.setattr(house.ledger, "record", poisoned)

    ticked(house)

    assert (house.stands("b.1").owner, house.stands("b.2").owner) == ("w1", "")


def test_a_doubt_about_a_model_that_is_in_no_catalogue_any_more_is_still_a_doubt() -> None:
    house = make_house()
    house.open()
    job = house.ledger.mark_sent(house.begun())
    gone = replace(job, order=replace(job.order, request=replace(job.order.request, model="flux-0")))

    assert isinstance(after_lapse(gone, house.desk), Doubted)


def test_a_redis_that_is_away_ends_this_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    house = make_house()
    house.open()
    house.claimed()
    house.clock.advance(LAPSE_S)

    def away(*_: Any) -> Any:
        raise LedgerError

    monkeypatch.setattr(house.ledger, "record", away)

    with pytest.raises(LedgerError):
        ticked(house)


# -- the other hints


def test_a_doubt_whose_wait_is_over_is_settled() -> None:
    house = make_house()
    house.open()
    house.moved(house.ledger.mark_sent(house.begun()), Doubted(detail="", wait=60.0))

    assert (SETTLE, "b.1") not in ticked(house)
    house.clock.advance(61)
    assert (SETTLE, "b.1") in ticked(house)


def test_a_window_under_its_low_water_is_fed() -> None:
    house = make_house()
    house.open(feed=False)

    assert ticked(house) == {(FEED, "b", "flux")}


def test_a_paused_batch_is_not_fed() -> None:
    house = make_house()
    house.open(feed=False)
    house.ledger.set_state("b", BatchState.PAUSED, "operator", only_from=[BatchState.OPEN])

    assert ticked(house) == set()


# -- a day's cap


def capped(caps: Caps, *, which: str = "day_cap") -> House:
    """Return a house whose batch a day's cap holds; one edit has been paid on this day."""
    house = make_house(days=Days(caps=caps))
    house.open(rows=2)
    house.running("b.1")
    reached = Reached(which=which, needed=RESERVE, limit=1, day="2027-01-15", zone="UTC")
    paused = house.ledger.set_state("b", BatchState.PAUSED, "cap", only_from=[BatchState.OPEN], about=reached.as_json())
    assert paused
    return house


FULL = COST + RESERVE - 1
"""A cap that leaves no room for a second edit."""


@pytest.mark.parametrize(("caps", "which"), [(Caps(day=FULL), "day_cap"), (Caps(key_day=FULL), "key_cap")])
def test_a_batch_that_a_days_cap_holds_goes_on_by_itself_with_the_next_day(caps: Caps, which: str) -> None:
    house = capped(caps, which=which)

    ticked(house)
    on_the_same_day = house.progress().state
    house.clock.advance(86_400)
    ticked(house)

    assert on_the_same_day is BatchState.PAUSED
    assert (house.progress().state, house.progress().about) == (BatchState.OPEN, {})


@pytest.mark.parametrize("caps", [Caps(), Caps(day=FULL + 1)])
def test_a_batch_that_a_days_cap_holds_goes_on_when_the_cap_was_raised_or_taken_away(caps: Caps) -> None:
    house = capped(caps)

    ticked(house)

    assert house.progress().state is BatchState.OPEN


def test_one_key_with_room_is_enough_to_go_on() -> None:
    house = capped(Caps(key_day=FULL), which="key_cap")
    house.desk.read_keys = lambda: (KEY, OTHER_KEY)

    ticked(house)

    assert house.progress().state is BatchState.OPEN


def test_room_of_a_key_that_is_parked_lets_no_batch_go_on_until_the_key_works_again() -> None:
    house = capped(Caps(key_day=FULL), which="key_cap")
    house.desk.read_keys = lambda: (KEY, OTHER_KEY)
    house.ledger.park_key(OTHER_KEY.id, "HTTP 403: no")

    ticked(house)
    while_parked = house.progress().state
    house.ledger.unpark_key(OTHER_KEY.id)
    ticked(house)

    assert (while_parked, house.progress().state) == (BatchState.PAUSED, BatchState.OPEN)


def test_a_batch_at_its_own_ceiling_waits_for_a_person() -> None:
    house = capped(Caps(), which="ceiling")
    house.clock.advance(86_400)

    ticked(house)

    assert house.progress().state is BatchState.PAUSED


def test_a_batch_that_somebody_paused_meanwhile_stays_paused() -> None:
    house = capped(Caps())
    house.ledger.set_state("b", BatchState.PAUSED, "operator", only_from=[BatchState.PAUSED])

    ticked(house)

    assert house.progress().reason == "operator"


# -- many rows in doubt


def held_house(monkeypatch: pytest.MonkeyPatch, *, held: int = 2, fed: int = 2, rows: int = 3) -> House:
    """Return a house in which two held rows stop a batch, so many are held, and `fed` of its rows were fed."""
    monkeypatch.setattr(feeding, "WAITING_LIMIT", 2)
    house = make_house()
    house.desk.settles_by_credits = False
    house.open(rows, feed=False, allowance=0)
    house.ledger.feed("b", "flux", 0, [make_order(n) for n in range(1, fed + 1)], low=1)
    for number in range(1, held + 1):
        hold(house, f"b.{number}")
    return house


def hold(house: House, job: str) -> None:
    """Let a doubt about a job wait for a person."""
    submitted = house.moved(house.claimed(job), Begun(fingerprint=job, key_id=KEY.id, day="2027-01-15"))
    house.moved(submitted, Doubted(detail="", wait=1.0), Held())


def test_a_batch_that_is_fed_no_further_over_its_doubts_says_that_it_waits_for_a_decision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house = held_house(monkeypatch)

    ticked(house)

    found = house.ledger.batch("b")
    assert found is not None
    told = document(*found)
    assert (told["state"], told["reason"], exit_code(told)) == ("paused", "doubt", 5)
    assert "`retouch retry b --in-doubt` buys them again" in told["detail"]


@pytest.mark.parametrize(
    ("case", "amounts"),
    [
        ("few are held", {"held": 1, "fed": 1}),
        ("something is under way", {"fed": 3, "rows": 4}),
        ("every row was fed", {"rows": 2}),
    ],
)
def test_a_batch_with_doubts_is_not_paused_over_them_where(
    monkeypatch: pytest.MonkeyPatch, case: str, amounts: dict[str, int]
) -> None:
    house = held_house(monkeypatch, **amounts)

    ticked(house)

    assert house.progress().state is BatchState.OPEN, case


@pytest.mark.parametrize(("event", "goes_on"), [(Cancelled(), True), (Resubmitted(), True), (None, False)])
def test_a_batch_that_waits_over_its_doubts_goes_on_when_one_is_settled(
    monkeypatch: pytest.MonkeyPatch, event: Event | None, goes_on: bool
) -> None:
    house = held_house(monkeypatch)
    ticked(house)
    if event is not None:
        house.moved(house.stands(), event)

    ticked(house)

    assert (house.progress().state is BatchState.OPEN) is goes_on


def test_rows_that_are_asked_again_run_although_many_others_stay_in_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    house = held_house(monkeypatch, held=3, fed=3, rows=4)
    ticked(house)
    house.moved(house.stands(), Resubmitted())

    ticked(house)

    assert (house.progress().state, house.progress().held) == (BatchState.OPEN, 2)


def test_a_batch_in_doubt_that_was_paused_by_hand_stays_paused(monkeypatch: pytest.MonkeyPatch) -> None:
    house = held_house(monkeypatch)
    house.ledger.set_state("b", BatchState.PAUSED, "operator", only_from=[BatchState.OPEN])
    house.moved(house.stands(), Cancelled())

    ticked(house)

    assert (house.progress().state, house.progress().reason) == (BatchState.PAUSED, "operator")


def ended(house: House, rows: int = 2) -> None:
    """Let the first row of a batch end."""
    house.open(rows=rows, order={"inputs": ("s3://elsewhere/x.png",)})
    edit("b.1", house.desk)


def test_outcomes_are_flushed_when_they_are_old() -> None:
    house = make_house()
    ended(house)

    assert (FLUSH, "b") not in ticked(house)
    house.clock.advance(FLUSH_AGE_S)
    assert (FLUSH, "b") in ticked(house)


def test_outcomes_are_flushed_when_they_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    house = make_house()
    ended(house)
    monkeypatch.setattr(house.ledger, "outcomes_waiting", lambda _: (500, 0.1))

    assert (FLUSH, "b") in ticked(house)


def test_a_batch_with_nothing_left_is_finished() -> None:
    house = make_house()
    ended(house, rows=1)

    assert (FINISH, "b") in ticked(house)


def test_a_batch_with_rows_left_is_not_finished() -> None:
    house = make_house()
    ended(house, rows=2)

    assert (FINISH, "b") not in ticked(house)


def test_a_finished_batch_that_holds_doubts_is_left_alone_until_something_comes() -> None:
    house = make_house()
    house.open()
    in_doubt = house.moved(house.ledger.mark_sent(house.begun()), Doubted(detail="", wait=60.0))
    house.moved(in_doubt, Held())
    house.outcomes()
    house.ledger.drop_outcomes("b", 1)
    house.ledger.mark_finished("b")
    house.ledger.set_state("b", BatchState.DONE, "", only_from=[BatchState.OPEN])

    assert ticked(house) == set()
    house.ledger.late_receipt("b", "{}", COST)
    assert (FINISH, "b") in ticked(house)


def test_one_batch_that_cannot_be_read_does_not_keep_the_tick_from_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    house = make_house()
    house.open(feed=False)
    house.open(feed=False, id="c")
    real = house.ledger.batch
    monkeypatch.setattr(house.ledger, "batch", lambda name: 1 / 0 if name == "b" else real(name))

    assert ticked(house) == {(FEED, "c", "flux")}


def test_a_closed_tick_ends() -> None:
    tick = Tick(make_house().desk)

    tick.close()
    tick.start()
    tick._thread.join(5)

    assert not tick._thread.is_alive()
