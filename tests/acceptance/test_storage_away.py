"""Storage that goes away in mid-batch: what is paid for waits on the workers' disks, and nothing is bought twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobs.bucket.s3 import open_bucket
from running.programs import Program, eventually, steadily
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """How many rows are bought, and for how long storage is away; 0: until everything is on a disk."""

    rows: int
    seconds: float


SHORT = Outage(rows=110, seconds=0)
LONG = Outage(rows=200, seconds=60)
URL_LIFE_S = 20
LATENCY_S = 6


@pytest.mark.parametrize(
    "outage", [pytest.param(SHORT, id="short"), pytest.param(LONG, id="long", marks=pytest.mark.long)]
)
def test_with_urls_that_die_early_an_outage_and_killed_workers_lose_nothing_that_was_paid_for(
    shop: House, store: RunningS3, tmp_path: Path, outage: Outage
) -> None:
    api = shop.simulate("--latency", str(LATENCY_S), "--url-life", str(URL_LIFE_S))
    disks = [{"RETOUCH_WORKER__SPOOL_DIR": str(tmp_path / name)} for name in ("disk-a", "disk-b")]
    victim, other = (shop.worker(**disk) for disk in disks)
    for worker in (victim, other):
        shop.working(worker)
    rows = shop.rows(outage.rows)
    batch = shop.submit(shop.manifest(rows), allowance="0")
    shop.stored_at_least(batch, 30)

    began = time.monotonic()
    store.server.stop()
    lost = eventually(lambda: _only_running(shop, victim), 30, "its tasks run at the API, and it buys no more")
    victim.kill()
    successor = shop.worker(**disks[0])
    shop.working(successor)
    eventually(lambda: api.in_flight() == 0, 30, "the tasks under way have ended")
    kept = eventually(lambda: _all_kept(shop, batch), 40, "everything under way is on a disk")
    bought = api.totals()["tasks"]
    other.kill()
    shop.working(shop.worker(**disks[1]))
    steadily(
        lambda: api.totals()["tasks"] == bought,
        began + outage.seconds - time.monotonic(),
        "nothing is bought while it cannot be stored",
    )
    meanwhile = api.totals()["tasks"]
    store.server.start()
    away = time.monotonic() - began
    books = shop.ended(batch, 150)
    twice = sum(task["downloads"] > 1 for task in books.tasks)
    print(f"{away:.0f} s away, {lost} tasks ran when their worker died, {kept} kept, {twice} fetched twice")  # noqa: T201

    assert away >= outage.seconds
    assert bought == meanwhile < outage.rows, "the outage fell into the batch, and nothing was bought in it"
    books.check(ids_of(rows))
    assert books.states == {"stored": outage.rows}
    assert set(books.charged.values()) == {1}
    assert len(books.tasks) == outage.rows
    assert twice <= lost, "what was kept was not fetched again"
    for disk in disks:
        assert list((Path(disk["RETOUCH_WORKER__SPOOL_DIR"]) / "kept").iterdir()) == []


def _only_running(shop: House, worker: Program) -> int:
    """Return how many tasks of a worker run at the API, once it has seen that storage is away and submits no more."""
    if "storage is away" not in worker.said:
        return 0
    states = shop.states_of(worker)
    return 0 if states["submitting"] else states["running"]


def _all_kept(shop: House, batch: str) -> int:
    """Return how many jobs are kept, once no paid one is on its way any more."""
    counts = shop.redis.hgetall(f"retouch:batch:{batch}")
    on_its_way = sum(int(counts.get(f"n:{state}", 0)) for state in ("submitting", "running", "ready"))
    return 0 if on_its_way else int(counts.get("n:kept", 0))
