"""What is held in doubt is settled by the account's credits, and by nothing less than proof."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.batch import BatchState, document
from jobs.events import Accepted, Doubted, Failed, Held, Ready
from jobs.job import PROVED_UNCHARGED, Job, State
from jobs.ledger.memory import MemoryLedger
from jobs.ledger.port import Epoch, Recorded
from jobs.queues import EDIT, FINISH
from tests.unit.desks import COST, KEY, RESERVE, URL, House, make_house, receipt
from workers import feed as feeding
from workers.api.protocol import KeyRefused, KeyWorks
from workers.creditwatch import AGAIN_S, AGREE_S, PATIENCE_S, CreditWatch
from workers.tick import Tick

MICROS = 5_000_000


def watched(rows: int = 3, **agreed: Any) -> tuple[House, CreditWatch]:
    """Return a house whose credits were read before anything was submitted, and who reads them."""
    house = make_house()
    house.desk.epoch.look()
    left(house, MICROS)
    watch = CreditWatch(house.desk, monotonic=house.clock)
    watch.look()
    house.open(rows, **{"allowance": 0, **agreed})
    return house, watch


def left(house: House, micros: int) -> None:
    """Let the account have so much left."""
    house.api.credit[KEY.id] = KeyWorks(micros=micros)


def held(house: House, job: str = "b.1", *, begun_at: float | None = None) -> Job:
    """Bring a job into a doubt that waits for a person."""
    doubted = Doubted(detail="", wait=1.0, begun_at=begun_at)
    return house.moved(house.ledger.mark_sent(house.begun(job)), doubted, Held())


def bought(house: House, job: str, cost: int | None = COST) -> Job:
    """Bring a job to where it was bought and can be fetched."""
    return house.ready(job, cost)


def judged(house: House, watch: CreditWatch) -> None:
    """Let the credits be read twice."""
    watch.look()
    house.clock.advance(AGREE_S)
    watch.look()


def test_a_doubt_that_was_not_charged_is_asked_again_and_counts_as_no_exposure() -> None:
    house, watch = watched()
    held(house, "b.1")
    bought(house, "b.2")
    left(house, MICROS - COST)

    judged(house, watch)

    job = house.stands("b.1")
    assert (job.state, job.held, job.failures[-1].code) == (State.QUEUED, False, PROVED_UNCHARGED)
    assert (house.progress().held, house.progress().doubt_used, house.progress().withheld) == (0, 0, 0)
    assert (EDIT, "b.1") in house.sent


def test_where_more_is_gone_every_doubt_stays_held_and_the_document_says_what_was_seen() -> None:
    house, watch = watched()
    held(house, "b.1")
    held(house, "b.2")
    left(house, MICROS - COST)

    judged(house, watch)

    batch = house.ledger.batch("b")
    assert batch is not None
    assert house.progress().held == 2
    assert document(*batch)["credits"] == {
        "verdict": "some",
        "doubts": 2,
        "unexplained_usd": 0.045,
        "expected_usd": 0.09,
        "sentence": "$0.045 are gone that no known edit explains; the 2 rows in doubt would cost $0.09.",
    }


def test_the_credits_are_read_twice_before_anything_is_settled() -> None:
    house, watch = watched()
    held(house)

    watch.look()
    house.clock.advance(AGREE_S - 1)
    watch.look()

    assert house.stands().held


def test_readings_that_differ_settle_nothing_until_two_agree() -> None:
    house, watch = watched()
    held(house)
    watch.look()
    left(house, MICROS - COST)  # the charge comes onto the books a little later

    for _ in range(3):
        house.clock.advance(AGREE_S)
        watch.look()

    assert house.stands().held
    assert house.progress().credits["verdict"] == "all"


def test_nothing_is_read_while_anything_is_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    house, watch = watched()
    held(house, "b.1")
    house.running("b.2")
    monkeypatch.setattr(house.api, "credits", lambda _: pytest.fail("read"))

    judged(house, watch)

    assert house.stands().held


@pytest.mark.parametrize("settled", ["receipt", "late line"])
def test_a_reading_during_which_something_was_bought_or_became_known_counts_for_nothing(
    monkeypatch: pytest.MonkeyPatch, settled: str
) -> None:
    """Another host's submission: the credits that were read may or may not have it."""
    house, watch = watched()
    held(house, "b.1")
    house.clock.advance(AGREE_S)

    def meanwhile(_: object) -> KeyWorks:
        if settled == "receipt":
            bought(house, "b.2")
        else:
            house.ledger.late_receipt("b", "a line", COST, day=house.stands().day, key=KEY.id)
        return KeyWorks(micros=MICROS)

    monkeypatch.setattr(house.api, "credits", meanwhile)
    watch.look()

    assert house.ledger.kept("seen") == ""


def test_a_doubt_from_before_the_first_reading_is_never_proved() -> None:
    house, watch = watched()
    held(house, "b.1")
    left(house, MICROS - COST)
    judged(house, watch)
    held(house, "b.2")

    judged(house, watch)

    assert house.stands("b.1").held
    assert house.stands("b.2").state is State.QUEUED


