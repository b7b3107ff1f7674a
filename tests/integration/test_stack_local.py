"""The local stack of a folder, with its real Redis, its real store and its real simulator."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import redis

from config.settings import Settings, SettingsError, read_settings
from producers.stack import local, parts
from producers.stack.binaries import packaged_redis
from producers.stack.errors import StackError
from producers.stack.identity import Secrets
from producers.stack.local import LocalStack, Wanted, find_running, running_record
from producers.stack.lock import LOCK_FILE
from producers.stack.part import python_env
from producers.stack.parts import redis_part
from producers.stack.record import FILE, Record
from tests.servers import is_running, redis_server, wait_until

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

REDIS = Wanted(redis=True, storage=False, simulator=False, workers=0)
SERVERS = Wanted(redis=True, storage=True, simulator=True, workers=0)
SLEEPER = (sys.executable, "-c", "import time; time.sleep(600)")
OWNER = """
import sys, time
from pathlib import Path
from config.settings import read_settings
from producers.stack.local import LocalStack, Wanted
servers = set(sys.argv[2].split(","))
wanted = Wanted(
    redis="redis" in servers, storage="storage" in servers, simulator="simulator" in servers, workers=0
)
with LocalStack.open(read_settings(_env_file=None, data_dir=Path(sys.argv[1])), wanted) as stack:
    print("ready", flush=True)
    sys.stdin.read()
