"""The gate before a submission: who waits, for how long, and what ends the wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from jobs.batch import BatchState
from jobs.bounds import Bounds
from jobs.events import Accepted, Begun, Cancelled, Event, Failed, GivenBack, NotSubmitted
from jobs.job import Job, State
from jobs.ledger.change import Closed
from jobs.ledger.news import Freed
from jobs.ledger.port import Recorded
from jobs.money import NO_CAPS, Caps, Days, Reached
from running.programs import eventually
from tests.unit.desks import KEY, OTHER_KEY, RESERVE, START, House, make_house, receipt
from workers import gate as gates
from workers.gate import ASKED_BYTES, Gate

DAY_S = 86_400
BEGUN = Begun(fingerprint="f1", key_id="k")
PLACES = 4


def entered(house: House, job: str = "b.1", begun: Begun = BEGUN) -> Any:
    return house.desk.gate.enter(house.claimed(job), begun)


def full(rows: int = 2, **agreed: Any) -> tuple[House, Job]:
    """Return a house with one slot, and the job that has it."""
    house = make_house(slots=1)
    house.open(rows=rows, **agreed)
    taken = entered(house, begun=replace(BEGUN, fingerprint="other"))
    assert isinstance(taken, Job)
    return house, taken


def waiting(house: House, gate: Gate, job: str = "b.2") -> tuple[threading.Thread, list[Any]]:
    """Let a thread enter the gate, and return when it has found it closed."""
    found: list[Any] = []
    asked = threading.Event()
    real = house.ledger.begin

    def begin(
        before: Job, after: Job, *, looked_at: float = 0.0, caps: Caps = NO_CAPS, only_ask: bool = False
    ) -> Recorded:
        answer = real(before, after, looked_at=looked_at, caps=caps, only_ask=only_ask)
        asked.set()
        return answer

    house.ledger.begin = begin  # type: ignore[method-assign]
    claimed = house.claimed(job)
    thread = threading.Thread(target=lambda: found.append(gate.enter(claimed, BEGUN)), daemon=True)
    thread.start()
    assert asked.wait(5)
    return thread, found


def test_a_free_slot_is_taken_with_money_and_fingerprint() -> None:
    house = make_house()
    house.open()

    job = entered(house)

    assert isinstance(job, Job)
    assert (job.state, job.fingerprint) == (State.SUBMITTING, "f1")
    assert house.ledger.slots_used()["flux"] == 1
    assert house.progress().reserved == RESERVE


def test_a_freed_slot_wakes_who_waits_for_it() -> None:
    house, taken = full()
    thread, found = waiting(house, house.desk.gate)

    house.moved(taken, NotSubmitted(wait=9.0))
    began = time.monotonic()
    house.desk.gate.freed()
    thread.join(5)

    assert isinstance(found[0], Job)
    assert time.monotonic() - began < 2


@contextmanager
def queue(house: House, rows: range) -> Iterator[tuple[list[int], list[Any]]]:
    """Let jobs of these rows wait for a slot; gives the looks at the ledger so far, and what became of them."""
    looks: list[int] = []
    found: list[Any] = []
    begin, gate = house.ledger.begin, house.desk.gate

    def counted(*args: Any, **named: Any) -> Recorded:
        answer = begin(*args, **named)
        looks.append(1)
        return answer

    house.ledger.begin = counted  # type: ignore[method-assign]
    jobs = [house.claimed(f"b.{row}") for row in rows]
    wishes = [replace(BEGUN, fingerprint=f"f{row}") for row in rows]
    threads = [
        threading.Thread(target=lambda job, begun: found.append(gate.enter(job, begun)), args=each)
        for each in zip(jobs, wishes, strict=True)
    ]
    for thread in threads:
        thread.start()
    eventually(lambda: len(looks) >= len(rows), 5, "all have looked once")
    yield looks, found
    house.stopping.set()
    gate.freed()
    for thread in threads:
        thread.join(5)


def test_a_freed_slot_costs_one_look_at_the_ledger_however_many_wait_for_it() -> None:
    house, taken = full(rows=9)
    with queue(house, range(2, 8)) as (looks, found):
        house.moved(taken, NotSubmitted(wait=9.0))
        house.desk.gate.freed()
        eventually(lambda: len(found) == 1, 5, "one took it")
        before_the_end = len(looks)

    assert isinstance(found[0], Job)
    assert before_the_end == 6 + 1


def test_a_slot_that_is_freed_while_another_one_is_taken_is_not_missed() -> None:
    house = make_house(slots=2)
    house.open(rows=9)
    taken = [entered(house, f"b.{row}", replace(BEGUN, fingerprint=f"t{row}")) for row in (1, 2)]
    with queue(house, range(3, 8)) as (_, found):
        begin = house.ledger.begin

        def then_another(*args: Any, **named: Any) -> Recorded:
            answer = begin(*args, **named)
            if answer.closed is None and len(taken) == 1:  # it was told that it took the last one
                house.moved(taken.pop(), NotSubmitted(wait=9.0))
                house.desk.gate.freed()
            return answer

        house.ledger.begin = then_another  # type: ignore[method-assign]
        house.moved(taken.pop(), NotSubmitted(wait=9.0))
        house.desk.gate.freed()

        eventually(lambda: len(found) == 2, 5, "both are taken")

    assert [isinstance(each, Job) for each in found[:2]] == [True, True]


# -- whose turn it is, where several processes wait


OWN = Freed(account="main", group="flux", by="one")


def passed_on(house: House) -> list[Freed]:
    """Return what the gate passes on."""
    passed: list[Freed] = []
    house.ledger.pass_on = passed.append  # type: ignore[method-assign, assignment]
    return passed


def test_a_slot_that_nobody_waits_for_where_it_was_freed_is_passed_on() -> None:
    house = make_house()
    house.open()
    passed = passed_on(house)

    house.desk.gate.freed(OWN)

    assert passed == [OWN]


def test_what_was_passed_on_is_not_passed_on_again() -> None:
    house = make_house()
    house.open()
    passed = passed_on(house)

    house.desk.gate.freed(replace(OWN, by=""))

    assert passed == []


def test_a_slot_that_is_of_use_where_it_was_freed_is_passed_on_to_nobody() -> None:
    house, taken = full()
    passed = passed_on(house)
    thread, found = waiting(house, house.desk.gate)
    house.moved(taken, NotSubmitted(wait=9.0))

    house.desk.gate.freed(OWN)
    thread.join(5)

    assert isinstance(found[0], Job)
    assert passed == []


@pytest.mark.parametrize("elsewhere", [replace(OWN, group="kontext-max"), replace(OWN, account="second")])
def test_a_slot_is_passed_on_where_edits_wait_only_for_one_of_another_limit_group_or_account(elsewhere: Freed) -> None:
    house, taken = full()
    passed = passed_on(house)
    thread, found = waiting(house, house.desk.gate)
    house.moved(taken, NotSubmitted(wait=9.0))

    house.desk.gate.freed(elsewhere)
    thread.join(5)

    assert isinstance(found[0], Job), "it may be of use here all the same"
    assert passed == [elsewhere]


def test_a_process_that_ends_passes_on_what_it_frees_although_edits_have_waited_for_it_there() -> None:
    house, _ = full()
    passed = passed_on(house)
    thread, _ = waiting(house, house.desk.gate)
    house.stopping.set()

    house.desk.gate.freed(OWN)
    house.desk.gate.freed(replace(OWN, by=""))
    thread.join(5)

    assert passed == [OWN]


def test_two_slots_are_taken_where_only_one_was_told_of() -> None:
    house = make_house(slots=2)
    house.open(rows=9)
    taken = [entered(house, f"b.{row}", replace(BEGUN, fingerprint=f"t{row}")) for row in (1, 2)]
    with queue(house, range(3, 8)) as (_, found):
        for job in taken:
            house.moved(job, NotSubmitted(wait=9.0))
        house.desk.gate.freed()

        eventually(lambda: len(found) == 2, 5, "both are taken")

    assert [isinstance(each, Job) for each in found[:2]] == [True, True]


def test_a_slot_that_is_freed_while_redis_is_asked_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    house, taken = full()
    job = house.claimed("b.2")
    real = house.ledger.begin
    asked: list[int] = []

    def begin(before: Job, after: Job, *, looked_at: float = 0.0, caps: Caps = NO_CAPS) -> Recorded:
        answer = real(before, after, looked_at=looked_at, caps=caps)
        asked.append(1)
        if len(asked) == 1:  # freed between the answer and the wait
            house.moved(taken, NotSubmitted(wait=9.0))
            house.desk.gate.freed()
        return answer

    monkeypatch.setattr(house.ledger, "begin", begin)

    assert isinstance(house.desk.gate.enter(job, BEGUN), Job)
    assert len(asked) == 2


def test_the_wait_for_a_slot_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "LONGEST_WAIT_S", 0.05)
    house, _ = full()

    event = entered(house, "b.2")

    assert isinstance(event, GivenBack)
    assert event.why == "no slot"
    assert 0.5 <= event.wait <= 1.5


def test_news_that_frees_no_slot_does_not_prolong_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "LONGEST_WAIT_S", 0.05)
    house, _ = full()
    real = house.ledger.begin

    def begin(before: Job, after: Job, *, looked_at: float = 0.0, caps: Caps = NO_CAPS) -> Recorded:
        house.desk.gate.freed()
        return real(before, after, looked_at=looked_at, caps=caps)

    monkeypatch.setattr(house.ledger, "begin", begin)
    event = entered(house, "b.2")

    assert isinstance(event, GivenBack)


def test_a_shutdown_wakes_who_waits() -> None:
    house, _ = full()
    thread, found = waiting(house, house.desk.gate)

    house.stopping.set()
    house.desk.gate.freed()
    thread.join(5)

    assert found == [GivenBack(wait=0.0, why="shutting down")]


def test_nobody_enters_once_a_shutdown_has_begun() -> None:
    house = make_house()
    house.open()
    house.stopping.set()

    assert isinstance(entered(house), GivenBack)
    assert house.ledger.slots_used()["flux"] == 0


def test_a_short_throttle_is_waited_for_in_place() -> None:
    house = make_house()
    house.open()
    house.ledger.throttle(0.8)

    assert isinstance(entered(house), Job)
    assert house.stopping.waits == [pytest.approx(0.8)]


def test_a_long_throttle_gives_the_job_back_for_its_length() -> None:
    house = make_house()
    house.open()
    house.ledger.throttle(20.0)

    event = entered(house)

    assert isinstance(event, GivenBack)
    assert 19.9 <= event.wait <= 21.1
    assert house.stopping.waits == []


def test_throttles_one_after_the_other_do_not_hold_the_thread_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "LONGEST_WAIT_S", 0.05)
    house = make_house()
    house.open()
    monkeypatch.setattr(house.ledger, "begin", lambda *_, **__: Recorded(closed=Closed.THROTTLED, wait_s=0.5))

    assert isinstance(entered(house), GivenBack)


def test_a_cancelled_batch_ends_the_job() -> None:
    house = make_house()
    house.open()
    job = house.claimed()
    house.ledger.set_state("b", BatchState.CANCELLED, "", only_from=[BatchState.OPEN])

    assert house.desk.gate.enter(job, BEGUN) == Cancelled()


def test_a_paused_batch_gives_the_job_back_for_a_while() -> None:
    house = make_house()
    house.open()
    job = house.claimed()
    house.ledger.set_state("b", BatchState.PAUSED, "operator", only_from=[BatchState.OPEN])

    assert house.desk.gate.enter(job, BEGUN) == GivenBack(wait=60.0, why="paused")


def test_the_money_ceiling_pauses_the_batch_and_says_why() -> None:
    house = make_house()
    house.open(ceiling=RESERVE - 1)

    event = entered(house)

    assert isinstance(event, GivenBack)
    assert (house.progress().state, house.progress().reason) == (BatchState.PAUSED, "cap")
    assert Reached.from_json(house.progress().about) == Reached(
        which="ceiling", needed=RESERVE, day="2027-01-15", zone="UTC"
    )


def test_a_days_cap_pauses_the_batch_and_says_which_day_and_whose() -> None:
    house = make_house(days=Days(zone=ZoneInfo("Asia/Tokyo"), caps=Caps(day=RESERVE - 1)))
    house.open()

    event = entered(house)

    assert isinstance(event, GivenBack)
    assert (house.progress().state, house.progress().reason) == (BatchState.PAUSED, "cap")
    assert Reached.from_json(house.progress().about) == Reached(
        which="day_cap", needed=RESERVE, limit=RESERVE - 1, day="2027-01-15", zone="Asia/Tokyo"
    )


def test_the_day_is_that_of_the_moment_at_which_the_money_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    house, taken = full()
    real = house.ledger.begin
    house.clock.advance(DAY_S - START % DAY_S - 1)

    def begin(before: Job, after: Job, *, looked_at: float = 0.0, caps: Caps = NO_CAPS) -> Recorded:
        answer = real(before, after, looked_at=looked_at, caps=caps)
        if answer.closed is Closed.NO_SLOT:  # while the job waits for a slot, the clock strikes twelve
            house.clock.advance(2)
            house.moved(taken, NotSubmitted(wait=9.0))
            house.desk.gate.freed()
        return answer

    monkeypatch.setattr(house.ledger, "begin", begin)
    job = entered(house, "b.2")

    assert isinstance(job, Job)
    assert (taken.day, job.day) == ("2027-01-15", "2027-01-16")


def test_a_simulated_batch_has_days_of_its_own() -> None:
    house = make_house(days=Days(caps=Caps(day=RESERVE)))
    house.open(rows=2)

    simulated = entered(house, begun=replace(BEGUN, simulated=True))
    real = entered(house, "b.2", replace(BEGUN, fingerprint="other"))

    assert isinstance(simulated, Job)
    assert isinstance(real, Job)
    assert (simulated.day, real.day) == ("2027-01-15-simulated", "2027-01-15")


def test_where_one_key_has_reached_its_cap_the_job_comes_again_with_another_one() -> None:
    house = make_house(keys=(KEY, OTHER_KEY), days=Days(caps=Caps(key_day=RESERVE)))
    house.open(rows=3)
    first = entered(house, begun=replace(BEGUN, key_id=KEY.id))
    house.moved(first, Accepted(receipt=receipt()))

    event = entered(house, "b.2", replace(BEGUN, fingerprint="other", key_id=KEY.id))

    assert event == GivenBack(wait=0.0, why="its key has spent its money for the day")
    assert {key.id for key in (house.desk.keys.next(), house.desk.keys.next()) if key} == {OTHER_KEY.id}
    assert house.progress().state is BatchState.OPEN


def test_where_every_key_has_reached_its_cap_the_batch_pauses() -> None:
    house = make_house(keys=(KEY, OTHER_KEY), days=Days(caps=Caps(key_day=RESERVE - 1)))
    house.open(rows=2)

    first = entered(house, "b.1", replace(BEGUN, key_id=KEY.id))
    second = entered(house, "b.2", replace(BEGUN, key_id=OTHER_KEY.id))

    assert isinstance(first, GivenBack)
    assert isinstance(second, GivenBack)
    assert (house.progress().state, house.progress().reason) == (BatchState.PAUSED, "cap")
    assert Reached.from_json(house.progress().about).which == "key_cap"


def test_money_that_is_only_reserved_is_waited_for_in_place_a_while_and_without_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gates, "LONGEST_WAIT_S", 0.05)
    house = make_house()
    house.open(rows=2, ceiling=2 * RESERVE - 1)
    entered(house, begun=replace(BEGUN, fingerprint="other"))

    event = entered(house, "b.2")

    assert isinstance(event, GivenBack)
    assert 2.0 <= event.wait <= 5.0
    assert house.progress().state is BatchState.OPEN


def test_who_waits_for_money_asks_by_the_clock_and_not_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "LONGEST_WAIT_S", 0.6)
    house = make_house()
    house.open(rows=9, ceiling=2 * RESERVE - 1)
    entered(house, begun=replace(BEGUN, fingerprint="other"))

    with queue(house, range(2, 4)) as (looks, found):
        eventually(lambda: len(found) == 2, 5, "both have waited long enough")

    assert len(looks) <= 2 * (0.6 / gates.MONEY_LOOK_S + 3)


def test_money_that_is_settled_lets_the_next_edit_begin_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    house = make_house()
    house.open(rows=2, ceiling=3 * RESERVE)
    first = entered(house, begun=replace(BEGUN, fingerprint="other"))
    real = house.ledger.begin

    def begin(before: Job, after: Job, *, looked_at: float = 0.0, caps: Caps = NO_CAPS) -> Recorded:
        answer = real(before, after, looked_at=looked_at, caps=caps)
        if answer.closed is Closed.MONEY_OPEN:
            house.moved(first, Accepted(receipt=receipt()))
        return answer

    monkeypatch.setattr(house.ledger, "begin", begin)

    assert isinstance(entered(house, "b.2"), Job)


def test_an_edit_that_somebody_is_buying_is_looked_at_again_later_and_later() -> None:
    house = make_house()
    house.open(rows=2)
    entered(house)
    job = house.claimed("b.2")

    waits = [house.desk.gate.enter(replace(job, waits=n), BEGUN) for n in (0, 5, 100)]

    assert [wait.wait for wait in waits if isinstance(wait, GivenBack)] == [2.0, 7.0, 15.0]


def test_an_edit_that_was_filed_this_moment_is_looked_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    house = make_house()
    house.open()
    monkeypatch.setattr(house.ledger, "begin", lambda *_, **__: Recorded(closed=Closed.JUST_FILED))

    assert entered(house) == GivenBack(wait=0.0, why="just filed")


def test_a_row_of_a_stopped_group_is_given_back_at_once_and_unspent() -> None:
    house = make_house()
    house.open(rows=2, bounds=Bounds(failed=0))
    job = house.claimed("b.2")
    house.moved(house.running("b.1"), Failed(code="api_error", detail="x"))

    event = house.desk.gate.enter(job, BEGUN)

    assert event == GivenBack(wait=0.0, why="its group is stopped")
    assert house.ledger.slots_used()["flux"] == 0


# -- bodies that are sent ahead


@contextmanager
def crowded() -> Iterator[tuple[House, Job, Gate]]:
    """Return a house with one slot, the job that has it, and a gate whose places are all taken; `b.9` has none."""
    house, taken = full(rows=9)
    gate = Gate(house.ledger, house.stopping, places=lambda _: PLACES)
    jobs = [house.claimed(f"b.{row}") for row in range(2, 2 + PLACES)]
    threads = [threading.Thread(target=gate.enter, args=(job, BEGUN), kwargs={"primed": True}) for job in jobs]
    for thread in threads:
        thread.start()
    eventually(lambda: gate._primed["main", "flux"] == PLACES, 5, "they wait")
    yield house, taken, gate
    house.stopping.set()
    gate.freed()
    for thread in threads:
        thread.join(5)


def test_no_more_bodies_wait_for_a_slot_than_there_are_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "LONGEST_WAIT_S", 0.05)
    with crowded() as (house, _, gate):
        event = gate.ahead(house.claimed("b.9"), BEGUN)

    assert isinstance(event, GivenBack)
    assert event.why == "no slot"


def test_places_are_counted_for_each_limit_group() -> None:
    with crowded() as (house, _, gate):
        job = house.claimed("b.9")
        inner = replace(job, order=replace(job.order, limit_group="kontext-max"))

        assert gate.ahead(inner, BEGUN) is None


def test_places_are_counted_for_each_account() -> None:
    with crowded() as (house, _, gate):
        waiting = [gate.waiting(account) for account in ("main", "other")]

        assert gate.ahead(house.claimed("b.9"), replace(BEGUN, account="other")) is None

    assert waiting == [PLACES, 0]
    assert (gate.waiting("main"), gate.waiting("other")) == (0, 0)


def test_a_place_that_is_left_is_taken_at_once() -> None:
    found: list[Event | None] = []
    with crowded() as (house, taken, gate):
        job = house.claimed("b.9")
        waiting = threading.Thread(target=lambda: found.append(gate.ahead(job, replace(BEGUN, fingerprint="f9"))))
        waiting.start()

        house.moved(taken, NotSubmitted(wait=9.0))
        gate.freed()
        waiting.join(5)

    assert found == [None]


@pytest.mark.parametrize(
    ("state", "event"),
    [(BatchState.PAUSED, GivenBack(wait=60.0, why="paused")), (BatchState.CANCELLED, Cancelled())],
)
def test_who_would_be_turned_back_sends_no_body_ahead(state: BatchState, event: Event) -> None:
    house = make_house()
    house.open()
    job = house.claimed()
    house.ledger.set_state("b", state, "operator", only_from=[BatchState.OPEN])

    assert house.desk.gate.ahead(job, BEGUN, size=ASKED_BYTES) == event


def test_a_small_body_is_sent_ahead_without_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    house = make_house()
    house.open()
    job = house.claimed()
    monkeypatch.setattr(house.ledger, "begin", None)

    assert house.desk.gate.ahead(job, BEGUN, size=ASKED_BYTES - 1) is None


def test_a_slot_or_money_that_is_not_free_yet_keeps_no_body_from_being_sent_ahead() -> None:
    house, _ = full(ceiling=2 * RESERVE - 1)

    assert house.desk.gate.ahead(house.claimed("b.2"), BEGUN, size=ASKED_BYTES) is None
    assert house.ledger.slots_used()["flux"] == 1


def test_a_long_throttle_is_known_before_a_body_is_sent_ahead() -> None:
    house = make_house()
    house.open(rows=2)
    house.ledger.throttle(0.8)
    short = house.desk.gate.ahead(house.claimed("b.1"), BEGUN, size=ASKED_BYTES)
    house.ledger.throttle(20.0)
    long = house.desk.gate.ahead(house.claimed("b.2"), BEGUN, size=ASKED_BYTES)

    assert short is None
    assert isinstance(long, GivenBack)
    assert long.wait >= 19.9


def test_a_shutdown_ends_the_wait_for_a_place() -> None:
    house = make_house()
    house.open()
    house.stopping.set()

    assert house.desk.gate.ahead(house.claimed(), BEGUN) == GivenBack(wait=0.0, why="shutting down")


def test_a_body_that_has_waited_in_vain_is_the_last_one_sent_ahead_until_a_slot_of_its_group_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gates, "PRIMED_WAIT_S", 0.05)
    house, taken = full()
    gate = house.desk.gate
    job = house.claimed("b.2")
    before = gate.primes("flux")

    event = gate.enter(job, BEGUN, primed=True)
    in_vain = gate.primes("flux"), gate.primes("kontext-max")
    house.moved(taken, NotSubmitted(wait=9.0))
    again = gate.enter(job, BEGUN)

    assert isinstance(event, GivenBack)
    assert isinstance(again, Job)
    assert (before, *in_vain, gate.primes("flux")) == (True, False, True, True)


def test_who_has_another_reason_to_go_does_not_ask_for_a_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    house = make_house()
    house.open()
    why = GivenBack(wait=0.0, why="the key is parked")
    monkeypatch.setattr(house.ledger, "begin", None)

    assert house.desk.gate.enter(house.claimed(), BEGUN, primed=True, unless=lambda: why) == why
