"""`retouch doctor` against a real Redis, a real S3 store and the simulator, each with something wrong."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import SecretStr

from config.settings import read_settings
from jobs.bucket.layout import Layout
from jobs.bucket.s3 import open_bucket
from producers.cli import run
from producers.doctor.api_part import look_at_api
from producers.doctor.bucket_part import look_at_bucket
from producers.doctor.examine import examine
from producers.doctor.findings import Finding, Verdict
from producers.doctor.redis_part import look_at_redis
from producers.stack.storage import BUCKET
from simulator.options import Options
from simulator.threaded import running
from tests.servers import RunningRedis, RunningS3, redis_server, seaweed

GOOD, REVOKED = "a-good-key-123", "a-revoked-key-456"


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RunningRedis]:
    with redis_server(tmp=tmp_path) as running_redis:
        yield running_redis


@pytest.fixture(scope="module")
def readable_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Yield what `open_bucket` takes for a user who may list and read, and nothing else."""
    with seaweed(tmp_path_factory.mktemp("reader"), reader=True) as running_s3:
        names = ("bucket", "endpoint_url", "access_key_id", "secret_access_key", "region")
        yield {name: getattr(running_s3, name) for name in names}


@pytest.fixture(scope="module")
def api() -> Iterator[str]:
    with running(Options(port=0, keys=(GOOD,))) as addresses:
        yield addresses.base_url


def bad(findings: Sequence[Finding]) -> list[tuple[Verdict, str, str]]:
    return [(f.verdict, f.sentence, f.remedy) for f in findings if f.verdict != Verdict.OK]


def test_a_redis_like_the_local_stacks_is_in_order(own_redis: RunningRedis) -> None:
    found = look_at_redis(own_redis.url)

    assert bad(found) == []
    assert any("fsync always" in finding.sentence for finding in found)


def test_a_redis_with_eviction_is_told_in_one_sentence_with_the_remedy(own_redis: RunningRedis) -> None:
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", "64mb")

    found = bad(look_at_redis(own_redis.url))

    sentence = "Redis throws away jobs whose edits are paid for when its memory is full (maxmemory-policy allkeys-lru)."
    assert found == [(Verdict.BROKEN, sentence, "Set `maxmemory-policy noeviction` (CONFIG SET, and in redis.conf).")]


def test_a_redis_that_is_nearly_full_says_what_will_happen(own_redis: RunningRedis) -> None:
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("maxmemory", int(client.info()["used_memory"] * 1.1))

    found = bad(look_at_redis(own_redis.url))

    assert [verdict for verdict, _, _ in found] == [Verdict.WARNING]
    assert "no new edit is begun" in found[0][1]
    assert "Raise maxmemory" in found[0][2]


@pytest.mark.parametrize(
    ("setting", "value", "costs"),
    [
        ("appendonly", "no", "paid for and lost"),
        ("appendfsync", "everysec", "last second"),
        ("appendfsync", "no", "half"),
    ],
)
def test_a_redis_that_may_forget_says_what_that_costs(
    own_redis: RunningRedis, setting: str, value: str, costs: str
) -> None:
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set(setting, value)

    found = bad(look_at_redis(own_redis.url))

    assert [verdict for verdict, _, _ in found] == [Verdict.WARNING]
    assert costs in found[0][1]
    assert "append" in found[0][2]


def test_a_wrong_password_of_redis_is_named_and_not_shown(own_redis: RunningRedis) -> None:
    url = f"redis://:wrong-password@127.0.0.1:{own_redis.port}/0"

    found = look_at_redis(url)

    assert bad(found) == [(Verdict.BROKEN, "Redis refuses the password.", found[0].remedy)]
    assert "wrong-password" not in repr(found)


def test_a_redis_that_is_away_is_one_finding(own_redis: RunningRedis) -> None:
    own_redis.stop()

    found = look_at_redis(own_redis.url)

    assert [finding.verdict for finding in found] == [Verdict.BROKEN]
    assert "does not answer" in found[0].sentence
    assert "RETOUCH_REDIS__URL" in found[0].remedy


def test_a_bucket_with_every_right_is_in_order_and_stays_empty(s3_keywords: dict[str, Any]) -> None:
    bucket = open_bucket(**s3_keywords)

    found = look_at_bucket(bucket, Layout("doctor-all/"))

    assert bad(found) == []
    assert any("conditional" in finding.sentence for finding in found)
    assert list(bucket.keys("doctor-all/")) == []


def test_a_bucket_without_rights_is_told_in_one_sentence_with_the_remedy(readable_only: dict[str, Any]) -> None:
    bucket = open_bucket(**readable_only)

    found = bad(look_at_bucket(bucket, Layout("retouch/")))

    sentence = f"These credentials may not write in s3://{BUCKET}."
    assert found == [(Verdict.BROKEN, sentence, "Give them s3:PutObject on the bucket.")]


