"""The ledger's life: one that knows less than a process has seen takes no submission; a batch can be put back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs import events as e
from jobs.batch import BatchState
from jobs.ledger.change import Closed
from jobs.ledger.port import Epoch, Restored
from jobs.money import Caps, Sums

if TYPE_CHECKING:
    from tests.contract.conftest import House


RESERVE, COST = 60_000, 45_000
TODAY, KEY = "2026-11-22", "k1"


def closed(house: House, job: str) -> Closed | None:
    """Try to begin a job and return what is in the way."""
    before = house.claimed(job)
    said = house.ledger.begin(before, house.to_begin(before)).closed
    if said is not None:
        house.moved(before, e.GivenBack(wait=0.0))
    return said


def test_submissions_are_numbered_in_the_order_in_which_they_begin(house: House) -> None:
    house.open()
    first, second = house.feed(2)

    assert [house.begun(first).intent, house.begun(second).intent] == [1, 2]
    assert house.load(second).intent == 2
    assert house.ledger.epoch().intents == 2


def test_an_epoch_begins_once(house: House) -> None:
    first = house.ledger.begin_epoch(Epoch(id="a", intents=1))
    second = house.ledger.begin_epoch(Epoch(id="b", intents=5))
    third = house.ledger.begin_epoch(Epoch(id="b", intents=5), after="c")

    assert house.ledger.epoch() == Epoch(id="a", intents=1)
    assert (first, second, third) == (True, False, False)


def test_a_process_that_has_seen_more_than_the_ledger_knows_submits_nothing(house: House) -> None:
    house.open()
    job = house.feed(1)[0]
    house.ledger.begin_epoch(Epoch(id="a", intents=1))

    house.ledger.trust(Epoch(id="a", intents=9))
    went_back = closed(house, job)
    house.ledger.trust(Epoch(id="other", intents=0))
    emptied = closed(house, job)
    house.ledger.trust(Epoch(id="a", intents=1))
    good = closed(house, job)

    assert (went_back, emptied, good) == (Closed.WENT_BACK, Closed.WENT_BACK, None)


def test_a_guard_stops_submissions_until_another_epoch_begins(house: House) -> None:
    house.open()
    job = house.feed(1)[0]
    house.ledger.begin_epoch(Epoch(id="a", intents=1))

    house.ledger.guard("went back")
    guarded, why = closed(house, job), house.ledger.epoch().guard
    house.ledger.begin_epoch(Epoch(id="b", intents=7), after="a")

    assert (guarded, why) == (Closed.GUARDED, "went back")
    assert house.ledger.epoch() == Epoch(id="b", intents=7)
    assert closed(house, job) is None


def test_a_batch_is_put_back_paused_with_what_it_had_come_to(house: House) -> None:
    agreed = house.open()
    house.ledger.forget("b")
    restored = Restored(
        cursors={"flux": 12},
        staged={"flux": 40},
        counts={"stored": 8, "failed": 2},
        settled=400_000,
        doubts=1,
        doubt_used=60_000,
        reasons={"api_error": (2, 5_000)},
        orders=house.orders([3, 7]),
    )

    put_back = house.ledger.restore(agreed, restored)
    progress = house.progress()

    assert put_back
    assert (progress.state, progress.reason) == (BatchState.PAUSED, "operator")
    assert progress.cursors == {"flux": 12}
    assert (progress.settled, progress.doubts, progress.doubt_used) == (400_000, 1, 60_000)
    assert {state: n for state, n in progress.counts.items() if n} == {"stored": 8, "failed": 2, "queued": 2}
    assert progress.reasons == {"api_error": (2, 5_000)}
    assert (progress.hot, progress.live) == ({"flux": 2}, 2)
    assert house.ledger.jobs_of("b") == ["b.3", "b.7"]


def test_what_was_put_back_goes_on_when_the_batch_opens(house: House) -> None:
    agreed = house.open()
    house.ledger.forget("b")
    house.ledger.restore(
        agreed,
        Restored(
            cursors={"flux": 1},
            staged={},
            counts={},
            settled=0,
            doubts=0,
            doubt_used=0,
            reasons={},
            orders=house.orders([0]),
        ),
    )

    house.ledger.set_state("b", BatchState.OPEN, "", only_from=[BatchState.PAUSED])
    house.stored("b.0")

    assert {state: n for state, n in house.progress().counts.items() if n} == {"stored": 1}
    assert house.feed(1, cursor=1) == ["b.1"]


def test_a_batch_that_the_ledger_holds_is_not_put_back(house: House) -> None:
    agreed = house.open()
    house.feed(2)
    before = house.progress()
    nothing = Restored(
        cursors={"flux": 0}, staged={}, counts={}, settled=0, doubts=0, doubt_used=0, reasons={}, orders=[]
    )

    assert not house.ledger.restore(agreed, nothing)
    assert house.progress() == before


def test_a_batch_is_put_back_with_what_its_first_edits_and_its_model_cost(house: House) -> None:
    """Else the reserve of a dear model fell back to the price list, and the first edits were looked at again."""
    agreed = house.open(ceiling=10 * RESERVE)
    house.ledger.forget("b")
    orders = house.orders([3, 7])
    restored = Restored(
        cursors={"flux": 12},
        staged={"flux": 40},
        counts={"stored": 2},
        settled=4 * RESERVE,
        doubts=0,
        doubt_used=0,
        reasons={},
        orders=orders,
        first=2,
        first_cost=4 * RESERVE,
        first_expected=2 * COST,
        price_paid={orders[0].request.model: 4 * RESERVE},
        price_due={orders[0].request.model: 2 * RESERVE},
    )

    house.ledger.restore(agreed, restored)
    house.ledger.set_state("b", BatchState.OPEN, "", only_from=[BatchState.PAUSED])
    progress = house.progress()
    house.begun("b.3")

    assert (progress.first, progress.first_cost, progress.first_expected) == (2, 4 * RESERVE, 2 * COST)
    assert house.progress().reserved == 2 * RESERVE


def test_a_day_is_restored_to_no_less_than_what_is_known_and_its_caps_hold(house: House) -> None:
    house.open()
    jobs = house.feed(2)
    known = {"": Sums(settled=5 * COST, doubt_used=RESERVE), KEY: Sums(settled=3 * COST)}

    for _ in range(2):
        house.ledger.restore_day(TODAY, known)
    house.ledger.restore_day(TODAY, {"": Sums(settled=COST), KEY: Sums()})
    job = house.claimed(jobs[0])
    full = Caps(day=5 * COST + 2 * RESERVE - 1)
    refused = house.ledger.begin(job, house.to_begin(job), caps=full)

    assert house.ledger.money(TODAY) == known[""]
    assert house.ledger.money(TODAY, KEY) == known[KEY]
    assert refused.closed is Closed.DAY_CAP
