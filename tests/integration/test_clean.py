"""`retouch clean` on a real Redis and a real S3 store, whose objects are as old as the test."""

from __future__ import annotations

import io
import json
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from config.catalogue import shipped_catalogue
from jobs.bucket.layout import Layout
from jobs.bucket.s3 import open_bucket
from jobs.ledger.memory import MemoryLedger
from producers.clean import DAY_S, Cleaning
from producers.cli import run


def test_the_store_says_when_an_object_was_written(s3_keywords: dict[str, Any]) -> None:
    bucket, prefix = open_bucket(**s3_keywords), f"{uuid.uuid4().hex}/"

    bucket.put(f"{prefix}a", b"1")

    (head,) = bucket.keys(prefix)
    assert abs(head.modified - time.time()) < 60


def test_objects_of_a_real_store_go_once_their_days_have_passed(s3_keywords: dict[str, Any]) -> None:
    bucket, layout = open_bucket(**s3_keywords), Layout(f"{uuid.uuid4().hex}/")
    bucket.put(layout.staged("aa11", "jpg"), b"12345")
    bucket.put(f"{layout.prefix}batches/autumn/batch.json", b"{}")

    def removed_after(days: float) -> int:
        ledger = MemoryLedger(shipped_catalogue(), clock=lambda: time.time() + days * DAY_S)
        cleaning = Cleaning(bucket=bucket, layout=layout, ledger=ledger, inputs_days=30, results_days=None)
        return cleaning.remove()[0].objects

    assert removed_after(29) == 0
    assert removed_after(31) == 1
    assert [head.key for head in bucket.keys(layout.prefix)] == [f"{layout.prefix}batches/autumn/batch.json"]


def test_the_command_says_what_it_would_remove_and_removes_nothing_by_itself(
    s3_keywords: dict[str, Any],
    clean_redis: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setenv("RETOUCH_REDIS__URL", clean_redis)
    monkeypatch.setenv("RETOUCH_S3__PREFIX", f"{uuid.uuid4().hex}/")
    for name, value in s3_keywords.items():
        monkeypatch.setenv(f"RETOUCH_S3__{name.upper()}", value)

    code = run(["clean", "--dry-run", "--json"])

    found = json.loads(capsys.readouterr().out)
    assert code == 0
    assert found["removed"] is False
    assert found["inputs"] == {"days": 30, "objects": 0, "bytes": 0, "spared": 0, "why_not": ""}
    assert found["results"]["days"] is None