"""


def settings_in(folder: Path, **more: Any) -> Settings:
    return read_settings(_env_file=None, data_dir=folder / "data", **more)


@contextmanager
def owned_by_another(settings: Settings, servers: str) -> Iterator[subprocess.Popen[str]]:
    """Let another process own the stack; it lets go of it when its standard input is closed."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(settings.data_dir), servers],
        env=python_env(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        try:
            assert owner.stdout.readline() == "ready\n"
            yield owner
        finally:
            owner.kill()


@contextmanager
def connected(settings: Settings) -> Iterator[redis.Redis]:
    assert settings.redis.url is not None
    with redis.Redis.from_url(settings.redis.url.get_secret_value()) as client:
        yield client


def store_of(settings: Settings) -> S3Client:
    s3 = settings.s3
    assert s3.access_key_id is not None
    assert s3.secret_access_key is not None
    return boto3.Session().client(
        "s3",
        endpoint_url=s3.endpoint_url,
        aws_access_key_id=s3.access_key_id.get_secret_value(),
        aws_secret_access_key=s3.secret_access_key.get_secret_value(),
        region_name=s3.region,
    )


def get(settings: Settings, key: str) -> bytes:
    with closing(store_of(settings)) as client, closing(client.get_object(Bucket="retouch", Key=key)["Body"]) as body:
        return body.read()


def put(settings: Settings, key: str, content: bytes) -> None:
    with closing(store_of(settings)) as client:
        client.put_object(Bucket="retouch", Key=key, Body=content)


def record_in(settings: Settings) -> Record:
    found = running_record(settings_in(settings.data_dir.parent))
    assert found is not None
    return found


def test_the_whole_stack_dies_with_a_killed_owner_and_comes_back_with_its_data(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with owned_by_another(settings, "redis,storage,simulator") as owner:
        before = find_running(settings)
        assert before is not None
        with connected(before) as client:
            client.set("answered", "yes")
        put(before, "answered", b"yes")
        pids = [part.pid for part in record_in(settings).parts]
        assert len(pids) == 3

        owner.kill()

        wait_until(lambda: not any(map(is_running, pids)), what="the parts to follow their owner")

    with LocalStack.open(settings, SERVERS) as stack:
        assert stack.owner
        assert stack.simulated
        assert stack.settings == before
        with connected(stack.settings) as client:
            assert client.get("answered") == b"yes"
        assert get(stack.settings, "answered") == b"yes"


def test_a_second_command_joins_with_the_same_settings_and_stops_nothing(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with LocalStack.open(settings, REDIS) as first:
        with LocalStack.open(settings, REDIS) as second:
            assert (first.owner, second.owner) == (True, False)
            assert second.settings == first.settings

        with connected(first.settings) as client:
            assert client.ping()


def test_a_redis_that_is_killed_comes_back_under_its_address_with_its_data(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with LocalStack.open(settings, REDIS) as stack:
        before = stack.pids()["redis"]
        with connected(stack.settings) as client:
            client.set("answered", "yes")

        os.kill(before, signal.SIGKILL)

        wait_until(lambda: stack.pids().get("redis", before) != before, what="a new Redis")
        wait_until(lambda: _answered(stack.settings), what="the data")
        published = json.loads((settings.data_dir / FILE).read_text())["parts"]
        assert [part["pid"] for part in published] == [stack.pids()["redis"]]
        assert stack.alive()


def _answered(settings: Settings) -> bool:
    with connected(settings) as client:
        try:
            return bool(client.get("answered") == b"yes")
        except redis.ConnectionError:
            return False


def test_a_joined_command_takes_over_when_the_owner_is_killed(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, s3={"bucket": "b"})
    said: list[str] = []
    with owned_by_another(settings, "redis") as owner, LocalStack.open(settings, REDIS, notify=said.append) as heir:
        with connected(heir.settings) as client:
            client.set("answered", "yes")
        joined = heir.settings

        owner.kill()

        wait_until(lambda: len(said) == 1, what="the handing over")
        assert said == ["the command that ran the local stack has ended; this one runs it from here on"]
        assert heir.owner
        assert heir.settings == joined
        assert _answered(joined)
        assert find_running(settings) == joined


def test_an_heir_starts_the_workers_that_were_the_owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "WORKER_COMMAND", SLEEPER)
    settings = settings_in(tmp_path)
    wanted = replace(REDIS, workers=1)
    first = LocalStack.open(settings, wanted)
    with closing(first), LocalStack.open(settings, wanted) as second:
        assert "worker-1" in first.pids()
        assert second.pids() == {}

        first.close()

        wait_until(lambda: len(second.pids()) == 2, what="a Redis and a worker of its own")


def test_a_joined_command_adds_the_workers_that_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "WORKER_COMMAND", SLEEPER)
    settings = settings_in(tmp_path)

    with LocalStack.open(settings, REDIS), LocalStack.open(settings, replace(REDIS, workers=1)) as second:
        assert list(second.pids()) == [f"worker-{os.getpid()}-1"]


def test_a_beat_and_an_intake_are_added_by_whoever_wants_them_and_inherited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "COMMAND", SLEEPER)
    settings = settings_in(tmp_path)
    wanted = replace(REDIS, intake=True)
    first = LocalStack.open(settings, wanted)
    with closing(first), LocalStack.open(settings, wanted) as second:
        assert {"intake", "beat"} < first.pids().keys()
        assert second.pids() == {}

        first.close()

        wait_until(lambda: second.pids().keys() == {"redis", "intake", "beat"}, what="what was the other's")


def test_a_beat_and_an_intake_get_no_key_of_the_api_and_find_the_stack_by_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "import json, os, time; print(json.dumps(dict(os.environ)), flush=True); time.sleep(600)"
    monkeypatch.setattr(parts, "COMMAND", (sys.executable, "-c", script))
    settings = settings_in(tmp_path, api={"keys": "a-real-key"}, heartbeat_file=tmp_path / "heart")
    log = settings.data_dir / "logs" / "beat.log"

    with LocalStack.open(settings, replace(REDIS, intake=True)):
        wait_until(lambda: log.read_text().endswith("\n"), what="the beat")

    env = json.loads(log.read_text())
    assert env["RETOUCH_DATA_DIR"] == str(settings.data_dir.absolute())
    assert "a-real-key" not in log.read_text()
    assert {"RETOUCH_REDIS__URL", "RETOUCH_S3__BUCKET", "RETOUCH_HEARTBEAT_FILE"}.isdisjoint(env)


def test_what_is_stopped_early_stays_stopped_while_the_rest_runs_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "COMMAND", SLEEPER)
    said: list[str] = []
    with LocalStack.open(settings_in(tmp_path), replace(REDIS, intake=True), notify=said.append) as stack:
        stack.stop_intake()

        os.kill(stack.pids()["redis"], signal.SIGKILL)
        wait_until(lambda: bool(said), what="a new Redis, by which time others would have been looked after too")

        assert stack.pids().keys() == {"redis"}
        assert said == ["redis was killed by signal 9 by itself and was started again"]


