"""What is known of a batch without its ledger, and how it is put right."""

from __future__ import annotations

import json
from typing import Any

import pytest

from config.catalogue import shipped_catalogue
from jobs.batch import Batch, BatchState
from jobs.bucket.layout import Layout
from jobs.intent import Intent
from jobs.job import Receipt, State
from jobs.ledger.memory import MemoryLedger
from producers.reconcile import Finding, examine, put_right
from tests.fakes import FakeBucket
from tests.unit.test_rounds import batch_in, row

LAYOUT = Layout()
CATALOGUE = shipped_catalogue()
NOW = 1_800_000_000.0


@pytest.fixture
def bucket() -> FakeBucket:
    return FakeBucket()


@pytest.fixture
def ledger() -> MemoryLedger:
    return MemoryLedger(CATALOGUE, clock=lambda: NOW)


def batch_of(bucket: FakeBucket, rows: int = 200) -> Batch:
    return batch_in(bucket, [row(number) for number in range(1, rows + 1)])


def outcome(bucket: FakeBucket, number: int, state: str = "stored", **more: Any) -> None:
    line = {
        "row": number,
        "round": 1,
        "attempt": 1,
        "state": state,
        "reason": "",
        "cost_usd": 0.03,
        "doubts": 0,
        "task_id": f"t{number}",
        "fingerprint": f"f{number}",
    } | more
    data = (json.dumps(line) + "\n").encode()
    bucket.put(LAYOUT.outcomes("autumn", number, data), data)


def intent(bucket: FakeBucket, number: int, *, attempt: int = 1, task: str = "", at: float = NOW - 1000) -> None:
    receipt = Receipt(task_id=task, polling_url=f"https://api.eu1.bfl.ai/{task}", cost=30_000) if task else None
    made = Intent(
        row=number,
        round=1,
        attempt=attempt,
        epoch="a",
        number=number,
        owner="w1",
        fingerprint=f"f{number}",
        key_id="k1",
        day="2026-11-22",
        at=at,
        receipt=receipt,
    )
    bucket.put(LAYOUT.intent("autumn", 1, number, attempt), made.as_json())


def found(batch: Batch, bucket: FakeBucket, ledger: MemoryLedger, *, intents: bool = True) -> Finding:
    return examine(batch, bucket=bucket, layout=LAYOUT, ledger=ledger, catalogue=CATALOGUE, intents=intents)


def righted(batch: Batch, bucket: FakeBucket, ledger: MemoryLedger, **how: Any) -> Finding:
    finding = found(batch, bucket, ledger, **how)
    assert put_right(finding, bucket=bucket, layout=LAYOUT, ledger=ledger, catalogue=CATALOGUE, doubt_wait_s=30.0)
    return finding


def test_ended_rows_stay_ended_with_what_they_cost(bucket: FakeBucket, ledger: MemoryLedger) -> None:
    batch = batch_of(bucket)
    outcome(bucket, 1)
    outcome(bucket, 2, "failed", reason="api_error")
    outcome(bucket, 2, "failed", reason="api_error", detail="told twice")

    righted(batch, bucket, ledger)

    known = ledger.batch("autumn")
    assert known is not None
    progress = known[1]
    assert {state: n for state, n in progress.counts.items() if n} == {"stored": 1, "failed": 1}
    assert (progress.settled, progress.reasons) == (60_000, {"api_error": (1, 30_000)})
    assert (progress.cursors, progress.state) == ({"flux": 2}, BatchState.OPEN)


def test_a_row_with_a_receipt_is_followed_to_its_end(bucket: FakeBucket, ledger: MemoryLedger) -> None:
    batch = batch_of(bucket)
    intent(bucket, 3, task="t3")

    finding = righted(batch, bucket, ledger)

    job = ledger.load("autumn.3")
    assert job is not None
    assert (job.state, job.receipt and job.receipt.task_id, job.fingerprint) == (State.RUNNING, "t3", "f3")
    assert ledger.slots_used()["flux"] == 1
    assert (len(finding.bought), len(finding.doubtful), finding.again) == (1, 0, 2)


