"""Storage that goes away in mid-batch: what is paid for waits on the workers' disks, and nothing is bought twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.bucket.s3 import open_bucket
from running.programs import eventually
from tests.acceptance.harness import House, Servers, new_name
from tests.acceptance.test_main_job import ids_of
from tests.servers import RunningS3, seaweed


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunningS3]:
    with seaweed(tmp_path / "store") as found:
        yield found


@pytest.fixture
def shop(servers: Servers, store: RunningS3, tmp_path: Path) -> Iterator[House]:
    """A house whose store can be stopped without anybody else's noticing."""
    servers.redis.flushall()
    known: dict[str, Any] = {
        "bucket": store.bucket,
        "endpoint_url": store.endpoint_url,
        "access_key_id": store.access_key_id,
        "secret_access_key": store.secret_access_key,
        "region": store.region,
    }
    own = {f"RETOUCH_S3__{name.upper()}": value for name, value in known.items()}
    found = House(
        servers=Servers(redis=servers.redis, bucket=open_bucket(**known), env={**servers.env, **own}),
        folder=tmp_path / "house",
        name=new_name(),
    )
    try:
        yield found
    finally:
        found.end()


def test_with_urls_that_die_early_an_outage_and_a_killed_worker_lose_nothing_that_was_paid_for(
    shop: House, store: RunningS3, tmp_path: Path
) -> None:
    api = shop.simulate("--latency", "1.5", "--url-life", "20")
    disks = [{"RETOUCH_WORKER__SPOOL_DIR": str(tmp_path / name)} for name in ("disk-a", "disk-b")]
    victim, other = (shop.worker(**disk) for disk in disks)
    for worker in (victim, other):
        shop.working(worker)
    rows = shop.rows(150)
    batch = shop.submit(shop.manifest(rows), allowance="0")
    key = f"retouch:batch:{batch}"
    shop.stored_at_least(batch, 30)

    store.server.stop()
    eventually(lambda: api.in_flight() == 0, 30, "the tasks under way have ended")
    kept = eventually(lambda: _all_kept(shop, key), 30, "everything under way is on a disk")
    bought = api.totals()["tasks"]
    victim.kill()
    victim = shop.worker(**disks[0])
    shop.working(victim)
    meanwhile = api.totals()["tasks"]
    store.server.start()
    books = shop.ended(batch, 120)

    assert kept > 0, "the outage fell into the batch"
    assert bought < 150
    assert meanwhile == bought, "nothing was bought while it could not be stored"
    books.check(ids_of(rows))
    assert books.states == {"stored": 150}
    assert set(books.charged.values()) == {1}
    assert books.api["posts"] == 150
    assert [task["downloads"] for task in books.tasks] == [1] * 150, "what was kept was not fetched again"
    for disk in disks:
        assert list((Path(disk["RETOUCH_WORKER__SPOOL_DIR"]) / "kept").iterdir()) == []


def _all_kept(shop: House, key: str) -> int:
    """Return how many jobs are kept, once no paid one is on its way any more."""
    counts = shop.redis.hgetall(key)
    on_its_way = sum(int(counts.get(f"n:{state}", 0)) for state in ("submitting", "running", "ready"))
    return 0 if on_its_way else int(counts.get("n:kept", 0))
