"""Forgetting a batch: only the opening that is meant, and only as far as nothing is lost with it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from jobs.batch import BatchState
from jobs.ledger.port import Restored

if TYPE_CHECKING:
    from tests.contract.conftest import House

OPEN, PAUSED, DONE = BatchState.OPEN, BatchState.PAUSED, BatchState.DONE
NOTHING = Restored(cursors={"flux": 0}, staged={}, counts={}, settled=0, doubts=0, doubt_used=0, reasons={}, orders=[])


@pytest.mark.parametrize("later", ["opened", "put right"])
def test_who_means_an_earlier_opening_of_a_batch_changes_nothing(house: House, later: str) -> None:
    batch = house.open()
    earlier = house.progress().opening
    house.ledger.forget("b")
    if later == "opened":
        house.ledger.open_batch(replace(batch, round=2))
    else:
        house.ledger.restore(batch, NOTHING)
    was = house.books()

    said = [
        house.ledger.set_state("b", DONE, "", only_from=[OPEN, PAUSED], opening=earlier),
        house.ledger.mark_finished("b", opening=earlier),
        house.ledger.feed("b", "flux", 0, house.orders([0]), low=1, opening=earlier),
        house.ledger.forget("b", opening=earlier),
    ]

    assert said == [False, False, False, False]
    assert house.books() == was


def test_who_means_the_opening_that_stands_is_heard(house: House) -> None:
    house.open()
    opening = house.progress().opening

    said = [
        house.ledger.feed("b", "flux", 0, house.orders([0]), low=1, opening=opening),
        house.ledger.set_state("b", DONE, "", only_from=[OPEN], opening=opening),
        house.ledger.mark_finished("b", opening=opening),
        house.ledger.forget("b", opening=opening),
    ]

    assert said == [True, True, True, True]
    assert house.ledger.batches() == []


@pytest.mark.parametrize("left", ["queued", "held"])
def test_a_batch_that_is_to_be_over_is_not_forgotten_over_a_job_that_is_left(house: House, left: str) -> None:
    job = house.one()
    if left == "held":
        house.held(job)
        house.ledger.take_outcomes("b")
        house.ledger.drop_outcomes("b", 1)

    forgotten = house.ledger.forget("b", if_flushed=True)

    assert not forgotten
    assert house.ledger.jobs_of("b") == [job]