def test_workers_beside_a_redis_of_ones_own_need_no_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "WORKER_COMMAND", SLEEPER)
    settings = settings_in(tmp_path, redis={"url": "redis://redis.internal/0"}, s3={"bucket": "b"})

    with LocalStack.open(settings, Wanted(redis=False, storage=False, simulator=False, workers=2)) as stack:
        assert sorted(stack.pids()) == [f"worker-{os.getpid()}-{n}" for n in (1, 2)]
        assert stack.settings == settings
        assert not (settings.data_dir / LOCK_FILE).exists()


def test_a_stale_record_of_a_dead_owner_is_ignored(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with LocalStack.open(settings, REDIS):
        stale = (settings.data_dir / FILE).read_text()
    (settings.data_dir / FILE).write_text(stale)

    assert find_running(settings) is None
    with LocalStack.open(settings, REDIS) as stack:
        assert stack.owner


def test_a_stack_that_another_command_is_starting_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "JOIN_WITHIN_S", 0.3)
    settings = settings_in(tmp_path)
    settings.data_dir.mkdir()
    said: list[str] = []
    with (settings.data_dir / LOCK_FILE).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        Record(owner=os.getpid(), state="starting", started_at="", servers=("redis",), workers=0).write(
            settings.data_dir
        )

        with pytest.raises(StackError, match="did not become ready within"):
            LocalStack.open(settings, REDIS, notify=said.append)

    assert said == ["waiting for the local stack that another command is starting"]


