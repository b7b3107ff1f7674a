"""A batch of 1,000,000 rows that is cancelled before its first edit: report, `status` and `retry` stay small."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from running.programs import Command, Said, eventually
from tests.acceptance.harness import MODEL, House
from tests.long.conftest import Tell

LONGEST_S = 1_800.0
COMMAND_MB = 200
WORKER_MB = 300

pytestmark = pytest.mark.timeout(7_200)


def shop(house: House, rows: int) -> Path:
    """Write a manifest of so many different edits of one picture in the bucket."""
    image, path = house.picture_in_bucket(), house.folder / "million.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "image", "model", "prompt"))
        writer.writerows((f"row-{n:07d}", image, MODEL, f"Put it on marble, view {n}") for n in range(rows))
    return path


def test_report_status_and_retry_of_a_million_rows_stay_small(house: House, scale_rows: int, tell: Tell) -> None:
    house.simulate()
    took: dict[str, tuple[float, int]] = {}

    def given(*arguments: str | Path) -> Said:
        words: Sequence[str] = [str(argument) for argument in arguments]
        began = time.monotonic()
        said = Command(words, house.env(), house.folder, measured=True).ended(LONGEST_S)
        took[words[0]] = round(time.monotonic() - began, 1), said.memory // 1_000_000
        return said

    batch = str(given(*house.submission(shop(house, scale_rows))).document["batch"])
    status = given("status", batch, "--json").document
    assert given("cancel", batch, "--yes").code == 0
    worker = house.worker()
    began = time.monotonic()
    house.finished(batch, LONGEST_S)
    reported_s, worker_mb = round(time.monotonic() - began, 1), worker.memory // 1_000_000
    eventually(lambda: not house.redis.exists(f"retouch:batch:{batch}"), 60, "Redis has let go of the batch")
    worker.kill()
    report = house.servers.bucket.get(f"{house.prefix}batches/{batch}/summary.json")
    again = given("retry", batch, "--yes", "--json")
    tell(
        **{name.replace("-", "_"): f"{seconds} s, {mb} MB" for name, (seconds, mb) in took.items()},
        report=f"{reported_s} s from the worker's start, {worker_mb} MB",
        redis=f"{house.redis.info('memory')['used_memory'] / 1e6:.1f} MB",
    )

    assert status["rows"] == scale_rows
    assert json.loads(report)["counts"]["cancelled"] == scale_rows
    assert again.code == 0, again
    assert again.document["rows"] == scale_rows
    assert {name: mb for name, (_, mb) in took.items() if mb > COMMAND_MB} == {}
    assert worker_mb < WORKER_MB