def test_a_doubt_about_a_submission_that_the_ledger_forgot_is_never_proved() -> None:
    """It was charged before the first reading, so the credits stand still since then."""
    house, watch = watched()
    held(house, begun_at=house.clock() - 5)

    judged(house, watch)

    assert house.stands().held


def test_without_a_reading_from_before_nothing_is_proved() -> None:
    house = make_house()
    house.desk.epoch.look()
    watch = CreditWatch(house.desk, monotonic=house.clock)
    house.open(allowance=0)
    held(house)
    left(house, MICROS)

    for _ in range(4):
        judged(house, watch)

    assert house.stands().held


def test_a_reading_of_another_life_of_the_ledger_proves_nothing() -> None:
    house, watch = watched()
    held(house)
    now = house.ledger.epoch()
    house.ledger.begin_epoch(Epoch(id="another", intents=now.intents + 1), after=now.id)

    for _ in range(3):
        judged(house, watch)

    assert house.stands().held


def test_while_the_ledger_is_guarded_nothing_is_settled() -> None:
    house, watch = watched()
    held(house)
    house.ledger.guard("it went back")

    judged(house, watch)

    assert house.stands().held


def test_switched_off_nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    house, watch = watched()
    held(house)
    house.desk.settles_by_credits = False
    monkeypatch.setattr(house.api, "credits", lambda _: pytest.fail("read"))

    judged(house, watch)

    assert house.stands().held


@pytest.mark.parametrize("said", [None, KeyRefused(status=403, detail="no"), KeyWorks(micros=None)])
def test_credits_that_cannot_be_read_prove_nothing_and_are_not_asked_for_at_once(
    said: KeyRefused | KeyWorks | None,
) -> None:
    house, watch = watched()
    held(house)
    house.api.credit[KEY.id] = said
    judged(house, watch)
    left(house, MICROS)

    judged(house, watch)
    early = house.stands().held
    house.clock.advance(AGAIN_S)
    judged(house, watch)

    assert early
    assert house.stands().state is State.QUEUED


def test_a_top_up_while_nothing_runs_is_no_part_of_what_is_judged_later() -> None:
    house, watch = watched()
    left(house, 2 * MICROS)
    house.clock.advance(AGAIN_S)
    judged(house, watch)
    held(house)

    judged(house, watch)

    assert house.stands().state is State.QUEUED


def test_a_cost_that_the_api_did_not_name_ends_the_proof() -> None:
    house, watch = watched()
    held(house, "b.1")
    house.moved(house.running("b.2", cost=None), Ready(url=URL, deadline=house.clock() + 600))
    left(house, MICROS - RESERVE)

    judged(house, watch)

    assert house.stands("b.1").held
    assert house.progress().credits["verdict"] == "unsure"


def test_a_task_that_brought_nothing_and_names_no_cost_ends_the_proof() -> None:
    """The API may have given back what its receipt named, and charged as much for the doubt."""
    house, watch = watched()
    held(house, "b.1")
    house.moved(house.running("b.2"), Failed(code="api_error", detail=""))
    left(house, MICROS - COST)

    judged(house, watch)

    assert house.stands("b.1").held


def test_a_receipt_and_a_result_that_name_different_costs_end_the_proof() -> None:
    house, watch = watched()
    held(house, "b.1")
    house.moved(house.running("b.2"), Ready(url=URL, deadline=house.clock() + 600, cost=0))
    left(house, MICROS - COST)

    judged(house, watch)

    assert house.stands("b.1").held


@pytest.mark.parametrize("cost", [COST, None])
def test_the_answer_to_an_earlier_doubt_is_no_known_cost_of_now(cost: int | None) -> None:
    """It was charged before the last reading; set against the credits it would hide another charge."""
    house, watch = watched()
    earlier = held(house, "b.1")
    left(house, MICROS - COST)
    judged(house, watch)
    held(house, "b.2")
    house.moved(earlier, Accepted(receipt=receipt(cost=cost)), Ready(url=URL, deadline=0.0, cost=COST))
    left(house, MICROS - 2 * COST)

    judged(house, watch)

    assert house.stands("b.2").held


def test_a_batch_that_was_done_goes_on() -> None:
    house, watch = watched()
    held(house)
    house.ledger.set_state("b", BatchState.DONE, "", only_from=[BatchState.OPEN])

    judged(house, watch)

    assert house.progress().state is BatchState.OPEN


@pytest.mark.parametrize("reason", ["cap", "doubt"])
def test_a_batch_whose_doubts_had_used_up_its_ceiling_or_were_too_many_goes_on(reason: str) -> None:
    house, watch = watched()
    held(house)
    house.ledger.set_state("b", BatchState.PAUSED, reason, only_from=[BatchState.OPEN])

    judged(house, watch)

    assert house.progress().state is BatchState.OPEN


