"""The main job: a manifest goes in, every edited image comes out in the bucket, each bought once."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest

from jobs.ledger.keys import DOCUMENTED, PREFIX
from jobs.queues import KEY_PREFIX
from producers.stack.part import python_env
from running.programs import KEY, eventually
from tests.acceptance.harness import MODEL, House, opened, picture

LASTING = re.compile(r"_kombu\.binding.*")
"""Which queues there are is all that Celery keeps."""


def ids_of(rows: Iterable[dict[str, str]]) -> list[str]:
    return [row["id"] for row in rows]


def keys_left(house: House) -> list[str]:
    """Return the keys that have no business in Redis once every batch has ended."""
    known = [(re.compile(re.sub(r"<\w+>", "[^:]+", pattern)), removed_by) for pattern, _, removed_by in DOCUMENTED]
    patterns = [pattern for pattern, _ in known]
    staying = [pattern for pattern, removed_by in known if removed_by.startswith("never")]
    left = []
    for key in house.redis.scan_iter(count=1000):
        if any(p.fullmatch(key.removeprefix(PREFIX)) for p in staying):
            continue
        if key.startswith(KEY_PREFIX):
            if not LASTING.fullmatch(key.removeprefix(KEY_PREFIX)):
                left.append(key)
        elif house.redis.ttl(key) == -1 or not any(p.fullmatch(key.removeprefix(PREFIX)) for p in patterns):
            left.append(key)
    return sorted(left)


def test_300_rows_over_24_slots_are_stored_as_delivered_and_nothing_hot_is_left_in_redis(house: House) -> None:
    house.simulate("--latency", "2")
    house.workers(2)
    for shade in range(10):
        (house.folder / f"chair-{shade}.png").write_bytes(picture(shade))
    rows = [
        {"id": f"row-{n:03d}", "image": f"chair-{n % 10}.png", "prompt": f"on white, view {n}", "model": MODEL}
        for n in range(300)
    ]

    batch = house.submit(house.manifest(rows))
    books = house.ended(batch, 120)

    books.check(ids_of(rows))
    assert books.states == {"stored": 300}
    assert books.peak == 24
    assert set(books.charged.values()) == {1}
    assert (len(books.charged), books.api["posts"]) == (300, 300)
    assert books.in_doubt() == set()
    assert books.api["answers"] == {"200": 300}
    eventually(lambda: not keys_left(house), 15, lambda: f"Redis holds nothing that lasts: {keys_left(house)}")


def test_50_identical_rows_are_one_charge(house: House) -> None:
    house.simulate("--latency", "1")
    house.workers(2)
    rows = house.rows(50, prompt="put it on white")

    books = house.ended(house.submit(house.manifest(rows)), 90)

    books.check(ids_of(rows))
    assert books.states == {"stored": 1, "unchanged": 49}
    assert books.api["posts"] == 1
    assert list(books.charged.values()) == [1]
    assert len(set(books.objects)) == 50
    assert len(set(books.objects.values())) == 1


def test_one_manifest_submitted_twice_at_once_is_one_charge_an_edit(house: House) -> None:
    house.simulate("--latency", "1")
    house.workers(2)
    rows = house.rows(40)
    manifest = house.manifest(rows)

    commands = [house.begin(*house.submission(manifest)) for _ in range(2)]
    batches = [opened(command) for command in commands]
    first, second = [house.ended(batch, 120) for batch in batches]

    for books in (first, second):
        books.check(ids_of(rows))
        assert set(books.states) <= {"stored", "unchanged"}
    assert batches[0] != batches[1]
    assert first.states["stored"] + second.states["stored"] == 40
    assert set(second.charged.values()) == {1}
    assert (len(second.charged), second.api["posts"]) == (40, 40)


def test_the_same_manifest_again_is_free_and_on_another_api_it_is_bought(house: House) -> None:
    api = house.simulate("--latency", "0.2")
    (worker,) = house.workers(1)
    rows = house.rows(30)
    manifest = house.manifest(rows)
    bought = house.ended(house.submit(manifest), 60)

    again = house.ended(house.submit(manifest), 60)
    worker.kill()
    house.simulate("--latency", "0.2", "--seed", "5", name="other-api")
    house.workers(1)
    elsewhere = house.ended(house.submit(manifest), 60)

    assert bought.states == {"stored": 30}
    again.check(ids_of(rows))
    assert again.states == {"unchanged": 30}
    assert again.summary["cost_usd"] == 0
    assert (again.api["posts"], again.api["charged"]) == (30, bought.api["charged"])
    elsewhere.check(ids_of(rows))
    assert elsewhere.states == {"stored": 30}
    assert elsewhere.api["posts"] == 30
    assert api.totals()["posts"] == 30


@pytest.mark.parametrize("command", ["run", "worker"])
def test_a_bucket_of_the_users_own_without_a_key_is_exit_2_and_the_bucket_stays_as_it_was(
    house: House, command: str
) -> None:
    manifest = house.manifest(house.rows(3))
    s3 = {name: value for name, value in house.servers.env.items() if name.startswith("RETOUCH_S3__")}
    env = python_env() | (s3 if command == "run" else dict(house.servers.env))
    arguments = ["run", str(manifest), "--yes"] if command == "run" else ["worker"]
    before = everything(house)

    said = house.exactly(arguments, env)

    assert said.code == 2, said
    assert "RETOUCH_API__KEYS" in said.err
    assert KEY not in said.err
    assert everything(house) == before
    assert before, "the bucket holds something that could change"


def everything(house: House) -> dict[str, tuple[int, str]]:
    return {head.key: (head.bytes, head.etag) for head in house.servers.bucket.keys("")}
