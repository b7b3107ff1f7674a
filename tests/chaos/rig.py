"""One death, and what the house looks like afterwards: a house whose Redis is its own, so that it can be taken back.

Time is not waited for: leases and doubts are made older where a test would have to wait for them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import redis

from jobs.bucket.s3 import open_bucket
from running.programs import LOOK_S, Command, Program
from tests.acceptance.harness import House, Servers, new_name
from tests.ages import let_doubts_pass, let_pass
from tests.chaos.rollback import roll_back
from tests.servers import RunningRedis, RunningS3, redis_server

KILLED = -9
LONGER_THAN_A_LEASE_S = 60.0
LONGER_THAN_A_DOUBT_S = 3600.0


class Fate(StrEnum):
    """What becomes of Redis when the process has died."""

    KEPT = "kept"
    ROLLED_BACK = "rolled-back"
    EMPTIED = "emptied"


@dataclass(slots=True, kw_only=True)
class Rig:
    """A house that runs with one worker at a time, and the Redis under it."""

    house: House
    redis: RunningRedis
    store: RunningS3
    without_redis: bool = False
    without_storage: bool = False

    def dies(self, program: Program, within: float = 60.0) -> None:
        """Wait until a program has killed itself where it was told to; doubts on the way are not waited for."""
        until = time.monotonic() + within
        while program.runs:
            if not self.without_redis:
                let_doubts_pass(self.house.redis, LONGER_THAN_A_DOUBT_S)
            assert time.monotonic() < until, f"it never came there: {program.said[-3000:]}"
            time.sleep(LOOK_S)
        assert program.ended(0) == KILLED, program.said[-3000:]

    def lose_redis(self) -> None:
        """Kill Redis; it comes back when somebody has died."""
        self.redis.kill9()
        self.without_redis = True

    def lose_storage(self) -> None:
        """Stop the store; it comes back when somebody has died."""
        self.store.server.stop()
        self.without_storage = True

    def mend(self) -> None:
        """Bring back what was taken away."""
        if self.without_redis:
            self.redis.start()
        if self.without_storage:
            self.store.server.start()
        self.without_redis = self.without_storage = False

    def meets(self, fate: Fate, steps: int = 1) -> None:
        """Let Redis meet its fate while nobody works, then make everything in it older than a lease."""
        if fate is Fate.ROLLED_BACK:
            self.redis.kill9()
            assert roll_back(self.redis.server.part.folder, steps) > 0, "there was something to forget"
            self.redis.start()
        elif fate is Fate.EMPTIED:
            self.house.redis.flushall()
        let_pass(self.house.redis, LONGER_THAN_A_LEASE_S)

    def goes_on(self, batch: str, **env: str) -> None:
        """Start a worker, and reconcile the batch where the worker finds that Redis knows less than it did."""
        self.house.working(self.house.worker(**env))
        guarded = self.house.redis.hget("retouch:epoch", "guard")
        over = self.house.servers.bucket.head(f"{self.house.prefix}batches/{batch}/summary.json") is not None
        if guarded or not (over or self.house.redis.exists(f"retouch:batch:{batch}")):
            said = self.house.retouch("reconcile", batch, "--yes", "--json", **env)
            assert said.code == 0, said

    def on_disk(self) -> list[str]:
        """Return what lies on the workers' disk, whole or half written."""
        spool = self.house.folder / "retouch-data" / "spool"
        return [str(path) for place in ("kept", "notes", "coming") for path in spool.glob(f"{place}/*")]

    def ends(self, batch: str, within: float = 60.0) -> None:
        """Wait until the batch's summary lies in the bucket; doubts on the way are not waited for."""
        key = f"{self.house.prefix}batches/{batch}/summary.json"
        until = time.monotonic() + within
        while self.house.servers.bucket.head(key) is None:
            let_doubts_pass(self.house.redis, LONGER_THAN_A_DOUBT_S)
            if time.monotonic() > until:
                self.house.finished(batch, 0)  # says what is wrong
            time.sleep(LOOK_S)


@contextmanager
def rig(folder: Path, s3: RunningS3) -> Iterator[Rig]:
    """Set up a house with a Redis of its own, for the length of the block."""
    with redis_server(tmp=folder) as running, redis.Redis.from_url(running.url, decode_responses=True) as client:
        bucket = open_bucket(
            bucket=s3.bucket,
            endpoint_url=s3.endpoint_url,
            access_key_id=s3.access_key_id,
            secret_access_key=s3.secret_access_key,
            region=s3.region,
        )
        known = ("bucket", "endpoint_url", "access_key_id", "secret_access_key", "region")
        settings = {name: str(getattr(s3, name)) for name in known}
        env = {f"RETOUCH_S3__{name.upper()}": value for name, value in settings.items()}
        servers = Servers(redis=client, bucket=bucket, env=env | {"RETOUCH_REDIS__URL": running.url})
        house = House(servers=servers, folder=folder, name=new_name())
        try:
            yield Rig(house=house, redis=running, store=s3)
        finally:
            house.end()
            bucket.close()


def killed(command: Command) -> None:
    """Wait until a command has killed itself where it was told to."""
    said = command.ended()
    assert said.code == KILLED, said
