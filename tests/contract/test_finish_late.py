"""A finisher that was held up for longer than its lock lasts leaves alone what others have made of the batch since."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jobs.batch import Batch, Table
from jobs.bucket.layout import Layout
from jobs.row import Row
from tests.contract.conftest import CATALOGUE
from tests.fakes import FakeBucket
from tests.unit.desks import ScriptedApi, ScriptedWeb, make_desk
from workers.desk import Desk
from workers.finish import LOCK_S, finish

if TYPE_CHECKING:
    from tests.contract.conftest import House

SUMMARY = Layout().batch("b", "summary.json")
PAGE = Layout().batch("b", "report.html")


class Bucket(FakeBucket):
    """A bucket in which something happens while a report's file is written, once."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: dict[str, Callable[[], None]] = {}
        """By key: what happens when the file lies there."""

    def put_file(self, key: str, path: Path, *, content_type: str = "application/octet-stream") -> None:
        """Write a file as an object."""
        super().put_file(key, path, content_type=content_type)
        self.meanwhile.pop(key, lambda: None)()


@dataclass(slots=True)
class Ended:
    """A batch of one row that has ended, on each ledger in turn, and two processes that may finish it."""

    house: House
    bucket: Bucket
    first: Desk
    second: Desk
    batch: Batch

    def held_up(self, *then: Callable[[], None]) -> Callable[[], None]:
        """Return what happens to the first process while it is suspended for longer than its lock lasts."""

        def happen() -> None:
            self.house.later(LOCK_S + 1)
            for each in then:
                each()

        return happen

    def finished(self) -> None:
        """Let the second process finish the batch."""
        finish("b", self.second)

    def next_round(self) -> None:
        """Open the batch's next round, and feed its row."""
        assert self.house.ledger.open_batch(replace(self.batch, round=2))
        assert self.house.ledger.feed("b", "flux", 0, self.house.orders([1]), low=1, round_=2)

    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.bucket.get(SUMMARY))
        return found


@pytest.fixture
def ended(house: House) -> Ended:
    batch = house.open(groups={"flux": 1}, table=Table(columns=("id",)))
    (order,) = house.orders([1])
    house.ledger.feed("b", "flux", 0, [order], low=1)
    house.stored(order.job)
    bucket = Bucket()
    row = Row(
        number=order.row,
        id=order.id,
        group=order.group,
        limit_group=order.limit_group,
        request=order.request,
        output=order.output,
        expected=order.estimate,
        at_most=order.reserve,
        cells=(order.id,),
        sizes={},
    )
    bucket.lay(Layout().plan("b", 1, "flux", 0), row.as_line().encode())

    def desk(name: str) -> Desk:
        web, never = ScriptedWeb(), threading.Event()
        return make_desk(name, CATALOGUE, house.ledger, bucket, ScriptedApi(), web, never, lambda *_, **__: None)

    return Ended(house, bucket, desk("w1"), desk("w2"), batch)


def test_the_next_round_goes_on_when_who_finished_the_last_one_wakes(ended: Ended) -> None:
    ended.bucket.meanwhile[SUMMARY] = ended.held_up(ended.finished, ended.next_round)

    finish("b", ended.first)

    found = ended.house.ledger.batch("b")
    assert found is not None
    assert (found[0].round, str(found[1].state), found[1].finished_at) == (2, "open", 0.0)
    assert ended.house.ledger.jobs_of("b") == ["b.1"]


def test_the_report_of_a_later_round_is_not_written_over_by_who_wakes(ended: Ended) -> None:
    def reported() -> None:
        ended.bucket.put(SUMMARY, b'{"round": 2}')

    ended.bucket.meanwhile[PAGE] = ended.held_up(ended.finished, ended.next_round, reported)

    finish("b", ended.first)

    assert ended.summary() == {"round": 2}


def test_who_wakes_while_another_one_finishes_leaves_the_report_to_it(ended: Ended) -> None:
    def taken() -> None:
        assert ended.house.ledger.lock("finish:b", "w2", LOCK_S)

    ended.bucket.meanwhile[PAGE] = ended.held_up(taken)

    finish("b", ended.first)

    assert ended.bucket.head(SUMMARY) is None
    assert ended.house.ledger.batches() == ["b"]


def test_who_wakes_when_nobody_else_has_finished_the_batch_does(ended: Ended) -> None:
    ended.bucket.meanwhile[PAGE] = ended.held_up()

    finish("b", ended.first)

    assert ended.summary()["state"] == "done"
    assert ended.house.ledger.batches() == []
