"""Storage that goes away in mid-batch: what is paid for waits on the workers' disks, and nothing is bought twice."""

from __future__ import annotations

import re
import shutil
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


def test_results_on_a_disk_that_never_comes_back_are_given_up_and_bought_again_at_a_price_that_was_shown(
    shop: House, store: RunningS3, tmp_path: Path
) -> None:
    api = shop.simulate("--latency", "6")
    disk = tmp_path / "disk-a"
    victim = shop.worker(RETOUCH_WORKER__SPOOL_DIR=str(disk))
    shop.working(victim)
    rows = shop.rows(3)
    batch = shop.submit(shop.manifest(rows), allowance="0")
    eventually(lambda: shop.states_of(victim)["running"] == 3, 30, "all three are bought")
    store.server.stop()
    eventually(lambda: _all_kept(shop, batch) == 3, 60, "all three are on the disk")
    victim.kill()
    shutil.rmtree(disk)
    store.server.start()
    shop.worker(RETOUCH_WORKER__SPOOL_DIR=str(tmp_path / "disk-b"))

    shown = shop.status(batch)
    given_up = shop.retouch("cancel", batch, "--kept", "--yes", "--json")
    first = shop.ended(batch, 60)
    unasked = shop.retouch("retry", batch, "--json")
    bought = shop.retouch("retry", batch, "--yes", "--json", "--watch")
    books = shop.books(batch)

    assert shown["counts"]["kept"] == 3
    assert any(str(disk) in sentence for sentence in shown["warnings"])
    assert given_up.code == 0, given_up
    assert "3 rows" in given_up.err
    assert first.states == {"failed": 3}
    assert [(reason["code"], reason["rows"]) for reason in first.summary["reasons"]] == [("paid_not_delivered", 3)]
    assert (unasked.code, unasked.document["error"]["code"]) == (2, "nobody_to_ask")
    assert bought.code == 0, bought
    assert re.search(r"3 edits for about \$\d.*, at most \$\d", bought.err)
    assert books.lost(ids_of(rows)) == []
    assert books.changed_on_the_way() == []
    assert books.states == {"stored": 3}
    assert set(books.charged.values()) == {2}
    assert books.summary["cost_usd"] == pytest.approx(2 * first.summary["cost_usd"])
    assert api.totals()["tasks"] == 6


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
