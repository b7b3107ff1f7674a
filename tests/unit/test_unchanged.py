"""Two runs of one manifest, workers and producers together: what the first has published, the second does not touch."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.batch import Batch, BatchState, Table, document
from jobs.bucket.layout import Layout
from jobs.bucket.port import Head
from jobs.bucket.rows import rows_of
from jobs.errors import Refused, Unavailable
from jobs.job import Result
from jobs.known import state as states
from jobs.known.evidence import asked
from jobs.known.line import Known
from jobs.known.state import Changes, NameState
from jobs.request import Request
from jobs.row import Row
from producers import known as rows_known
from producers.inbox.take import take
from producers.known import KnownRows, Standing, known_rows
from producers.plan import Plan
from producers.price import Estimate
from producers.rounds import Wish, choose, planned_round
from producers.rounds import begin as begin_round
from producers.submit import PlanWriter, agreed, open_batch, settling
from producers.view import View
from tests.fakes import FakeBucket
from tests.unit.desks import COST, RESERVE, URL, House, make_house, picture, receipt
from tests.unit.intaking import Clock, Hints, desk
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


PLAN = Plan(
    manifest="m",
    name="autumn",
    table=Table(columns=("id",)),
    understood="",
    rows=0,
    unchanged=0,
    groups={},
    invalid=0,
    problems=(),
    problem_count=0,
    unmatched=0,
    errors_csv=None,
    estimate=Estimate(rows=0, expected=1, at_most=1, allowance=0, seconds=1.0, models=()),
    local=False,
    ceiling=10**9,
)
"""What the tests here do not look at."""


class Shop:
    """A house of workers, and what producers do before them."""

    def __init__(self) -> None:
        self.house: House = make_house()
        self.bucket = self.house.bucket
        self.layout = self.house.desk.layout
        for number in range(1, 10):
            self.bucket.lay(f"in/{number}.png", picture(30 + number))

    def run(self, id_: str, *rows: Row, **agreed_: Any) -> Batch:
        """Plan, open, feed, edit and finish a batch."""
        batch = self.open(id_, *rows, **agreed_)
        self.work(id_)
        return batch

    def open(self, id_: str, *rows: Row, origin: str = "bfl", fresh: bool = False, **agreed_: Any) -> Batch:
        """Plan and open a batch, as every command that makes one does."""
        ledger, at = self.house.ledger, self.house.clock()
        self.bucket.calls.clear()
        with PlanWriter(self.bucket, self.layout, id_) as writer, self.known(origin, fresh=fresh) as known:
            settle = settling(known, writer, at)
            for row in rows:
                if not settle(row):
                    writer.write(row)
            for gone in known.gone():
                writer.miss(gone, at)
            writer.close()
            batch = agreed(
                writer, PLAN, at=at, origin=origin, simulated=False, manifest="m", overwrite=False, fresh=fresh
            )
            batch = replace(batch, **agreed_)
            hints = self.hints = Hints()
            open_batch(batch, writer, bucket=self.bucket, layout=self.layout, ledger=ledger, hints=hints)
        return batch

    def known(self, origin: str = "bfl", *, fresh: bool = False) -> AbstractContextManager[KnownRows]:
        return known_rows("autumn", bucket=self.bucket, layout=self.layout, origin=origin, fresh=fresh)

    def work(self, id_: str) -> None:
        """Do what the workers do."""
        desk, api = self.house.desk, self.house.api
        before = len(api.bodies)
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
        self.bought = len(api.bodies) - before
        finish(id_, desk)

    def standings(self, *rows: Row, origin: str = "bfl") -> list[Standing]:
        with self.known(origin) as known:
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


def fed(shop: Shop, batch: Batch) -> list[int]:
    """Return the rows of a batch that are left to the workers."""
    rows = rows_of(replace(batch, unchanged=0), shop.bucket, shop.layout) if batch.groups else []
    return [row.number for row in rows]


def test_the_second_run_of_unchanged_rows_makes_no_job_and_asks_for_no_row(shop: Shop) -> None:
    rows = [make_row(n) for n in range(1, 7)]
    shop.run("b", *rows)

    batch = shop.open("c", *rows)
    requests = [(method, key) for method, key in shop.bucket.calls if method in ("head", "keys", "get", "read")]
    shop.work("c")

    assert (batch.rows, batch.unchanged, batch.groups) == (6, 6, {})
    assert len(requests) == 5, "the index, its shard, three listings"
    assert shop.house.ledger.jobs_of("c") == []
    assert shop.bought == 0


def test_settled_rows_have_the_outcome_that_a_worker_would_have_come_to(shop: Shop) -> None:
    shop.run("b", make_row(1))
    for head in list(shop.bucket.keys("retouch/names/")):
        shop.bucket.delete(head.key)
    shop.run("c", make_row(1))
    shop.run("d", make_row(1))

    (by_worker,), (by_plan,) = shop.outcomes("c"), shop.outcomes("d")

    assert shop.house.ledger.batch("d") is None
    for line in (by_worker, by_plan):
        del line["batch"], line["job"], line["at"]
    assert by_plan == by_worker
    assert (by_plan["state"], by_plan["how"], by_plan["cost_usd"]) == ("unchanged", "kept", 0.0)


def test_the_tables_of_a_settled_batch_are_those_of_one_that_workers_settled(shop: Shop) -> None:
    rows = [make_row(n) for n in (1, 2, 3)]
    shop.run("b", *rows)
    for head in list(shop.bucket.keys("retouch/names/")):
        shop.bucket.delete(head.key)
    shop.run("c", *rows)
    shop.run("d", *rows)

    def summary(id_: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(shop.bucket.get(shop.layout.batch(id_, "summary.json")))
        return {key: found[key] for key in ("rows", "counts", "how", "made_it", "cost_usd", "files", "state", "bytes")}

    assert shop.bucket.get(shop.layout.batch("d", "results.csv")) == shop.bucket.get(
        shop.layout.batch("c", "results.csv")
    ).replace(b"c.", b"d.")
    assert summary("d") == summary("c")
    assert summary("d")["counts"]["unchanged"] == 3


@pytest.mark.parametrize(
    "change",
    ["a foreign overwrite", "a deleted output", "a changed input", "a changed prompt", "another API", "fresh"],
)
def test_exactly_what_is_not_proved_to_be_unchanged_is_fed_again(shop: Shop, change: str) -> None:
    rows = [make_row(n) for n in (1, 2, 3)]
    shop.run("b", *rows)
    again = list(rows)
    options: dict[str, Any] = {}
    match change:
        case "a foreign overwrite":
            shop.bucket.lay("autumn/r2.png", picture(99))
        case "a deleted output":
            shop.bucket.delete("autumn/r2.png")
        case "a changed input":
            shop.bucket.lay("in/2.png", picture(99))
        case "a changed prompt":
            again[1] = make_row(2, prompt="on black")
        case "another API":
            options = {"origin": "localhost:1"}
        case "fresh":
            options = {"fresh": True}

    batch = shop.open("c", *again, **options)

    assert fed(shop, batch) == ([1, 2, 3] if options else [2])
    assert (batch.rows, batch.unchanged) == ((3, 0) if options else (3, 2))


def test_a_new_row_and_a_changed_one_run_beside_the_settled_ones(shop: Shop) -> None:
    shop.run("b", make_row(1), make_row(2), make_row(3))

    shop.run("c", make_row(1), make_row(2, prompt="on black"), make_row(3), make_row(4))

    assert [line["state"] for line in shop.outcomes("c")] == ["unchanged", "stored", "unchanged", "stored"]
    assert [line["row"] for line in shop.outcomes("c")] == [1, 2, 3, 4]
    assert shop.bought == 2


def test_counts_add_up_to_rows_at_every_moment(shop: Shop) -> None:
    shop.run("b", make_row(1), make_row(2))
    view = View(shop.house.ledger, shop.bucket, shop.layout, shop.house.desk.catalogue)

    def counts() -> dict[str, int]:
        found = view.batch("c")["counts"]
        assert sum(found.values()) == 4
        return {state: rows for state, rows in found.items() if rows}

    batch = shop.open("c", make_row(1), make_row(2), make_row(3), make_row(4))
    assert counts() == {"unchanged": 2, "queued": 2}
    found = shop.house.ledger.batch("c")
    assert found is not None
    assert document(*found)["rows"] == 4
    feed("c", "flux", shop.house.desk)
    assert counts() == {"unchanged": 2, "queued": 2}
    shop.work("c")
    assert counts() == {"unchanged": 2, "stored": 2}
    assert shop.house.ledger.batch("c") is None

    shop.bucket.delete(shop.layout.batch("c", "summary.json"))  # as if Redis had been emptied before the end
    assert counts() == {"unchanged": 2, "queued": 2}
    assert batch.unchanged == 2


def test_a_batch_without_a_row_to_edit_is_reported_at_once(shop: Shop) -> None:
    shop.run("b", make_row(1))

    shop.open("c", make_row(1))

    assert (shop.hints.fed, shop.hints.finished) == ([], ["c"])
    finish("c", shop.house.desk)
    assert shop.bucket.head(shop.layout.batch("c", "summary.json")) is not None


def test_a_cancelled_batch_keeps_its_settled_rows(shop: Shop) -> None:
    shop.run("b", make_row(1))
    shop.open("c", make_row(1), make_row(2))
    shop.house.ledger.set_state("c", BatchState.CANCELLED, "", only_from=[BatchState.OPEN])

    finish("c", shop.house.desk)

    assert [line["state"] for line in shop.outcomes("c")] == ["unchanged", "cancelled"]


def test_a_retry_round_reports_settled_rows_and_does_not_run_them(shop: Shop) -> None:
    shop.run("b", make_row(1))
    shop.bucket.delete("in/2.png")
    shop.run("c", make_row(1), make_row(2))
    assert [line["state"] for line in shop.outcomes("c")] == ["unchanged", "failed"]

    shop.bucket.lay("in/2.png", picture(32))
    agreed_ = Batch.from_json(shop.bucket.get(shop.layout.batch("c", "batch.json")).decode())
    places: dict[str, Any] = {"bucket": shop.bucket, "layout": shop.layout}
    wish = Wish(reasons=frozenset({"image_not_found"}))
    choice = choose("c", wish, **places)
    with planned_round(agreed_, choice.rows, catalogue=shop.house.desk.catalogue, **places) as planned:
        batch = begin_round(planned, ledger=shop.house.ledger, hints=Hints(), **places)
    found = shop.house.ledger.batch("c")
    assert found is not None
    assert (batch.rows, document(*found)["counts"]["unchanged"]) == (1, 0)
    shop.work("c")

    assert [line["state"] for line in shop.outcomes("c")] == ["unchanged", "stored"]
    summary = json.loads(shop.bucket.get(shop.layout.batch("c", "summary.json")))
    assert (summary["rows"], summary["counts"]["unchanged"], summary["counts"]["stored"]) == (2, 1, 1)


def test_rows_of_earlier_batches_stay_known_until_their_output_is_gone(shop: Shop) -> None:
    shop.run("b", make_row(1), make_row(2), make_row(3))
    shop.run("c", make_row(4))
    assert shop.standings(make_row(1), make_row(2)) == [UNCHANGED, UNCHANGED]

    shop.bucket.delete("autumn/r2.png")
    batch = shop.run("d", make_row(4))

    assert batch.gone == 1
    assert shop.standings(make_row(1), make_row(2), make_row(3)) == [UNCHANGED, Standing.NEW, UNCHANGED]


def test_the_pace_of_a_batch_is_that_of_the_rows_that_ran(shop: Shop) -> None:
    shop.run("b", make_row(1))
    shop.open("c", make_row(1), make_row(2))
    shop.house.clock.advance(86_400)  # it waited for a yes
    shop.work("c")

    summary = json.loads(shop.bucket.get(shop.layout.batch("c", "summary.json")))

    assert summary["duration_s"] < 60


def test_a_plan_that_was_refused_leaves_no_settled_row_behind(shop: Shop) -> None:
    shop.run("b", make_row(1))

    with PlanWriter(shop.bucket, shop.layout, "c") as writer, shop.known() as known:
        assert settling(known, writer, 1.0)(make_row(1))
        writer.close()
        assert list(shop.bucket.keys(shop.layout.batch("c")))

    assert list(shop.bucket.keys(shop.layout.batch("c"))) == []


def test_an_upload_of_unchanged_rows_is_settled_by_its_plan(shop: Shop, tmp_path: Path) -> None:
    place = replace(desk(tmp_path, Clock(), bucket=shop.bucket), ledger=shop.house.ledger)
    text = "id,image,prompt\n" + "".join(f"r{n},s3://bucket/in/{n}.png,on white\n" for n in (1, 2, 3))

    def dropped(text: str) -> dict[str, Any]:
        key = "retouch/inbox/team/autumn.csv"
        shop.bucket.lay(key, text.encode())
        head = shop.bucket.head(key)
        assert head is not None
        receipt = take(key, head.etag, place)
        assert receipt is not None
        shop.work(receipt["batch"])
        return receipt

    first = dropped(text)
    again = dropped(text.replace("r2,s3://bucket/in/2", "r2,s3://bucket/in/5"))

    assert (first["rows"], first["unchanged"]) == (3, 0)
    assert (again["rows"], again["unchanged"]) == (3, 2)
    assert again["expected_usd"] == pytest.approx(first["expected_usd"] / 3)
    assert [line["state"] for line in shop.outcomes(again["batch"])] == ["unchanged", "stored", "unchanged"]


class Files(FakeBucket):
    """A bucket whose own files lie on disk, and that lists outputs which lie nowhere: its own memory does not count."""

    def __init__(self, folder: Path, rows: int) -> None:
        super().__init__()
        self._folder = folder
        self._rows = rows

    def put(self, key: str, data: bytes, **_: Any) -> str:
        (self._folder / key.replace("/", "__")).write_bytes(data)
        return ""

    def get(self, key: str, **_: Any) -> bytes:
        return (self._folder / key.replace("/", "__")).read_bytes()

    def keys(self, prefix: str, **_: Any) -> Iterator[Head]:
        if prefix.startswith("retouch/"):
            found = (path.name.replace("__", "/") for path in self._folder.iterdir())
            return (Head(key=key, bytes=1) for key in sorted(found) if key.startswith(prefix))
        return (Head(key=f"{prefix}{n}.png", bytes=9, etag=f"{n:032x}") for n in range(self._rows))


def learn_and_settle(folder: Path, rows: int) -> tuple[int, int]:
    """Return how many rows were settled, and the most bytes of memory that it took to learn and to settle them."""
    bucket, layout = Files(folder, rows), Layout()
    tracemalloc.start()
    with Changes(folder, rows) as changes:
        for n in range(rows):
            result = Result(key=f"o/{n}.png", sha256="ab", bytes=9, format="png", width=1, height=1, etag=f"{n:032x}")
            row = make_row(n)._replace(output=f"o/{n}.{{ext}}")
            evidence = f"etag:{n:032x} s3://bucket/in/{n}.png"
            line = Known(output=row.output, id=row.id, at=1.0, asked=asked("bfl", row.request), inputs=(evidence,))
            changes.add(replace(line, result=result))
        NameState("autumn", bucket, layout).write(changes)
    with known_rows("autumn", bucket=bucket, layout=layout, origin="bfl") as known:
        settled = sum(known.settled(make_row(n)._replace(output=f"o/{n}.{{ext}}")) is not None for n in range(rows))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return settled, most


def test_memory_does_not_grow_with_what_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "LINES_PER_SHARD", 128)
    monkeypatch.setattr(states, "_WAITING", 64)
    monkeypatch.setattr(rows_known, "_AT_ONCE", 64)
    few, many = tmp_path / "few", tmp_path / "many"
    few.mkdir()
    many.mkdir()

    (some, small), (all_, large) = learn_and_settle(few, 400), learn_and_settle(many, 1_600)

    assert (some, all_) == (400, 1_600)
    assert large < 2 * small
