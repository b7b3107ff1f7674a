"""Two runs of one manifest, workers and producers together: what the first has published, the second does not touch."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from jobs.batch import Batch
from jobs.errors import Refused, Unavailable
from jobs.request import Request
from jobs.row import Row
from producers.known import Standing, known_rows
from producers.submit import PlanWriter
from tests.unit.desks import COST, RESERVE, URL, House, make_house, picture, receipt
from workers import feed as feeding
from workers.api import protocol
from workers.api.protocol import ResultReady
from workers.edit import edit
from workers.feed import feed
from workers.finish import finish

UNCHANGED, CHANGED = Standing.UNCHANGED, Standing.CHANGED


def make_row(number: int, **asked: Any) -> Row:
    request = Request(model="flux-2-pro", prompt="on white", inputs=(f"s3://bucket/in/{number}.png",))
    return Row(
        number=number,
        id=f"r{number}",
        group="",
        limit_group="flux",
        request=replace(request, **asked),
        output=f"autumn/r{number}.{{ext}}",
        expected=COST,
        at_most=RESERVE,
        cells=(f"r{number}",),
        sizes={},
    )


class Shop:
    """A house of workers, and what producers do before them."""

    def __init__(self) -> None:
        self.house: House = make_house()
        self.bucket = self.house.bucket
        self.layout = self.house.desk.layout
        for number in range(1, 10):
            self.bucket.lay(f"in/{number}.png", picture(30 + number))

    def run(self, id_: str, *rows: Row, **agreed: Any) -> None:
        """Plan, open, feed, edit and finish a batch."""
        self.open(id_, *rows, **agreed)
        self.work(id_)

    def open(self, id_: str, *rows: Row, **agreed: Any) -> None:
        with PlanWriter(self.bucket, self.layout, id_) as writer:
            for row in rows:
                writer.write(row)
            writer.close()
            writer.keep()
        batch = Batch(
            id=id_,
            name="autumn",
            created_at=self.house.clock(),
            rows=len(rows),
            groups=dict(writer.groups),
            chunk_rows=writer.chunk_rows,
            expected=1,
            at_most=1,
            ceiling=10**9,
            allowance=0,
        )
        self.house.ledger.open_batch(replace(batch, **agreed))

    def work(self, id_: str) -> None:
        desk, api = self.house.desk, self.house.api
        feed(id_, "flux", desk)
        for number, job in enumerate(self.house.ledger.jobs_of(id_)):
            api.submits.append(protocol.Accepted(receipt=receipt(f"{id_}-{number}")))
            api.polls.clear()
            api.polls.append(ResultReady(url=URL, deadline=self.house.clock() + 900, cost=None, seed=7))
            api.downloads.clear()
            api.downloads.append(picture(60 + number))
            self.house.clock.advance(1)
            edit(job, desk)
        api.submits.clear()
        finish(id_, desk)

    def standings(self, *rows: Row, origin: str = "bfl") -> list[Standing]:
        with known_rows("autumn", bucket=self.bucket, layout=self.layout, origin=origin) as known:
            return [known.standing(row) for row in rows]

    def outcomes(self, id_: str) -> list[dict[str, Any]]:
        text = self.bucket.get(self.layout.batch(id_, "outcomes.jsonl")).decode()
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setattr(feeding, "_chunks", feeding._Chunks())  # a process remembers plans by the batch's id
    return Shop()


def test_what_a_batch_has_published_is_unchanged_for_the_next_plan(shop: Shop) -> None:
    shop.run("b", make_row(1), make_row(2))

    assert shop.standings(make_row(1), make_row(2)) == [UNCHANGED, UNCHANGED]
    assert shop.standings(make_row(1), origin="localhost:1") == [CHANGED]


def test_the_outcome_says_what_its_inputs_were_and_which_etag_was_published(shop: Shop) -> None:
    shop.run("b", make_row(1))

    (line,) = shop.outcomes("b")

    head, source = shop.bucket.head("autumn/r1.png"), shop.bucket.head("in/1.png")
    assert head is not None
    assert source is not None
    assert (line["etag"], line["inputs"]) == (head.etag, [f"etag:{source.etag} s3://bucket/in/1.png"])


def test_a_row_that_a_worker_found_unchanged_is_proved_to_be_from_then_on(shop: Shop) -> None:
    shop.run("b", make_row(1))
    for head in list(shop.bucket.keys("retouch/names/")):
        shop.bucket.delete(head.key)

    shop.run("c", make_row(1))

    assert [(line["state"], line["how"]) for line in shop.outcomes("c")] == [("unchanged", "kept")]
    assert shop.standings(make_row(1)) == [UNCHANGED]


def test_a_picture_that_was_replaced_while_its_edit_ran_has_changed(shop: Shop) -> None:
    shop.open("b", make_row(1))
    shop.house.stopping.then = lambda: shop.bucket.lay("in/1.png", picture(99))
    shop.house.api.polls.append(protocol.StillRunning())
    shop.work("b")
    shop.bucket.lay("in/1.png", picture(99))

    assert shop.standings(make_row(1)) == [CHANGED]


def test_a_state_that_may_not_be_written_keeps_no_batch_from_its_end(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = shop.bucket.put

    def closed(key: str, data: bytes, **said: Any) -> None:
        if "/names/" in key:
            raise Refused("no right to write there")
        put(key, data, **said)

    monkeypatch.setattr(shop.bucket, "put", closed)
    shop.run("b", make_row(1))

    assert shop.outcomes("b")[0]["state"] == "stored"
    assert shop.standings(make_row(1)) == [Standing.NEW]


def test_a_batch_is_not_done_before_its_state_is_written_while_the_bucket_is_away(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = shop.bucket.put

    def away(key: str, data: bytes, **said: Any) -> None:
        if "/names/" in key:
            raise Unavailable("away")
        put(key, data, **said)

    with monkeypatch.context() as patched:
        patched.setattr(shop.bucket, "put", away)
        with pytest.raises(Unavailable):
            shop.run("b", make_row(1))
    assert shop.bucket.head(shop.layout.batch("b", "summary.json")) is None

    finish("b", shop.house.desk)

    assert shop.bucket.head(shop.layout.batch("b", "summary.json")) is not None
    assert shop.standings(make_row(1)) == [UNCHANGED]
