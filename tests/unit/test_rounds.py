"""Planning another round: which rows it has, what it costs, whose number it takes, and what a no leaves behind."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from config.catalogue import shipped_catalogue
from jobs.batch import Batch, BatchState
from jobs.bucket.layout import Layout
from jobs.bucket.rows import rows_of
from jobs.ledger.memory import MemoryLedger
from jobs.request import Request
from jobs.row import Row
from jobs.shares import Priority
from producers.numbers import RowNumbers
from producers.rounds import NoRound, Round, Wish, begin, choose, ended, planned_round
from producers.submit import PlanWriter
from tests.fakes import Conditional, FakeBucket
from tests.unit.test_doubts import waiting_house

LAYOUT = Layout()
CATALOGUE = shipped_catalogue()
MODEL = "flux-2-pro"


class NoHints:
    def feed(self, batch: str, groups: Iterable[str]) -> None: ...

    def look(self, jobs: Iterable[str]) -> None: ...

    def finish(self, batch: str) -> None: ...


def row(number: int, uri: str = "s3://bucket/chair.png", sizes: dict[str, tuple[int, int]] | None = None) -> Row:
    return Row(
        number=number,
        id=f"r{number}",
        group="",
        limit_group="flux",
        request=Request(model=MODEL, prompt="on white", inputs=(uri,)),
        output=f"autumn/r{number}.{{ext}}",
        expected=30_000,
        at_most=60_000,
        cells=(f"r{number}",),
        sizes=sizes or {},
    )


def line(number: int, state: str = "failed", reason: str = "url_unreachable", group: str = "") -> dict[str, Any]:
    return {"row": number, "state": state, "reason": "" if state == "stored" else reason, "group": group}


def batch_in(bucket: FakeBucket, rows: list[Row], lines: list[dict[str, Any]] | None = None) -> Batch:
    """Lay a batch that has ended into the bucket, as its report leaves it."""
    with PlanWriter(bucket, LAYOUT, "autumn") as writer:
        for each in rows:
            writer.write(each)
        writer.close()
        writer.keep()
    batch = Batch(
        id="autumn",
        name="autumn",
        created_at=1.0,
        rows=len(rows),
        groups=dict(writer.groups),
        chunk_rows=writer.chunk_rows,
        local=writer.local,
        expected=1,
        at_most=1,
        ceiling=1,
        allowance=0,
    )
    bucket.lay(LAYOUT.batch("autumn", "batch.json"), batch.as_json().encode())
    bucket.lay(LAYOUT.batch("autumn", "summary.json"), b"{}")
    text = "".join(json.dumps(each) + "\n" for each in lines or [])
    bucket.lay(LAYOUT.batch("autumn", "outcomes.jsonl"), text.encode())
    return batch


def begun(agreed: Batch, rows: set[int], bucket: FakeBucket, ledger: MemoryLedger) -> Batch:
    with planned_round(agreed, rows, bucket=bucket, layout=LAYOUT, catalogue=CATALOGUE) as planned:
        return begin(planned, bucket=bucket, layout=LAYOUT, ledger=ledger, hints=NoHints())


def plan_of(batch: Batch, bucket: FakeBucket) -> list[Row]:
    text = bucket.get(LAYOUT.plan(batch.id, batch.round, "flux", 0)).decode()
    return [Row.from_line(each) for each in text.split("\n") if each]


@pytest.fixture
def bucket() -> FakeBucket:
    return FakeBucket()


@pytest.fixture
def ledger() -> MemoryLedger:
    return MemoryLedger(CATALOGUE, clock=lambda: 1_800_000_000.0)


def test_rows_that_made_it_are_not_chosen(bucket: FakeBucket) -> None:
    batch_in(bucket, [], [line(1, "stored"), line(2, "unchanged"), line(3), line(4, "cancelled", "cancelled")])

    assert choose("autumn", Wish(), bucket=bucket, layout=LAYOUT).rows == RowNumbers([3, 4])


def test_rows_to_which_asking_again_cannot_help_are_chosen_by_name_only(bucket: FakeBucket) -> None:
    batch_in(bucket, [], [line(1), line(2, "moderated", "request_moderated")])

    plain = choose("autumn", Wish(), bucket=bucket, layout=LAYOUT)
    named = choose("autumn", Wish(reasons=frozenset({"request_moderated"})), bucket=bucket, layout=LAYOUT)

    assert (plain.rows, dict(plain.hopeless)) == (RowNumbers([1]), {"request_moderated": 1})
    assert named.rows == RowNumbers([2])


def test_rows_in_doubt_are_never_chosen(bucket: FakeBucket) -> None:
    batch_in(bucket, [], [line(1, "in_doubt", "in_doubt"), line(2, "failed", "in_doubt")])

    found = choose("autumn", Wish(reasons=frozenset({"in_doubt"})), bucket=bucket, layout=LAYOUT)

    assert (found.rows, found.doubtful) == (RowNumbers(), 2)


def test_rows_in_doubt_are_chosen_where_they_alone_are_wanted(bucket: FakeBucket) -> None:
    lines = [line(1, "in_doubt", "in_doubt"), line(2, "failed", "in_doubt"), line(3, "failed", "api_error")]
    batch_in(bucket, [], lines)

    found = choose("autumn", Wish(in_doubt=True), bucket=bucket, layout=LAYOUT)

    assert found.rows == RowNumbers([1, 2])


def test_a_group_narrows_the_choice(bucket: FakeBucket) -> None:
    batch_in(bucket, [], [line(1, group="chairs"), line(2, group="tables")])

    assert choose("autumn", Wish(groups=frozenset({"tables"})), bucket=bucket, layout=LAYOUT).rows == RowNumbers([2])


def test_a_batch_without_a_report_cannot_be_chosen_from(bucket: FakeBucket) -> None:
    with pytest.raises(NoRound) as told:
        choose("autumn", Wish(), bucket=bucket, layout=LAYOUT)

    assert told.value.code == "no_report"


def test_the_next_round_has_the_chosen_rows_under_their_own_numbers(bucket: FakeBucket, ledger: MemoryLedger) -> None:
    agreed = batch_in(bucket, [row(n) for n in range(1, 6)])

    batch = begun(agreed, {2, 5}, bucket, ledger)

    assert (batch.id, batch.round, batch.rows, dict(batch.groups)) == ("autumn", 2, 2, {"flux": 2})
    assert [each.number for each in plan_of(batch, bucket)] == [2, 5]
    assert batch.expected == 60_000
    found = ledger.batch("autumn")
    assert found is not None
    assert found[0].round == 2


def test_a_third_round_still_chooses_from_all_rows_of_the_first(bucket: FakeBucket, ledger: MemoryLedger) -> None:
    agreed = batch_in(bucket, [row(n) for n in range(1, 6)])
    second = begun(agreed, {2}, bucket, ledger)
    ledger.forget("autumn")

    third = begun(second, {4, 5}, bucket, ledger)

    assert third.round == 3
    assert [each.number for each in plan_of(third, bucket)] == [4, 5]


def test_a_no_leaves_the_bucket_as_it_was(bucket: FakeBucket) -> None:
    agreed = batch_in(bucket, [row(1), row(2)])
    before = {head.key: head.etag for head in bucket.keys("")}

    with planned_round(agreed, {1}, bucket=bucket, layout=LAYOUT, catalogue=CATALOGUE):
        pass

    assert {head.key: head.etag for head in bucket.keys("")} == before


@pytest.mark.parametrize("conditional", ["kept", "refused"])
def test_two_commands_at_once_plan_two_rounds_and_one_of_them_begins(
    conditional: Conditional, ledger: MemoryLedger
) -> None:
    bucket = FakeBucket(conditional=conditional)
    agreed = batch_in(bucket, [row(1), row(2)])

    def plan() -> Any:
        return planned_round(agreed, {1}, bucket=bucket, layout=LAYOUT, catalogue=CATALOGUE)

    with plan() as mine, plan() as other:
        assert (mine.number, other.number) == (2, 3)
        begin(mine, bucket=bucket, layout=LAYOUT, ledger=ledger, hints=NoHints())
        with pytest.raises(NoRound) as told:
            begin(other, bucket=bucket, layout=LAYOUT, ledger=ledger, hints=NoHints())

    assert told.value.code == "running"
    assert [each.number for each in plan_of(_agreed_of(bucket), bucket)] == [1]


def _agreed_of(bucket: FakeBucket) -> Batch:
    return Batch.from_json(bucket.get(LAYOUT.batch("autumn", "batch.json")).decode())


def test_a_picture_that_never_came_to_the_bucket_is_taken_and_priced_as_it_lies_there_now(
    tmp_path: Path, bucket: FakeBucket, ledger: MemoryLedger
) -> None:
    path = tmp_path / "chair.png"
    Image.new("RGB", (2000, 1500), "red").save(path)
    uri = path.as_uri()
    agreed = batch_in(bucket, [row(1, uri, {uri: (1, 1)})])

    batch = begun(agreed, {1}, bucket, ledger)

    (again,) = plan_of(batch, bucket)
    assert batch.local
    assert again.sizes == {uri: (path.stat().st_size, path.stat().st_mtime_ns)}
    assert again.expected > 30_000


def test_a_picture_that_is_gone_keeps_what_the_plan_knew(bucket: FakeBucket, ledger: MemoryLedger) -> None:
    uri = "file:///nowhere/chair.png"
    agreed = batch_in(bucket, [row(1, uri, {uri: (7, 8)})])

    batch = begun(agreed, {1}, bucket, ledger)

    assert plan_of(batch, bucket)[0].sizes == {uri: (7, 8)}


def test_rows_that_were_staged_are_read_from_there(bucket: FakeBucket) -> None:
    uri = "file:///nowhere/chair.png"
    agreed = batch_in(bucket, [row(1, uri, {uri: (7, 8)})])
    staged = row(1, "s3://bucket/retouch/inputs/aa/aa.png")
    bucket.lay(LAYOUT.staged_plan("autumn", 1, "flux", 0), (staged.as_line() + "\n").encode())

    assert [each.request.inputs for each in rows_of(agreed, bucket, LAYOUT)] == [staged.request.inputs]


def test_a_batch_that_runs_is_told_as_running(bucket: FakeBucket, ledger: MemoryLedger) -> None:
    ledger.open_batch(batch_in(bucket, [row(1)]))

    with pytest.raises(NoRound) as told:
        ended("autumn", ledger)

    assert told.value.code == "running"


def test_a_batch_that_waits_in_doubt_is_told_as_such() -> None:
    house = waiting_house()

    with pytest.raises(NoRound) as told:
        ended("b", house.ledger)

    assert told.value.code == "in_doubt"


def test_a_batch_that_has_just_ended_is_waited_for(bucket: FakeBucket, ledger: MemoryLedger) -> None:
    ledger.open_batch(batch_in(bucket, [row(1)]))
    ledger.set_state("autumn", BatchState.DONE, "", only_from=(BatchState.OPEN,))
    gone: list[bool] = []

    ended("autumn", ledger, sleep=lambda _: gone.append(ledger.forget("autumn")))

    assert gone == [True]


def test_the_ceiling_of_a_round_is_its_own(bucket: FakeBucket) -> None:
    agreed = batch_in(bucket, [row(1)])

    with planned_round(agreed, {1}, bucket=bucket, layout=LAYOUT, catalogue=CATALOGUE, ceiling=5) as planned:
        assert isinstance(planned, Round)
        assert planned.ceiling == 5


@pytest.mark.parametrize(("by", "kept"), [(1_800_000_001.0, 1_800_000_001.0), (1_799_999_999.0, 0.0)])
def test_a_round_is_as_urgent_as_the_batch_but_does_not_hurry_for_what_has_passed(
    bucket: FakeBucket, ledger: MemoryLedger, by: float, kept: float
) -> None:
    agreed = replace(batch_in(bucket, [row(1)], [line(1)]), priority=Priority.LOW, by=by)
    bucket.lay(LAYOUT.batch("autumn", "batch.json"), agreed.as_json().encode())

    again = begun(agreed, {1}, bucket, ledger)

    assert (again.priority, again.by) == (Priority.LOW, kept)
