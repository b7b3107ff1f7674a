"""What `clean` removes, and what it never does."""

from __future__ import annotations

import pytest

from config.catalogue import shipped_catalogue
from jobs.batch import Batch
from jobs.bucket.layout import Layout
from jobs.errors import StorageError
from jobs.ledger.memory import MemoryLedger
from jobs.request import Request
from jobs.row import Row
from producers.clean import DAY_S, Cleaning
from tests.fakes import FakeBucket

NOW = 1_800_000_000.0
LAYOUT = Layout()
OLD, NEWER = NOW - 40 * DAY_S, NOW - 20 * DAY_S
INPUT, RESULT = LAYOUT.staged("aa11", "jpg"), LAYOUT.filed("bb22", "png")


@pytest.fixture
def bucket() -> FakeBucket:
    """A bucket with one object of each kind, all of them 40 days old."""
    found = FakeBucket()
    found.modified = OLD
    for key in (INPUT, RESULT, "autumn/chair.png", LAYOUT.batch("autumn", "summary.json")):
        found.lay(key, b"12345")
    return found


@pytest.fixture
def ledger() -> MemoryLedger:
    return MemoryLedger(shipped_catalogue(), clock=lambda: NOW)


def cleaning(
    bucket: FakeBucket, ledger: MemoryLedger, *, inputs: int | None = 30, results: int | None = None
) -> Cleaning:
    return Cleaning(bucket=bucket, layout=LAYOUT, ledger=ledger, inputs_days=inputs, results_days=results)


def keys(bucket: FakeBucket) -> set[str]:
    return {head.key for head in bucket.keys("")}


def open_batch(bucket: FakeBucket, ledger: MemoryLedger, *, local: bool, staged: bool) -> None:
    row = Row(
        number=1,
        id="chair",
        group="",
        limit_group="flux",
        request=Request(model="flux-2-pro", prompt="on white", inputs=(f"s3://{bucket.name}/{INPUT}",)),
        output="autumn/chair.{ext}",
        expected=1,
        at_most=1,
        cells=("chair",),
        sizes={},
    )
    batch = Batch(
        id="autumn",
        name="autumn",
        created_at=1.0,
        rows=1,
        groups={"flux": 1},
        local=local,
        expected=1,
        at_most=1,
        ceiling=1,
        allowance=0,
    )
    make = LAYOUT.staged_plan if local else LAYOUT.plan
    bucket.lay(make("autumn", 1, "flux", 0), row.as_line().encode())
    ledger.open_batch(batch)
    if staged:
        ledger.stage("autumn", "flux", 1)


def test_old_staged_pictures_go_and_results_stay_for_ever(bucket: FakeBucket, ledger: MemoryLedger) -> None:
    before = keys(bucket)

    found = cleaning(bucket, ledger).remove()

    assert before - keys(bucket) == {INPUT}
    assert [(old.kind, old.objects, old.bytes, old.days) for old in found] == [
        ("inputs", 1, 5, 30),
        ("results", 0, 0, None),
    ]


def test_results_go_where_a_setting_says_so_and_what_was_published_stays(
    bucket: FakeBucket, ledger: MemoryLedger
) -> None:
    cleaning(bucket, ledger, results=30).remove()

    assert keys(bucket) == {"autumn/chair.png", LAYOUT.batch("autumn", "summary.json")}


def test_what_is_within_its_retention_stays(bucket: FakeBucket, ledger: MemoryLedger) -> None:
    bucket.modified = NEWER
    bucket.lay(INPUT, b"12345")

    assert cleaning(bucket, ledger).remove()[0].objects == 0
    assert INPUT in keys(bucket)


def test_what_the_store_gives_no_time_for_stays(bucket: FakeBucket, ledger: MemoryLedger) -> None:
    bucket.modified = 0.0
    bucket.lay(INPUT, b"12345")

    cleaning(bucket, ledger).remove()

    assert INPUT in keys(bucket)


def test_a_look_removes_nothing(bucket: FakeBucket, ledger: MemoryLedger) -> None:
    before = keys(bucket)

    found = cleaning(bucket, ledger, results=30).look()

    assert keys(bucket) == before
    assert [(old.objects, old.examples) for old in found] == [(1, [INPUT]), (1, [RESULT])]


@pytest.mark.parametrize("local", [True, False])
def test_an_old_picture_that_an_unfinished_batch_names_is_spared(
    bucket: FakeBucket, ledger: MemoryLedger, local: bool
) -> None:
    open_batch(bucket, ledger, local=local, staged=True)

    inputs = cleaning(bucket, ledger).remove()[0]

    assert (inputs.objects, inputs.spared) == (0, 1)
    assert INPUT in keys(bucket)


def test_no_staged_picture_goes_while_a_batch_still_uploads(bucket: FakeBucket, ledger: MemoryLedger) -> None:
    open_batch(bucket, ledger, local=True, staged=False)

    inputs = cleaning(bucket, ledger).remove()[0]

    assert "autumn still uploads" in inputs.why_not
    assert INPUT in keys(bucket)


def test_a_plan_that_cannot_be_read_stops_everything(bucket: FakeBucket, ledger: MemoryLedger) -> None:
    open_batch(bucket, ledger, local=True, staged=True)
    bucket.failing["get"] = StorageError("away")

    with pytest.raises(StorageError):
        cleaning(bucket, ledger).remove()

    assert INPUT in keys(bucket)