def test_a_row_whose_intent_has_no_receipt_is_in_doubt(bucket: FakeBucket, ledger: MemoryLedger) -> None:
    batch = batch_of(bucket)
    intent(bucket, 2, attempt=1, task="t2")
    intent(bucket, 2, attempt=2)

    righted(batch, bucket, ledger)

    job = ledger.load("autumn.2")
    assert job is not None
    assert (job.state, job.attempt, job.doubts) == (State.IN_DOUBT, 2, 1)
    assert ledger.doubts_due(10) == ["autumn.2"]


def test_a_row_that_was_fed_and_left_no_intent_is_queued_again(bucket: FakeBucket, ledger: MemoryLedger) -> None:
    batch = batch_of(bucket)
    outcome(bucket, 5)

    righted(batch, bucket, ledger)

    assert ledger.jobs_of("autumn") == [f"autumn.{number}" for number in (1, 2, 3, 4)]
    assert {job and job.state for job in map(ledger.load, ledger.jobs_of("autumn"))} == {State.QUEUED}


def test_without_intents_every_row_that_may_have_been_under_way_is_in_doubt(
    bucket: FakeBucket, ledger: MemoryLedger
) -> None:
    batch = batch_of(bucket)
    outcome(bucket, 5)
    window = CATALOGUE.groups["flux"].window

    finding = righted(batch, bucket, ledger, intents=False)

    assert len(finding.doubtful) == 4 + window
    assert finding.again == 0
    assert finding.restored.cursors == {"flux": 5 + window}


def test_a_charge_that_came_late_is_a_receipt(bucket: FakeBucket, ledger: MemoryLedger) -> None:
    batch = batch_of(bucket)
    outcome(bucket, 2, "late_receipt", task_id="t2", polling_url="https://api.eu1.bfl.ai/t2")

    righted(batch, bucket, ledger)

    job = ledger.load("autumn.2")
    assert job is not None
    assert (job.state, job.receipt and job.receipt.task_id) == (State.RUNNING, "t2")


@pytest.mark.parametrize("known", ["nothing else", "its intent", "its receipt"])
def test_a_row_whose_result_a_worker_has_filed_from_its_disk_is_queued_and_finds_it(
    bucket: FakeBucket, ledger: MemoryLedger, known: str
) -> None:
    batch = batch_of(bucket)
    if known != "nothing else":
        intent(bucket, 2, task="t2" if known == "its receipt" else "")
    outcome(bucket, 2, "late_result", paid_usd=0.03, cost_usd=0.0)

    finding = righted(batch, bucket, ledger, intents=known != "nothing else")

    job = ledger.load("autumn.2")
    assert job is not None
    assert job.state is State.QUEUED
    assert 2 not in {order.row for order, _ in (*finding.bought, *finding.doubtful)}
    assert finding.restored.settled == 30_000


def test_a_later_attempt_than_the_one_that_was_filed_is_still_followed(
    bucket: FakeBucket, ledger: MemoryLedger
) -> None:
    batch = batch_of(bucket)
    outcome(bucket, 2, "late_result", paid_usd=0.03, cost_usd=0.0)
    intent(bucket, 2, attempt=2, task="t9")

    righted(batch, bucket, ledger)

    job = ledger.load("autumn.2")
    assert job is not None
    assert job.state is State.RUNNING


def test_what_an_older_ledger_still_knows_is_used(bucket: FakeBucket, ledger: MemoryLedger) -> None:
    batch = batch_of(bucket)
    intent(bucket, 1, task="t1")
    righted(batch, bucket, ledger)
    bucket.delete(LAYOUT.intent("autumn", 1, 1, 1))

    finding = righted(batch, bucket, ledger)

    assert [order.row for order, _ in finding.bought] == [1]


def test_looking_changes_nothing(bucket: FakeBucket, ledger: MemoryLedger) -> None:
    batch = batch_of(bucket)
    intent(bucket, 1)
    before = {head.key: head.etag for head in bucket.keys("")}

    found(batch, bucket, ledger)

    assert {head.key: head.etag for head in bucket.keys("")} == before
    assert ledger.batches() == []