def test_a_batch_that_is_stuck_in_doubt_goes_on_if_none_was_charged_and_waits_for_a_person_if_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feeding, "WAITING_LIMIT", 1)
    states = {}
    for charged in (0, COST):
        house, watch = watched(rows=1, groups={"flux": 2})
        held(house)
        left(house, MICROS - charged)
        tick = Tick(house.desk)
        tick._credits = watch
        for _ in range(4):
            tick.once()
            house.clock.advance(AGREE_S)
        states[charged] = (house.progress().state, house.progress().reason)

    assert states == {0: (BatchState.OPEN, ""), COST: (BatchState.PAUSED, "doubt")}


def test_a_batch_is_not_paused_over_doubts_that_are_being_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "WAITING_LIMIT", 1)
    house, watch = watched(rows=1, groups={"flux": 2})
    held(house)
    left(house, MICROS - COST)
    tick = Tick(house.desk)
    tick._credits = watch
    states = []

    for _ in range(3):
        tick.once()
        states.append(house.progress().state)
        house.clock.advance(AGREE_S)

    assert states == [BatchState.OPEN, BatchState.PAUSED, BatchState.PAUSED]


def test_a_batch_that_was_paused_by_hand_stays_paused() -> None:
    house, watch = watched()
    held(house)
    house.ledger.set_state("b", BatchState.PAUSED, "operator", only_from=[BatchState.OPEN])

    judged(house, watch)

    assert house.stands().state is State.QUEUED
    assert house.progress().state is BatchState.PAUSED


def test_who_dies_while_doubts_are_queued_again_leaves_the_rest_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    house, watch = watched()
    held(house, "b.1")
    held(house, "b.2")
    record, calls = MemoryLedger.record, []

    def once(ledger: MemoryLedger, before: Job, after: Job) -> Recorded:
        calls.append(before.id)
        if len(calls) == 2:
            raise RuntimeError("killed")
        return record(ledger, before, after)

    monkeypatch.setattr(MemoryLedger, "record", once)
    with pytest.raises(RuntimeError):
        judged(house, watch)
    monkeypatch.undo()
    bought(house, "b.1")
    left(house, MICROS - COST)
    judged(house, CreditWatch(house.desk, monotonic=house.clock))

    assert house.stands("b.2").state is State.QUEUED


# -- in the tick


def test_the_report_waits_until_doubts_are_judged_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    house, _ = watched(1)
    tick = Tick(house.desk)
    held(house)
    left(house, MICROS - COST)

    def ticked() -> bool:
        house.sent.clear()
        tick.once()
        return (FINISH, "b") in house.sent

    first = ticked()
    house.clock.advance(AGREE_S)
    second = ticked()

    assert (first, second) == (False, True)


def test_a_report_waits_for_the_look_after_the_last_row_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    house, _ = watched(1)
    tick = Tick(house.desk)
    doubted = house.moved(house.ledger.mark_sent(house.begun()), Doubted(detail="", wait=60.0))
    look = CreditWatch.look

    def ends_right_after(watch: CreditWatch) -> None:
        look(watch)
        if not house.stands().held:
            house.moved(doubted, Held())

    monkeypatch.setattr(CreditWatch, "look", ends_right_after)
    tick.once()

    assert house.progress().held == 1
    assert (FINISH, "b") not in house.sent


def test_a_report_waits_for_that_look_each_time_the_batch_is_over() -> None:
    house, watch = watched(1)
    held(house)
    watch.holds_back("b", house.progress(), over=True)
    watch.holds_back("b", house.progress(), over=False)  # the doubt was asked again

    assert watch.holds_back("b", house.progress(), over=True)


@pytest.mark.parametrize("by_credits", [True, False])
def test_a_batch_whose_doubts_nobody_judges_is_reported(by_credits: bool) -> None:
    house = make_house()
    house.open(allowance=0)
    house.desk.settles_by_credits = by_credits
    tick = Tick(house.desk)
    held(house)

    for _ in range(2 if by_credits else 1):
        tick.once()

    assert (FINISH, "b") in house.sent


def test_the_report_does_not_wait_for_credits_that_change_all_the_time() -> None:
    house, _ = watched(1)
    tick = Tick(house.desk)
    held(house)
    for second in range(int(PATIENCE_S / AGREE_S) + 1):
        left(house, MICROS - second)
        house.sent.clear()
        tick.once()
        house.clock.advance(AGREE_S)

    assert (FINISH, "b") in house.sent


def test_a_done_batch_with_a_row_that_was_queued_again_goes_on() -> None:
    house, _ = watched(1)
    house.ledger.set_state("b", BatchState.DONE, "", only_from=[BatchState.OPEN])

    Tick(house.desk).once()

    assert house.progress().state is BatchState.OPEN


def test_where_edits_were_submitted_before_one_reading_alone_is_no_beginning() -> None:
    """A charge may still be on its way onto the books, or be given back."""
    house = make_house()
    house.desk.epoch.look()
    house.open(allowance=0)
    held(house)
    left(house, MICROS)

    CreditWatch(house.desk, monotonic=house.clock).look()

    assert house.ledger.kept("base") == ""
    assert house.ledger.kept("seen")
