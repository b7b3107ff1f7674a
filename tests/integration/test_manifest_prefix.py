"""A prefix of a real bucket as a manifest, from the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from config.parts import bucket_of
from config.settings import read_settings
from jobs.bucket.s3 import open_bucket
from producers.cli import run
from producers.stack.local import LocalStack, what_is_wanted
from tests.servers import RunningS3


def test_what_lies_under_a_prefix_of_a_real_bucket_is_planned(
    s3: RunningS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = ("bucket", "endpoint_url", "access_key_id", "secret_access_key", "region")
    settings: dict[str, Any] = {name: getattr(s3, name) for name in names}
    for name, value in settings.items():
        monkeypatch.setenv(f"RETOUCH_S3__{name.upper()}", value)
    bucket = open_bucket(**settings)
    for key in ("oak chair_1.jpg", "oak chair_2.jpg", "sub/Stühle_1.png", "list.csv"):
        bucket.put(f"prefix-manifest/in/{key}", b"x")
    bucket.put("prefix-manifest/input-of-another.jpg", b"x")

    code = run(
        [
            *("plan", f"s3://{s3.bucket}/prefix-manifest/in/", "--json", "--prompt", "the {sku}"),
            *("--pattern", "{sku}_{n}.{ext}", "--output", "{name}/{sku|slug}/{n|pad2}.{ext}"),
        ]
    )

    document = json.loads(capsys.readouterr().out)
    assert (code, document["rows"], document["invalid"]) == (0, 3, 0)
    assert document["manifest"] == f"s3://{s3.bucket}/prefix-manifest/in/"
    assert "1 other file left out" in document["understood"]


def test_a_prefix_of_the_local_store_is_planned_whether_it_runs_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = read_settings()
    wanted = replace(what_is_wanted(settings, simulate=False, with_worker=False), workers=0)
    with LocalStack.open(settings, wanted) as stack:
        bucket_of(stack.settings).put("in/oak_1.jpg", b"x")
        joined = run(["plan", "s3://retouch/in/", "--json", "--prompt", "on white"])
        first = json.loads(capsys.readouterr().out)

    started = run(["plan", "s3://retouch/in/", "--json", "--prompt", "on white"])
    second = json.loads(capsys.readouterr().out)

    assert (joined, started) == (0, 0)
    assert first["rows"] == second["rows"] == 1
    assert first["manifest"] == "s3://retouch/in/"
