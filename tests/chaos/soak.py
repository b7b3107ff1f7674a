"""A batch under fire: real workers that are killed again and again, a Redis that is killed, an API full of faults.

The soak only strikes and takes note of what it hit; what came of the batch is judged by `tests.chaos.checker`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import redis

from jobs.job import FINAL
from running.programs import Program
from tests.acceptance.test_main_job import ids_of
from tests.chaos.checker import Evidence, Promised, Struck
from tests.chaos.rig import Rig

FAULTS: Mapping[str, float] = {
    "refuse": 0.04,
    "five_xx_after": 0.01,
    "rate_limit": 0.10,
    "lose_answer": 0.02,
    "reset_before": 0.01,
    "cut_download": 0.01,
    "fail_download": 0.01,
    "refuse_download": 0.01,
    "hang_poll": 0.02,
}
"""5 % errors (a fifth of them after the task was taken), 10 % throttled, 2 % answers lost, 1 % resets before anything
was read, 3 % of downloads cut or refused, 2 % of polls held until they are reset."""

KINDS = (
    ("lose_answer", "five_xx_after"),
    ("reset_before", "refuse"),
    ("rate_limit",),
    ("cut_download", "fail_download", "refuse_download"),
    ("hang_poll",),
)
"""What the judge is promised: taken and not told, not taken and not told, throttled, not delivered, not answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Soak:
    """What is to be done to a batch."""

    rows: int
    kills: int
    """So many at least."""
    redis_kills: int
    on_and_on: bool = False
    """Workers are killed until every row has ended or is held: the report takes longer than a worker then lives."""
    workers: int = 3
    kill_every_s: float = 2.0
    """One of those that work."""
    latency_s: float = 3.0
    spread: float = 0.5
    allowance: str = ""
    """What doubts may cost, in dollars; empty: what Retouch takes by itself."""
    faults: Mapping[str, float] = field(default_factory=lambda: FAULTS)
    hang_s: float = 30.0
    seed: int = 7
    within_s: float = 900.0
    look_s: float = 0.2

    def api(self) -> list[str]:
        """Return the options of the simulator."""
        options = ["--latency", str(self.latency_s), "--spread", str(self.spread), "--seed", str(self.seed)]
        options += ["--hang-s", str(self.hang_s), "--result-size", "64x64"]
        for name, share in self.faults.items():
            options += [f"--{name.replace('_', '-')}", str(share)]
        return options

    def kinds(self) -> Mapping[str, float]:
        """Return how often each kind of fault comes."""
        return {"+".join(names): sum(self.faults[name] for name in names) for names in KINDS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the programs held of memory when so many results had been delivered, in MB: each at its peak until then."""

    downloads: int
    worker_mb: float
    redis_mb: float


@dataclass(slots=True)
class Strikes:
    """What has been hit so far, and what was seen on the way."""

    codes: list[int] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fought:
    """A batch that has ended under fire."""

    soak: Soak
    batch: str
    manifest: Path
    strikes: Strikes
    seconds: float

    def evidence(self, rig: Rig) -> Evidence:
        """Return what can be known of it now."""
        house = rig.house
        assert house.api is not None
        return Evidence.read(
            self.manifest,
            house.servers.bucket,
            name=house.name,
            folder=f"{house.prefix}batches/{self.batch}/",
            api=house.api.ledger(),
            struck=Struck(workers=self.strikes.codes, redis_runs=self.strikes.runs),
            promised=Promised(faults=self.soak.kinds(), kills=self.soak.kills, redis_kills=self.soak.redis_kills),
        )

    def memory(self, thirds: int = 3) -> Sequence[tuple[float, float]]:
        """Return the most that a worker, and Redis, held while each third of the results was delivered, in MB."""
        last = max((look.downloads for look in self.strikes.looks), default=0) + 1
        parts: list[list[Look]] = [[] for _ in range(thirds)]
        for look in self.strikes.looks:
            parts[look.downloads * thirds // last].append(look)
        return [
            (max((x.worker_mb for x in part), default=0.0), max((x.redis_mb for x in part), default=0.0))
            for part in parts
        ]


def fire(rig: Rig, soak: Soak) -> Fought:
    """Run a batch under fire to its end, and return it with everything that can be known of it."""
    house, dice = rig.house, random.Random(soak.seed)
    api = house.simulate(*soak.api())
    rows = house.rows(soak.rows)
    manifest = house.manifest(rows)
    assert len(set(ids_of(rows))) == soak.rows
    batch = house.submit(manifest, allowance=soak.allowance)
    workers = [house.worker() for _ in range(soak.workers)]
    strikes = Strikes(runs=[_run_of(rig)])
    summary = f"{house.prefix}batches/{batch}/summary.json"
    redis_at = [soak.rows * (n + 1) // (soak.redis_kills + 1) for n in range(soak.redis_kills)]
    began = struck_at = time.monotonic()
    while house.servers.bucket.head(summary) is None:
        now = time.monotonic()
        if now - began > soak.within_s:
            house.finished(batch, 0)  # says what is wrong
        if (soak.on_and_on and _ended(rig, batch) < soak.rows) or len(strikes.codes) < soak.kills:
            working = [place for place, worker in enumerate(workers) if house.seen(worker)]
            if not working:  # on a busy machine all may still be starting: nothing is proved by killing those
                struck_at = now
            elif now - struck_at >= soak.kill_every_s:
                struck_at = now
                place = dice.choice(working)
                strikes.codes.append(_kill(workers[place]))
                workers[place] = house.worker()
        downloads = api.totals()["downloads"]
        strikes.looks.append(_look(rig, workers, downloads))
        if redis_at and downloads >= redis_at[0]:
            redis_at.pop(0)
            rig.redis.kill9()
            time.sleep(1.0)  # an outage that is seen
            rig.redis.start()
            strikes.runs.append(_run_of(rig))
        time.sleep(soak.look_s)
    return Fought(soak=soak, batch=batch, manifest=manifest, strikes=strikes, seconds=time.monotonic() - began)


def _ended(rig: Rig, batch: str) -> int:
    """Return how many rows have ended or are held, as the ledger counts them: it only says when to stop striking."""
    found = rig.house.redis.hmget(f"retouch:batch:{batch}", ["held", *(f"n:{state}" for state in FINAL)])
    return sum(int(n) for n in found if n)


def _kill(worker: Program) -> int:
    """Kill a worker as `kill -9` does, and return how it ended as the system tells it."""
    worker.kill()
    return worker.ended(0)


def _run_of(rig: Rig) -> str:
    """Return the name that Redis has given to this life of its own."""
    with redis.Redis.from_url(rig.redis.url, decode_responses=True) as client:
        return str(client.info("server")["run_id"])


def _look(rig: Rig, workers: Sequence[Program], downloads: int) -> Look:
    """Return what is held now; a worker that has just ended holds nothing."""
    with redis.Redis.from_url(rig.redis.url, decode_responses=True) as client:
        held = int(client.info("memory")["used_memory"])
    most = max((worker.memory for worker in workers), default=0)
    return Look(downloads=downloads, worker_mb=round(most / 2**20, 1), redis_mb=round(held / 2**20, 1))
