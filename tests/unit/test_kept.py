"""Results on a disk that will not come back: a person gives them up."""

from __future__ import annotations

from jobs.events import Kept
from jobs.job import State
from producers.kept import give_kept_up, kept
from tests.unit.desks import COST, make_house


class Hints:
    def __init__(self) -> None:
        self.finished: list[str] = []

    def finish(self, batch: str) -> None:
        self.finished.append(batch)


def test_rows_whose_results_are_given_up_end_as_paid_and_not_delivered() -> None:
    house, hints = make_house(), Hints()
    house.open(2)
    house.moved(house.ready("b.1"), Kept(detail="", spool="gone"))
    house.moved(house.ready("b.2"), Kept(detail="", spool="here"))
    being_stored = house.ledger.claim("b.2", "w2", spool="here").job

    given_up = give_kept_up("b", house.ledger, hints)  # type: ignore[arg-type]

    assert being_stored is not None
    assert (given_up, hints.finished) == (1, ["b"])
    assert house.progress().reasons["paid_not_delivered"] == (1, COST)
    assert house.stands("b.2").state is State.KEPT
    assert list(kept("b", house.ledger)) == []
