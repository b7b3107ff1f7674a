"""Documents of batches: from the ledger while they run, from the bucket afterwards."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from config.catalogue import shipped_catalogue
from jobs.batch import Batch, BatchState, Progress
from jobs.bounds import Stop
from jobs.bucket.layout import Layout
from jobs.ledger.memory import MemoryLedger
from jobs.ledger.seen import SpoolSeen, WorkerSeen
from producers.view import NO_WORKER, UnknownBatch, View, eta
from tests.fakes import FakeBucket

NOW = 1_800_000_000.0
LAYOUT = Layout()
BATCH = Batch(
    id="autumn-20261122-171213-ab12",
    name="autumn",
    created_at=NOW - 120,
    rows=300,
    groups={"flux": 300},
    expected=4_000_000,
    at_most=5_000_000,
    ceiling=5_000_000,
    allowance=0,
)


@pytest.fixture
def ledger() -> MemoryLedger:
    return MemoryLedger(shipped_catalogue(), clock=lambda: NOW)


@pytest.fixture
def bucket() -> FakeBucket:
    return FakeBucket()


@pytest.fixture
def view(ledger: MemoryLedger, bucket: FakeBucket) -> View:
    return View(ledger, bucket, LAYOUT, shipped_catalogue())


def put_json(bucket: FakeBucket, key: str, document: object) -> None:
    bucket.put(key, json.dumps(document).encode())


def test_a_running_batch_is_shown_with_its_slots_and_workers(view: View, ledger: MemoryLedger) -> None:
    ledger.open_batch(BATCH)
    ledger.see_worker(WorkerSeen(id="w1", threads=34, edits=0, seen_at=NOW))

    found = view.batch(BATCH.id)

    assert found["state"] == "open"
    assert found["counts"]["queued"] == 300
    assert found["live"] == {
        "slots_used": 0,
        "slots": 24,
        "lowered": [],
        "workers": 1,
        "images_per_minute": None,
        "eta_s": None,
    }
    assert found["warnings"] == []


def test_slots_that_the_api_refuses_are_not_there_and_it_is_said_why(view: View, ledger: MemoryLedger) -> None:
    ledger.open_batch(BATCH)
    ledger.see_worker(WorkerSeen(id="w1", threads=34, edits=0, seen_at=NOW))
    ledger.adjust("flux", lambda limit, _: limit.refused(intent=1, latest=1, now=NOW))

    found = view.batch(BATCH.id)

    (said,) = found["warnings"]
    (group,) = found["live"]["lowered"]
    assert found["live"]["slots"] == 18
    assert (group["group"], group["slots"], group["most"], group["since"]) == ("flux", 18, 24, NOW)
    assert said.startswith("The API takes 18 tasks of flux at a time and no more, instead of 24, since ")


def charge(task: str, cost: float) -> dict[str, object]:
    return {"state": "late_receipt", "row": 7, "task_id": task, "cost_usd": cost, "polling_url": "https://x"}


def test_a_charge_that_came_after_the_report_is_shown_with_it(view: View, bucket: FakeBucket) -> None:
    summary = {
        "cost_usd": 1.0,
        "duplicates": {"rows": 1, "tasks": 1, "cost_usd": 0.05, "examples": [{"id": "a", "task_id": "t0"}]},
        "late_parts": [LAYOUT.late(BATCH.id, "t0")],
    }
    put_json(bucket, LAYOUT.batch(BATCH.id, "summary.json"), summary)
    put_json(bucket, LAYOUT.late(BATCH.id, "t0"), charge("t0", 0.05))
    put_json(bucket, LAYOUT.late(BATCH.id, "t1"), charge("t1", 0.03))

    found = view.batch(BATCH.id)

    assert found["cost_usd"] == 1.03
    assert (found["duplicates"]["tasks"], found["duplicates"]["cost_usd"]) == (2, 0.08)
    assert found["duplicates"]["examples"][1] == {"id": "row 7", "task_id": "t1", "cost_usd": 0.03}
    assert found["since_report"] == {"tasks": 1, "cost_usd": 0.03}


def test_a_result_that_was_filed_after_the_report_is_shown_with_it(view: View, bucket: FakeBucket) -> None:
    put_json(bucket, LAYOUT.batch(BATCH.id, "summary.json"), {"cost_usd": 1.0, "found": 1})
    put_json(bucket, LAYOUT.late(BATCH.id, "found t1"), {"state": "late_result", "row": 7, "cost_usd": 0.0})

    found = view.batch(BATCH.id)

    assert (found["found"], found["cost_usd"]) == (2, 1.0)


def test_results_that_are_kept_on_a_workers_disk_are_shown_with_their_place(view: View, ledger: MemoryLedger) -> None:
    ledger.see_worker(WorkerSeen(id="w1", threads=34, edits=0, seen_at=NOW))
    ledger.see_spool(SpoolSeen(id="d1", host="node-7", folder="/spool", results=3, bytes=9, limit=99, seen_at=NOW))
    progress = Progress(
        state=BatchState.OPEN, cursors={}, staged={}, hot={}, counts={"kept": 4}, kept={"d1": 3, "d2": 1}
    )

    found = view.document(BATCH, progress)

    assert found["kept_on"] == [{"spool": "d1", "rows": 3}, {"spool": "d2", "rows": 1}]
    assert any(text.startswith("3 paid results lie in /spool of node-7") for text in found["warnings"])
    assert any(text.startswith("1 paid result lies in disk d2") for text in found["warnings"])
    assert any(f"retouch cancel {BATCH.id} --kept" in text for text in found["warnings"])


def test_a_batch_that_no_worker_serves_says_so(view: View, ledger: MemoryLedger) -> None:
    ledger.open_batch(BATCH)

    found = view.batch(BATCH.id)

    assert found["warnings"] == [NO_WORKER]


def away(id_: str, **parts: str) -> WorkerSeen:
    return WorkerSeen(id=id_, threads=34, edits=0, seen_at=NOW, about={"away": parts})


def test_what_no_worker_reaches_is_said_once_with_the_reason(view: View, ledger: MemoryLedger) -> None:
    ledger.open_batch(BATCH)
    for id_ in ("w1", "w2"):
        ledger.see_worker(away(id_, api="ConnectError"))

    (said,) = view.batch(BATCH.id)["warnings"]

    assert said.startswith("The API does not answer the workers (ConnectError)")
    assert "nothing is lost" in said


def test_what_one_worker_alone_does_not_reach_is_said_of_that_one(view: View, ledger: MemoryLedger) -> None:
    ledger.open_batch(BATCH)
    ledger.see_worker(away("w1", storage="no answer"))
    ledger.see_worker(away("w2"))

    (said,) = view.batch(BATCH.id)["warnings"]

    assert said.startswith("The bucket does not answer 1 of 2 workers (no answer)")


def test_of_the_parked_keys_those_are_named_that_a_worker_has(view: View, ledger: MemoryLedger) -> None:
    ledger.open_batch(BATCH)
    ledger.park_key("0a1b2c3d", "HTTP 403: no")
    ledger.park_key("ffffffff", "HTTP 403: gone since")
    ledger.see_worker(replace(away("w1"), about={"keys": ["0a1b2c3d"]}))

    (said,) = view.batch(BATCH.id)["warnings"]

    assert said.startswith("The API refuses the key 0a1b2c3d")


def test_a_key_that_workers_leave_out_is_named_once(view: View, ledger: MemoryLedger) -> None:
    ledger.open_batch(BATCH)
    for id_ in ("w1", "w2"):
        ledger.see_worker(replace(away(id_), about={"unnamed": ["0a1b2c3d"]}))

    (said,) = view.batch(BATCH.id)["warnings"]

    assert said.startswith("The key 0a1b2c3d is left out, since RETOUCH_API__ACCOUNTS")


def test_a_paused_batch_misses_no_worker(view: View, ledger: MemoryLedger) -> None:
    ledger.open_batch(BATCH)
    ledger.set_state(BATCH.id, BatchState.PAUSED, "operator", only_from=(BatchState.OPEN,))

    found = view.batch(BATCH.id)

    assert found["reason"] == "operator"
    assert found["warnings"] == []


def test_a_batch_whose_pictures_are_not_uploaded_names_the_command_that_goes_on(
    view: View, ledger: MemoryLedger
) -> None:
    ledger.open_batch(replace(BATCH, local=True))

    found = view.batch(BATCH.id)

    assert any(f"retouch resume {BATCH.id}" in text for text in found["warnings"])


def test_a_batch_that_left_the_ledger_is_read_from_its_summary(view: View, bucket: FakeBucket) -> None:
    put_json(bucket, LAYOUT.batch(BATCH.id, "summary.json"), {"batch": BATCH.id, "state": "done"})

    found = view.batch(BATCH.id)

    assert found == {"batch": BATCH.id, "state": "done", "warnings": []}


def test_a_batch_that_only_the_bucket_knows_was_never_opened(view: View, bucket: FakeBucket) -> None:
    bucket.put(LAYOUT.batch(BATCH.id, "batch.json"), BATCH.as_json().encode())

    found = view.batch(BATCH.id)

    assert found["state"] == "planned"
    assert found["counts"]["queued"] == 300
    assert "never opened" in found["warnings"][0]


def test_an_unknown_batch_is_answered_with_the_nearest_names(view: View, ledger: MemoryLedger) -> None:
    ledger.open_batch(BATCH)

    with pytest.raises(UnknownBatch) as error:
        view.batch("autumn-20261122-171213-ab13")

    assert error.value.nearest == (BATCH.id,)


@pytest.mark.parametrize("name", ["../other", "a/b", "", "x" * 200, "a\nb"])
def test_a_name_that_is_no_name_never_becomes_a_key(view: View, bucket: FakeBucket, name: str) -> None:
    with pytest.raises(UnknownBatch):
        view.batch(name)

    assert [call for call in bucket.calls if call[0] == "get"] == []


def test_batches_are_listed_newest_first_wherever_they_are_known(
    view: View, ledger: MemoryLedger, bucket: FakeBucket
) -> None:
    old, older = "zebra-20261101-000000-aaaa", "apple-20261001-000000-bbbb"
    for batch in (older, old):
        bucket.put(LAYOUT.batch(batch, "batch.json"), replace(BATCH, id=batch).as_json().encode())
        put_json(bucket, LAYOUT.batch(batch, "summary.json"), {"batch": batch, "state": "done"})
    ledger.open_batch(BATCH)

    found = view.batches()

    assert [each["batch"] for each in found] == [BATCH.id, old, older]


def test_the_time_left_follows_from_the_rows_left() -> None:
    counts = {"stored": 100, "unchanged": 0, "moderated": 0, "failed": 0, "cancelled": 0}

    seconds = eta({"rows": 160, "counts": counts, "held": 0, "state": "open"}, 60.0)

    assert seconds == 60.0


def test_nobody_knows_the_time_left_of_a_batch_that_stands() -> None:
    assert eta({"rows": 160, "counts": {}, "held": 0, "state": "open"}, None) is None


def test_nobody_knows_how_long_a_batch_takes_that_is_paused() -> None:
    counts = {"stored": 100, "unchanged": 0, "moderated": 0, "failed": 0, "cancelled": 0}

    assert eta({"rows": 160, "counts": counts, "held": 0, "state": "paused"}, 60.0) is None


def test_the_report_of_an_earlier_round_is_not_that_of_one_that_was_cancelled(
    view: View, ledger: MemoryLedger, bucket: FakeBucket
) -> None:
    put_json(bucket, LAYOUT.batch(BATCH.id, "summary.json"), {"state": "done", "round": 1})
    ledger.open_batch(replace(BATCH, round=2))
    ledger.set_state(BATCH.id, BatchState.CANCELLED, "", only_from=(BatchState.OPEN,))

    before = view.batch(BATCH.id)
    ledger.mark_finished(BATCH.id)
    after = view.batch(BATCH.id)

    assert (before["state"], before["round"]) == ("cancelled", 2)
    assert after["state"] == "done"


def test_a_round_that_was_lost_is_told_beside_the_report_of_the_one_before(view: View, bucket: FakeBucket) -> None:
    bucket.put(LAYOUT.batch(BATCH.id, "batch.json"), replace(BATCH, round=2).as_json().encode())
    put_json(bucket, LAYOUT.batch(BATCH.id, "summary.json"), {"state": "done", "round": 1})

    found = view.batch(BATCH.id)

    assert found["state"] == "done"
    assert found["warnings"][0].startswith("Round 2 never came to its report")
    assert f"`retouch retry {BATCH.id}`" in found["warnings"][0]


def test_an_open_batch_says_which_group_is_stopped_and_how_it_goes_on(view: View, ledger: MemoryLedger) -> None:
    progress = Progress(
        state=BatchState.OPEN,
        cursors={},
        staged={},
        hot={},
        counts={},
        stops={"knives": Stop(why="failed", count=17, of=30, at=NOW)},
    )

    found = view.document(BATCH, progress)

    assert (
        "The group knives is stopped: 17 of its last 30 failed."
        f" `retouch resume {BATCH.id} --group NAME` lets one go on."
    ) in found["warnings"]
