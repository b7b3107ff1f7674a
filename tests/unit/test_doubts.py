"""What a person decides about rows held in doubt."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from jobs.batch import Batch, BatchState
from jobs.errors import LedgerError
from jobs.events import Accepted, Doubted, Held
from jobs.held import held
from jobs.job import Job, State
from jobs.ledger.port import Recorded
from jobs.queues import EDIT, FEED, FINISH
from jobs.states import apply
from producers.doubts import buy_again, give_up
from tests.unit.desks import RESERVE, House, make_house, receipt


class Told:
    """Hints that are only noted."""

    def __init__(self, *, feeding: bool = False) -> None:
        self.feeding = feeding
        self.hints: list[tuple[str, ...]] = []

    def feed(self, batch: str, groups: Iterable[str]) -> None:
        assert self.feeding, "nothing is fed"
        self.hints += [(FEED, batch, group) for group in groups]

    def look(self, jobs: Iterable[str]) -> None:
        self.hints += [(EDIT, job) for job in jobs]

    def finish(self, batch: str) -> None:
        self.hints.append((FINISH, batch))


def held_house() -> tuple[House, Job]:
    house = make_house()
    house.open(allowance=0)
    doubted = house.moved(house.ledger.mark_sent(house.begun()), Doubted(detail="ReadTimeout", wait=60.0))
    job = house.moved(doubted, Held())
    house.ledger.set_state("b", BatchState.DONE, "", only_from=[BatchState.OPEN])
    return house, job


def waiting_house() -> House:
    """Return a house whose batch is paused, because too many of its rows are held."""
    house, _ = held_house()
    house.ledger.set_state("b", BatchState.PAUSED, "doubt", only_from=[BatchState.DONE])
    return house


def agreed(house: House) -> Batch:
    found = house.ledger.batch("b")
    assert found is not None
    return found[0]


def test_what_is_bought_again_is_counted_as_what_could_have_been_paid_twice_and_has_its_money() -> None:
    house, _ = held_house()
    before, hints = house.progress(), Told()

    again = buy_again(agreed(house), house.ledger, hints)

    now = house.progress()
    assert again == 1
    assert (house.stands().state, house.stands().attempt, house.stands().held) == (State.QUEUED, 2, False)
    assert now.state is BatchState.OPEN
    assert (now.doubt_used, now.ceiling) == (RESERVE, before.ceiling + RESERVE)
    assert hints.hints == [(EDIT, "b.1")]


def test_a_batch_that_waited_over_its_doubts_goes_on_when_they_are_bought_again() -> None:
    house = waiting_house()

    buy_again(agreed(house), house.ledger, Told())

    assert (house.progress().state, house.progress().reason) == (BatchState.OPEN, "")


def test_a_batch_that_waited_over_its_doubts_goes_on_when_they_are_given_up() -> None:
    house = waiting_house()
    hints = Told(feeding=True)

    give_up(agreed(house), house.ledger, hints)

    assert (house.progress().state, house.progress().reason) == (BatchState.OPEN, "")
    assert hints.hints == [(FEED, "b", "flux"), (FINISH, "b")]


def test_a_command_that_was_broken_off_and_is_given_again_raises_the_ceiling_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house, _ = held_house()
    ceiling = house.progress().ceiling
    record, broken = house.ledger.record, [True]

    def breaks(before: Job, after: Job) -> Recorded:
        if broken and broken.pop():
            raise LedgerError
        return record(before, after)

    monkeypatch.setattr(house.ledger, "record", breaks)
    with pytest.raises(LedgerError):
        buy_again(agreed(house), house.ledger, Told())
    buy_again(agreed(house), house.ledger, Told())

    assert house.progress().ceiling == ceiling + RESERVE


def test_asking_twice_buys_once() -> None:
    house, _ = held_house()
    buy_again(agreed(house), house.ledger, Told())
    before = house.progress()

    again = buy_again(agreed(house), house.ledger, Told())

    assert (again, house.progress()) == (0, before)


def test_a_row_that_is_given_up_ends_and_still_says_that_it_may_have_been_paid() -> None:
    house, _ = held_house()
    hints = Told()

    given_up = give_up(agreed(house), house.ledger, hints)

    assert given_up == 1
    assert (house.progress().counts["cancelled"], house.progress().held) == (1, 0)
    assert house.progress().reasons["in_doubt"][0] == 1
    assert hints.hints == [(FINISH, "b")]


def test_an_answer_that_comes_before_the_decision_is_used() -> None:
    house, job = held_house()
    (known,) = held("b", house.ledger)
    house.ledger.record(job, apply(job, Accepted(receipt=receipt()), house.ledger.now()))

    assert known.held
    assert buy_again(agreed(house), house.ledger, Told()) == 0
    assert house.stands().state is State.RUNNING
