"""`stack.json`, and the settings that follow from it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from config.settings import read_settings
from producers.stack.identity import Secrets
from producers.stack.part import python_env
from producers.stack.parts import ports_file_of
from producers.stack.record import FILE, Record, environment_of, with_sections
from producers.stack.servers import server_sections

API = {
    "base_url": "http://127.0.0.1:9000",
    "trusted_hosts": ["127.0.0.1:9000", "127.0.0.1:9001"],
    "keys": ["simulated-key"],
    "keys_file": None,
}
AS_READ_BY_A_CHILD = """
import json
from config.settings import read_settings
s = read_settings()
print(json.dumps([
    s.model_dump(mode="json"),
    [key.get_secret_value() for key in s.api.all_keys()],
    s.redis.url and s.redis.url.get_secret_value(),
    s.s3.secret_access_key and s.s3.secret_access_key.get_secret_value(),
]))
"""


def record(owner: int) -> Record:
    return Record(owner=owner, state="ready", started_at="2026-01-01T00:00:00+00:00", servers=("redis",), workers=1)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = record(os.getpid())

    written.write(tmp_path)

    assert Record.read(tmp_path) == Record(
        owner=written.owner, state="ready", started_at=written.started_at, servers=("redis",), workers=1, parts=[]
    )


def test_a_record_is_for_this_user_alone(tmp_path: Path) -> None:
    record(os.getpid()).write(tmp_path)

    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_the_record_of_a_dead_owner_is_stale(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    record(ended.pid).write(tmp_path)

    assert Record.read(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 2}', '{"version": 1, "owner": 1}'])
def test_a_record_that_cannot_be_understood_is_no_record(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)

    assert Record.read(tmp_path) is None


def test_a_new_api_has_its_own_origin_though_the_old_one_was_looked_at() -> None:
    settings = read_settings(_env_file=None)
    assert settings.api.origin == "bfl"

    joined = with_sections(settings, {"api": API})

    assert joined.api.origin == "127.0.0.1:9000"


def test_a_real_key_does_not_come_along_to_the_simulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "keys").write_text("key-from-a-file\n")
    monkeypatch.setenv("BFL_API_KEY", "key-of-the-tools")
    monkeypatch.setenv("RETOUCH_API__KEYS_FILE", str(tmp_path / "keys"))
    settings = read_settings(_env_file=None)

    joined = with_sections(settings, {"api": API})

    assert [key.get_secret_value() for key in joined.api.all_keys()] == ["simulated-key"]
    assert "key-" not in json.dumps(sorted(environment_of(joined).items())).replace("simulated-key", "")


def test_a_child_reads_exactly_the_settings_of_its_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETOUCH_S3__REGION", "elsewhere")
    settings = with_sections(
        read_settings(_env_file=None, data_dir=Path("data"), s3={"bucket": "b", "input_buckets": ["one", "two"]}),
        {
            "redis": {"url": "redis://:secret@127.0.0.1:1/0"},
            "s3": {"access_key_id": "A", "secret_access_key": 'quo"te, comma', "region": None},
            "api": API,
        },
    )

    said = subprocess.run(
        [sys.executable, "-P", "-c", AS_READ_BY_A_CHILD],
        env=environment_of(settings),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    tree, keys, url, secret = json.loads(said)

    expected = settings.model_dump(mode="json")
    places = {"data_dir": "data", "out_dir": "retouch-out", "schedules": "schedules.toml"}
    expected |= {name: str(Path(place).absolute()) for name, place in places.items()}
    assert tree == expected
    assert tree["s3"]["region"] is None
    assert keys == ["simulated-key"]
    assert url == "redis://:secret@127.0.0.1:1/0"
    assert secret == 'quo"te, comma'


def test_accounts_of_real_keys_do_not_come_along_to_the_simulator(tmp_path: Path) -> None:
    settings = read_settings(_env_file=None, api={"accounts": {"0a1b2c3d": "main", "ffffffff": "studio"}})
    ports_file_of(tmp_path).parent.mkdir()
    ports_file_of(tmp_path).write_text(json.dumps(API))

    joined = with_sections(settings, server_sections(tmp_path, ports={"simulator": 9000}, secrets=Secrets.new()))

    assert (joined.api.account_names, joined.api.account_of("0a1b2c3d")) == (("main",), "main")


def test_a_child_reads_the_accounts_of_its_parents_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    accounts = {"0a1b2c3d": "main", "ffffffff": "studio"}
    environment = environment_of(read_settings(_env_file=None, api={"accounts": accounts}))

    monkeypatch.setenv("RETOUCH_API__ACCOUNTS", environment["RETOUCH_API__ACCOUNTS"])

    assert read_settings(_env_file=None).api.accounts == accounts


def test_the_environment_of_a_child_goes_around_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "internal")

    env = python_env()

    assert env["NO_PROXY"] == "internal,127.0.0.1,localhost"
