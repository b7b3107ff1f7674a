"""What is known of a batch without its ledger, and how it is put right."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from config.catalogue import shipped_catalogue
from jobs.batch import Batch, BatchState
from jobs.bucket.layout import Layout
from jobs.events import Begun
from jobs.intent import Intent
from jobs.job import Job, Receipt, State
from jobs.ledger.change import Closed
from jobs.ledger.memory import MemoryLedger
from jobs.money import PROOF_EDITS, Days, Sums
from jobs.outcome import late_line
from jobs.states import apply
from producers.daybook import restore_today
from producers.reconcile import Finding, examine, put_right
from tests.fakes import FakeBucket
from tests.unit.test_rounds import batch_in, row

LAYOUT = Layout()
CATALOGUE = shipped_catalogue()
NOW = 1_800_000_000.0
MODEL = row(1).request.model


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
        "model": MODEL,
        "cost_usd": 0.03,
        "cost_source": "receipt",
        "expected_usd": 0.03,
        "at": {"ended": NOW},
        "doubts": 0,
        "task_id": f"t{number}",
        "fingerprint": f"f{number}",
    } | more
    data = (json.dumps(line) + "\n").encode()
    bucket.put(LAYOUT.outcomes("autumn", number, data), data)


def intent(
    bucket: FakeBucket, number: int, *, attempt: int = 1, task: str = "", at: float = NOW - 1000, account: str = "main"
) -> None:
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
        account=account,
        receipt=receipt,
    )
    bucket.put(LAYOUT.intent("autumn", 1, number, attempt), made.as_json())


def found(batch: Batch, bucket: FakeBucket, ledger: MemoryLedger, *, intents: bool = True) -> Finding:
    return examine(batch, bucket=bucket, layout=LAYOUT, ledger=ledger, catalogue=CATALOGUE, intents=intents)


def righted(batch: Batch, bucket: FakeBucket, ledger: MemoryLedger, **how: Any) -> Finding:
    finding = found(batch, bucket, ledger, **how)
    where: dict[str, Any] = {"bucket": bucket, "layout": LAYOUT, "ledger": ledger, "catalogue": CATALOGUE}
    assert put_right(finding, **where, doubt_wait_s=30.0, days=Days())
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


@pytest.mark.parametrize("task", ["t3", ""])
def test_what_may_be_under_way_holds_a_place_of_the_account_that_it_began_with(
    bucket: FakeBucket, ledger: MemoryLedger, task: str
) -> None:
    batch = batch_of(bucket)
    intent(bucket, 3, task=task, account="studio")

    righted(batch, bucket, ledger)

    job = ledger.load("autumn.3")
    assert job is not None
    assert job.account == "studio"
    assert [ledger.slots_used(account)["flux"] for account in ("studio", "main")] == [1, 0]


def test_an_intent_of_before_accounts_were_written_is_of_main(bucket: FakeBucket, ledger: MemoryLedger) -> None:
    batch, key = batch_of(bucket), LAYOUT.intent("autumn", 1, 3, 1)
    intent(bucket, 3, task="t3")
    old = json.loads(bucket.get(key))
    del old["account"]
    bucket.put(key, json.dumps(old).encode())

    righted(batch, bucket, ledger)

    assert ledger.slots_used("main")["flux"] == 1


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
    told = {"task_id": "t2", "polling_url": "https://api.eu1.bfl.ai/t2", "fingerprint": "f2", "key": "k1", "day": DAY}
    outcome(bucket, 2, "late_receipt", **told)

    righted(batch, bucket, ledger)

    job = ledger.load("autumn.2")
    assert job is not None
    assert (job.state, job.receipt and job.receipt.task_id) == (State.RUNNING, "t2")
    assert (job.fingerprint, job.key_id, job.day) == ("f2", "k1", DAY)


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


def test_a_charge_that_came_late_is_followed_in_the_account_that_it_was_bought_with(
    bucket: FakeBucket, ledger: MemoryLedger
) -> None:
    batch = batch_of(bucket)
    bought = Job(order=row(2).order("autumn"), round=1, state=State.FAILED, key_id="k1", account="studio")
    line = late_line(bought, Receipt(task_id="t2", polling_url="https://api.eu1.bfl.ai/t2", cost=30_000))
    data = f"{line}\n".encode()
    bucket.put(LAYOUT.outcomes("autumn", 2, data), data)

    righted(batch, bucket, ledger)

    assert [ledger.slots_used(account)["flux"] for account in ("studio", "main")] == [1, 0]


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


# -- money

DAY = "2027-01-15"
"""The day of NOW."""


def charged(attempt: int = 1, cost: float = 0.03, day: str = DAY, key: str = "k1", **more: Any) -> dict[str, Any]:
    return {
        "attempt": attempt,
        "day": day,
        "key": key,
        "source": "receipt",
        "cost_usd": cost,
        "maybe_usd": 0.0,
    } | more


def restored(bucket: FakeBucket, ledger: MemoryLedger, *reopened: str) -> tuple[Sums, Sums]:
    """Restore the day twice, and return its sums and those of one key."""
    for _ in range(2):
        restore_today(reopened, ledger=ledger, bucket=bucket, layout=LAYOUT, days=Days())
    return ledger.money(DAY), ledger.money(DAY, "k1")


def test_what_the_first_edits_cost_and_what_a_model_costs_is_known_again(
    bucket: FakeBucket, ledger: MemoryLedger
) -> None:
    batch = batch_of(bucket)
    for number in range(1, 4):
        outcome(bucket, number, model=MODEL, expected_usd=0.028, charges=[charged(cost=0.03)], at={"ended": number})

    finding = righted(batch, bucket, ledger)

    at_most = row(1).at_most
    assert (finding.restored.price_paid, finding.restored.price_due) == ({MODEL: 90_000}, {MODEL: 3 * at_most})
    known = ledger.batch("autumn")
    assert known is not None
    assert (known[1].first, known[1].first_cost, known[1].first_expected) == (3, 90_000, 84_000)


def test_a_batch_whose_first_edits_were_too_dear_waits_for_a_yes_again(
    bucket: FakeBucket, ledger: MemoryLedger
) -> None:
    batch = batch_of(bucket)
    for number in range(1, PROOF_EDITS + 6):
        dear = 0.09 if number <= PROOF_EDITS else 0.0001
        outcome(bucket, number, expected_usd=0.03, charges=[charged(cost=dear)], at={"ended": number})

    righted(batch, bucket, ledger)

    known = ledger.batch("autumn")
    assert known is not None
    assert (known[1].state, known[1].reason, known[1].first) == (BatchState.PAUSED, "proof", PROOF_EDITS)


def test_what_was_spent_today_counts_again_whatever_became_of_its_batch(
    bucket: FakeBucket, ledger: MemoryLedger
) -> None:
    outcome(bucket, 1, charges=[charged(), charged(attempt=2, cost=0.02)], attempt=2)
    outcome(bucket, 2, charges=[charged(key="k2")])
    outcome(bucket, 3, charges=[charged(day="2027-01-14")])
    outcome(bucket, 4, "late_receipt", cost_usd=0.04, cost_source="receipt", day=DAY, key="k1", polling_url="https://x")

    day, key = restored(bucket, ledger)

    assert (day.settled, key.settled) == (120_000, 90_000)


def test_a_line_that_was_told_twice_counts_once(bucket: FakeBucket, ledger: MemoryLedger) -> None:
    outcome(bucket, 1, "in_doubt", task_id="", charges=[charged(cost=0.0, source="doubt", maybe_usd=0.05)])
    outcome(bucket, 1, charges=[charged()])
    outcome(bucket, 1, charges=[charged()], detail="told twice")
    outcome(bucket, 9, "late_receipt", task_id="t1", cost_usd=0.03, day=DAY, key="k1", polling_url="https://x")

    assert restored(bucket, ledger)[0] == Sums(settled=30_000)


@pytest.mark.parametrize(("reopened", "counts"), [((), 50_000), (("autumn",), 0)])
def test_a_held_doubt_counts_as_spent_unless_it_is_reserved_again(
    bucket: FakeBucket, ledger: MemoryLedger, reopened: tuple[str, ...], counts: int
) -> None:
    batch_of(bucket)
    outcome(bucket, 1, "in_doubt", task_id="", charges=[charged(cost=0.0, source="doubt", maybe_usd=0.05)])

    assert restored(bucket, ledger, *reopened)[0] == Sums(doubt_used=counts)


def test_what_nobody_knows_the_day_of_is_reserved_on_this_one(bucket: FakeBucket, ledger: MemoryLedger) -> None:
    batch = batch_of(bucket)
    outcome(bucket, 1, "in_doubt", task_id="")

    righted(batch, bucket, ledger)

    assert ledger.money(DAY).reserved == row(1).at_most


def test_sums_of_a_day_that_redis_still_has_are_not_lowered(bucket: FakeBucket, ledger: MemoryLedger) -> None:
    outcome(bucket, 1, charges=[charged()])
    ledger.restore_day(DAY, {"": Sums(settled=70_000), "k1": Sums(settled=10_000)})

    day, key = restored(bucket, ledger)

    assert (day.settled, key.settled) == (70_000, 30_000)


# -- what the old ledger had open


def began(batch: Batch, ledger: MemoryLedger) -> Closed | None:
    """Open a batch and begin the submission of its first row; return why it did not begin."""
    assert ledger.open_batch(replace(batch, ceiling=1_000_000))
    assert ledger.feed(batch.id, "flux", 0, [row(1).order(batch.id)], low=1)
    job = ledger.claim(f"{batch.id}.1", "w1").job
    assert job is not None
    begun = apply(job, Begun(fingerprint="same", key_id="k1", day=DAY), NOW)
    return ledger.begin(job, begun).closed


def test_what_the_old_ledger_had_open_of_a_row_that_has_ended_is_open_no_more(
    bucket: FakeBucket, ledger: MemoryLedger
) -> None:
    batch = batch_of(bucket, rows=1)
    began(batch, ledger)
    outcome(bucket, 1, "moderated", reason="request_moderated", cost_usd=0.0)

    righted(batch, bucket, ledger)
    reserved = ledger.money(DAY).reserved

    assert reserved == 0
    assert began(replace(batch, id="winter"), ledger) is None


def test_what_the_old_ledger_had_reserved_for_a_row_in_doubt_is_reserved_once(
    bucket: FakeBucket, ledger: MemoryLedger
) -> None:
    batch = batch_of(bucket, rows=1)
    began(batch, ledger)

    righted(batch, bucket, ledger)

    assert ledger.money(DAY).reserved == row(1).at_most