def test_the_lock_of_an_owner_that_died_while_starting_is_taken(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    settings.data_dir.mkdir()
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    Record(owner=ended.pid, state="starting", started_at="", servers=("redis",), workers=0).write(settings.data_dir)

    with LocalStack.open(settings, REDIS) as stack:
        assert stack.owner


def test_a_stack_of_another_kind_is_not_joined(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with (
        LocalStack.open(settings, REDIS),
        pytest.raises(SettingsError, match=r"with redis, but this command needs redis, simulator.*RETOUCH_DATA_DIR"),
    ):
        LocalStack.open(settings, replace(REDIS, simulator=True))


def test_looking_for_a_stack_makes_no_folder(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)

    assert find_running(settings) is None

    assert not settings.data_dir.exists()


def test_a_stack_is_not_found_by_a_command_that_has_a_redis_of_its_own(tmp_path: Path) -> None:
    bucket = {"bucket": "b"}
    with LocalStack.open(settings_in(tmp_path, s3=bucket), REDIS):
        assert find_running(settings_in(tmp_path, s3=bucket)) is not None
        assert find_running(settings_in(tmp_path, s3=bucket, redis={"url": "redis://redis.internal/0"})) is None


def test_a_closed_stack_leaves_no_process_no_record_and_a_free_lock(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    stack = LocalStack.open(settings, REDIS)
    pids = list(stack.pids().values())

    stack.close()

    assert not any(map(is_running, pids))
    assert not (settings.data_dir / FILE).exists()
    assert find_running(settings) is None


def test_a_part_that_does_not_start_takes_the_others_down_and_gives_the_lock_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_in(tmp_path)
    wanted = replace(REDIS, simulator=True)

    with pytest.raises(StackError, match="simulator ended with code 2 before it was ready"):
        LocalStack.open(settings, wanted, simulator_args=["--no-such-option"])

    assert not (settings.data_dir / FILE).exists()
    with LocalStack.open(settings, REDIS) as stack:
        assert stack.owner


def test_no_secret_is_on_a_command_line_or_in_a_file_that_others_can_read(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with LocalStack.open(settings, SERVERS) as stack:
        assert stack.settings.redis.url is not None
        assert stack.settings.s3.secret_access_key is not None
        secrets = [
            stack.settings.redis.url.get_secret_value().split("@")[0].removeprefix("redis://:"),
            stack.settings.s3.secret_access_key.get_secret_value(),
        ]
        lines = [Path(f"/proc/{pid}/cmdline").read_bytes().decode() for pid in stack.pids().values()]
        files = [path for path in settings.data_dir.rglob("*") if path.is_file()]
        holding = {path: path.read_text("latin-1") for path in files}
        modes = {
            path.name: path.stat().st_mode & 0o777
            for path, text in holding.items()
            if any(secret in text for secret in secrets)
        }

    assert not [line for line in lines if any(secret in line for secret in secrets)]
    assert modes.keys() >= {"redis.conf", "s3.json", "stack.json"}
    assert set(modes.values()) == {0o600}


def test_the_store_turns_away_whoever_has_no_key(tmp_path: Path) -> None:
    wanted = Wanted(redis=False, storage=True, simulator=False, workers=0)
    with LocalStack.open(settings_in(tmp_path), wanted) as stack:
        stranger = stack.settings.s3.model_copy(update={"secret_access_key": stack.settings.s3.access_key_id})

        with pytest.raises(Exception, match="SignatureDoesNotMatch"):
            put(stack.settings.model_copy(update={"s3": stranger}), "x", b"")


def test_a_redis_keeps_every_answered_write_and_evicts_nothing(tmp_path: Path) -> None:
    with LocalStack.open(settings_in(tmp_path), REDIS) as stack, connected(stack.settings) as client:
        asked: dict[str | None, str | None] = {}
        for name in ("append*", "maxmemory-policy", "save", "bind"):  # Redis 6.2 takes one at a time
            asked |= client.config_get(name)

    assert asked["appendonly"] == "yes"
    assert asked["appendfsync"] == "always"
    assert asked["maxmemory-policy"] == "noeviction"
    assert asked["save"] == ""
    assert asked["bind"] == "127.0.0.1"


def test_data_of_a_newer_redis_is_not_opened_as_an_empty_one(tmp_path: Path) -> None:
    with redis_server("7", tmp=tmp_path) as running, redis.Redis.from_url(running.url) as client:
        client.set("answered", "yes")
    older = packaged_redis()
    if not older:
        pytest.skip("the packaged Redis is not installed")

    with pytest.raises(StackError, match="written by Redis 7 or later"):
        redis_part(tmp_path, server=older[0], port=12_345, secrets=Secrets.new())


@pytest.mark.parametrize("version", ["6.2", "7"])
def test_each_redis_that_is_supported_keeps_its_data_through_a_kill(tmp_path: Path, version: Any) -> None:
    with redis_server(version, tmp=tmp_path) as running, redis.Redis.from_url(running.url) as client:
        client.set("answered", "yes")

        running.kill9()
        running.start()

        assert client.get("answered") == b"yes"
        assert client.info("server")["redis_version"].startswith(version)


def test_a_folder_with_spaces_and_umlauts_is_as_good_as_any(tmp_path: Path) -> None:
    folder = tmp_path / 'Stühle "neu"'
    folder.mkdir()

    with LocalStack.open(settings_in(folder), SERVERS) as stack:
        put(stack.settings, "x", b"y")
        assert get(stack.settings, "x") == b"y"

    shutil.rmtree(folder)
