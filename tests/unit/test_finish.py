"""The end of a batch: its report, and what becomes known while and after that is written."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jobs.batch import Table
from jobs.events import Stored
from jobs.job import Job, Order, Result
from jobs.outcome import late_line
from jobs.row import Row
from tests.unit.desks import COST, House, make_house, make_order, receipt
from workers.finish import finish

JOB = Job(order=make_order(1))
STORED = Stored(result=Result(key="chairs/1.png", sha256="0" * 64, bytes=9, format="png", width=1, height=1))


def plan_line(order: Order) -> str:
    """Return the line of the plan that an order comes from."""
    return Row(
        number=order.row,
        id=order.id,
        group=order.group,
        limit_group=order.limit_group,
        request=order.request,
        output=order.output,
        expected=COST,
        at_most=order.reserve,
        cells=(order.id,),
        sizes={},
    ).as_line()


def ended() -> House:
    """Return a house whose batch of one row has ended."""
    house = make_house()
    house.open(table=Table(columns=("id",)))
    house.bucket.put(house.desk.layout.plan("b", 1, "flux", 0), plan_line(make_order(1)).encode())
    house.moved(house.ready(), STORED)
    return house


def summary(house: House) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(house.bucket.get("retouch/batches/b/summary.json"))
    return found


def test_a_batch_that_is_over_gets_its_report_and_leaves_the_ledger() -> None:
    house = ended()

    finish("b", house.desk)

    assert (summary(house)["state"], summary(house)["counts"]["stored"]) == ("done", 1)
    assert house.ledger.batches() == []


def test_a_charge_that_becomes_known_while_the_report_is_written_comes_into_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house = ended()
    charge = late_line(JOB, receipt("t2"))
    mark = house.ledger.mark_finished

    def late(batch: str, *, opening: str) -> bool:
        house.ledger.late_receipt(batch, charge, COST)
        return mark(batch, opening=opening)

    monkeypatch.setattr(house.ledger, "mark_finished", late)
    finish("b", house.desk)
    kept = house.ledger.batches()
    finish("b", house.desk)

    assert kept == ["b"]
    assert house.ledger.batches() == []
    assert summary(house)["duplicates"]["tasks"] == 1
    assert summary(house)["cost_usd"] == 2 * COST / 1_000_000


def test_a_charge_that_came_when_the_batch_was_forgotten_is_in_the_next_report() -> None:
    house = ended()
    charge = late_line(JOB, receipt("t2"))
    key = house.desk.layout.late("b", "t2")
    house.bucket.put(key, charge.encode())

    finish("b", house.desk)

    assert summary(house)["late_parts"] == [key]
    assert summary(house)["duplicates"]["tasks"] == 1