@pytest.mark.parametrize(
    ("wrong", "variable"),
    [
        ({"secret_access_key": "wrong"}, "RETOUCH_S3__SECRET_ACCESS_KEY"),
        ({"access_key_id": "NOBODYNOBODY"}, "RETOUCH_S3__ACCESS_KEY_ID"),
        ({"bucket": "no-such-bucket"}, "RETOUCH_S3__BUCKET"),
        ({"endpoint_url": "http://127.0.0.1:1"}, "RETOUCH_S3__ENDPOINT_URL"),
    ],
)
def test_a_bucket_that_cannot_be_used_at_all_is_one_finding(
    s3_keywords: dict[str, Any], wrong: dict[str, str], variable: str
) -> None:
    bucket = open_bucket(**{**s3_keywords, **wrong})

    found = look_at_bucket(bucket, Layout("doctor-none/"))

    assert [finding.verdict for finding in found] == [Verdict.BROKEN]
    assert variable in found[0].remedy
    assert "wrong" not in found[0].sentence


def test_a_revoked_key_is_told_in_one_sentence_with_the_remedy(api: str) -> None:
    found = look_at_api(api, [SecretStr(REVOKED)])

    assert [finding.verdict for finding in found] == [Verdict.BROKEN]
    assert found[0].sentence.endswith("(403): it was revoked or is misspelt.")
    assert "RETOUCH_API__KEYS" in found[0].remedy
    assert REVOKED not in repr(found)


def test_a_good_key_says_what_it_is_worth(api: str) -> None:
    found = look_at_api(api, [SecretStr(GOOD)])

    assert bad(found) == []
    assert found[0].sentence.endswith("is good and has $1,000.00 left.")


def test_each_key_is_looked_at_by_itself(api: str) -> None:
    found = look_at_api(api, [SecretStr(GOOD), SecretStr(REVOKED)])

    assert [finding.verdict for finding in found] == [Verdict.OK, Verdict.BROKEN]


def test_a_key_without_credits_is_broken() -> None:
    with running(Options(port=0, credits=0)) as addresses:
        found = look_at_api(addresses.base_url, [SecretStr(GOOD)])

    assert [finding.verdict for finding in found] == [Verdict.BROKEN]
    assert "no credits" in found[0].sentence


def test_a_host_that_is_not_the_api_gets_said_so(s3: RunningS3) -> None:
    found = look_at_api(s3.endpoint_url, [SecretStr(GOOD)])

    assert [finding.verdict for finding in found] == [Verdict.BROKEN]
    assert "RETOUCH_API__BASE_URL" in found[0].remedy


def test_the_command_ends_with_3_and_one_document_where_something_is_broken(
    own_redis: RunningRedis,
    s3: RunningS3,
    api: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    call = _command(own_redis, s3, api, monkeypatch, capsys, tmp_path)

    code, found = call(RETOUCH_API__KEYS=REVOKED)

    assert code == 3
    assert found["ok"] is False
    assert [f["part"] for f in found["findings"] if f["verdict"] == "broken"] == ["api"]
    assert all(f["remedy"] for f in found["findings"] if f["verdict"] != "ok")


def test_the_command_ends_with_0_where_all_is_well(
    own_redis: RunningRedis,
    s3: RunningS3,
    api: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    call = _command(own_redis, s3, api, monkeypatch, capsys, tmp_path)

    code, found = call(RETOUCH_API__KEYS=GOOD)

    assert (code, found["ok"]) == (0, True)
    assert {f["part"] for f in found["findings"]} == {"packages", "redis", "bucket", "api"}


def test_without_any_setting_nothing_is_started_and_the_local_stack_is_looked_at(tmp_path: Path) -> None:
    settings = read_settings(data_dir=tmp_path / "data")

    found = examine(settings)

    assert bad(found) == []
    assert {finding.part for finding in found} == {"packages", "redis", "storage", "folder", "ports", "api"}
    assert not (tmp_path / "data").exists()


def _command(
    own_redis: RunningRedis,
    s3: RunningS3,
    api: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    folder: Path,
) -> Callable[..., tuple[int, Any]]:
    settings = {
        "RETOUCH_REDIS__URL": own_redis.url,
        "RETOUCH_S3__BUCKET": s3.bucket,
        "RETOUCH_S3__ENDPOINT_URL": s3.endpoint_url,
        "RETOUCH_S3__ACCESS_KEY_ID": s3.access_key_id,
        "RETOUCH_S3__SECRET_ACCESS_KEY": s3.secret_access_key,
        "RETOUCH_S3__REGION": s3.region,
        "RETOUCH_S3__PREFIX": "doctor-command/",
        "RETOUCH_API__BASE_URL": api,
    }
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.stdin", io.StringIO())

    def call(**more: str) -> tuple[int, Any]:
        for name, value in {**settings, **more}.items():
            monkeypatch.setenv(name, value)
        code = run(["doctor", "--json"])
        return code, json.loads(capsys.readouterr().out)

    return call
