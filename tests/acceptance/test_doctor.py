"""`retouch doctor` as a person and a script give it, with one real part that is not as it should be."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from producers.stack.identity import Identity, Secrets, save_identity
from producers.stack.ports import HOST, choose_ports
from running.programs import Command, Document, Said
from tests.acceptance.harness import House
from tests.acceptance.small_disk import small_disk
from tests.acceptance.terminal import person_env
from tests.servers import READER, redis_server, seaweed


def findings(said: Said, verdict: str) -> list[Document]:
    """Return what was found, each held against what a person was told in the other answer."""
    return [found for found in said.document["findings"] if found["verdict"] == verdict]


def one_thing_is_broken(house: House, **more: str) -> Document:
    """Ask twice, as a script and as a person; return the one thing that both are told."""
    script, person = house.begin("doctor", "--json", **more), house.begin("doctor", **more)
    said, shown = script.ended(), person.ended()

    assert (said.code, shown.code) == (3, 3)
    assert (findings(said, "warning"), said.document["ok"]) == ([], False)
    (found,) = findings(said, "broken")
    assert f"BROKEN {found['part']}: {found['sentence']}\n        {found['remedy']}\n" in shown.out
    assert "1 thing to mend" in shown.out
    for secret in (*READER, *more.values()):
        assert secret not in said.out + shown.out + said.err + shown.err
    return found


@pytest.fixture
def healthy(house: House) -> House:
    """A house in which everything is in order, and an API that knows one key."""
    house.simulate("--key", "acceptance-key-0123456789")
    return house


def test_in_a_healthy_house_nothing_is_to_be_mended(healthy: House) -> None:
    said = healthy.retouch("doctor", "--json")

    assert (said.code, said.document["ok"]) == (0, True), said
    assert {found["part"] for found in findings(said, "ok")} == {"packages", "redis", "bucket", "api"}


def test_a_key_that_was_revoked_is_one_sentence_with_the_remedy(healthy: House) -> None:
    found = one_thing_is_broken(healthy, RETOUCH_API__KEYS="a-revoked-key-0123456789")

    assert found["part"] == "api"
    assert "refuses the key" in found["sentence"]
    assert "RETOUCH_API__KEYS" in found["remedy"]


def test_a_bucket_without_rights_is_one_sentence_with_the_remedy(healthy: House, tmp_path: Path) -> None:
    with seaweed(tmp_path / "reader", reader=True) as s3:
        found = one_thing_is_broken(
            healthy,
            RETOUCH_S3__ENDPOINT_URL=s3.endpoint_url,
            RETOUCH_S3__ACCESS_KEY_ID=s3.access_key_id,
            RETOUCH_S3__SECRET_ACCESS_KEY=s3.secret_access_key,
        )

    assert found["sentence"] == f"These credentials may not write in s3://{s3.bucket}."
    assert "s3:PutObject" in found["remedy"]


def test_a_redis_with_eviction_is_one_sentence_with_the_remedy(healthy: House, tmp_path: Path) -> None:
    with redis_server(tmp=tmp_path / "redis", config=["maxmemory 64mb", "maxmemory-policy allkeys-lru"]) as evicting:
        found = one_thing_is_broken(healthy, RETOUCH_REDIS__URL=evicting.url)

    assert "throws away jobs whose edits are paid for" in found["sentence"]
    assert "noeviction" in found["remedy"]


def test_a_redis_without_a_file_and_one_that_is_old_are_told_apart(healthy: House, tmp_path: Path) -> None:
    with redis_server("6.2", tmp=tmp_path / "redis", config=["appendonly no"]) as forgetful:
        said = healthy.retouch("doctor", "--json", RETOUCH_REDIS__URL=forgetful.url)

    (weak,) = findings(said, "warning")
    assert said.code == 0
    assert "no append-only file" in weak["sentence"]
    assert "appendonly yes" in weak["remedy"]
    assert any("Redis 6.2" in found["sentence"] for found in findings(said, "ok"))


# -- the local stack


def person(folder: Path, *, through: tuple[str, ...] = (), **more: str) -> Said:
    """Let somebody ask who has set nothing."""
    return Command(["doctor", "--json"], person_env(**more), folder, through=through).ended()


@pytest.fixture
def taken(tmp_path: Path) -> Iterator[int]:
    """A port that the local stack of `tmp_path` had the last time, and that somebody else listens on now."""
    port = choose_ports({"redis": 1})["redis"]
    (tmp_path / "retouch-data").mkdir()
    save_identity(tmp_path / "retouch-data", Identity(secrets=Secrets.new(), ports={"redis": port}))
    with socket.create_server((HOST, port)):
        yield port


def test_a_port_that_somebody_has_taken_is_named(taken: int, tmp_path: Path) -> None:
    said = person(tmp_path)

    (weak,) = findings(said, "warning")
    assert (said.code, weak["part"]) == (0, "ports")
    assert str(taken) in weak["sentence"]


def test_a_disk_without_room_is_told_before_a_batch_meets_it(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", megabytes=4) as disk:
        said = person(tmp_path, through=tuple(disk.inside))

    (broken,) = findings(said, "broken")
    assert (said.code, broken["part"]) == (3, "folder")
    assert "MB are left" in broken["sentence"]
    assert "Make room" in broken["remedy"]


def test_a_package_of_somebody_else_before_ours_is_named(tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    (other / "simulator").mkdir(parents=True)
    (other / "simulator" / "__init__.py").touch()
    env: Mapping[str, str] = person_env()

    said = person(tmp_path, PYTHONPATH=os.pathsep.join([str(other), env["PYTHONPATH"]]))

    (broken,) = findings(said, "broken")
    assert (said.code, broken["part"]) == (3, "packages")
    assert str(other / "simulator") in broken["sentence"]
    assert json.dumps(str(other))[1:-1] in broken["remedy"]
