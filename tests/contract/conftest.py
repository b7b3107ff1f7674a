"""The house that every ledger test plays in: a ledger, the moves of a worker in one word each, and time that moves.

`house` is each ledger in turn: memory, Redis 6.2, Redis 7, and Redis 7 where every reply is lost once (so each
script runs twice). A Redis that is not on this machine is a skip, in CI an error.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import redis

from jobs import events as e
from jobs.accounts import MAIN
from jobs.batch import Batch, BatchState, Progress
from jobs.events import Event
from jobs.job import Job, Order, Receipt, Result
from jobs.ledger.memory import MemoryLedger
from jobs.ledger.port import Ledger, Restored
from jobs.ledger.redis import RedisLedger, connect
from jobs.ledger.scripts import Scripts
from jobs.models import Catalogue, LimitGroup
from jobs.request import Request
from jobs.states import apply
from tests.ages import let_pass
from tests.servers import RedisVersion, redis_server

CATALOGUE = Catalogue(
    dated="2026-11-22",
    default="",
    models={},
    groups={
        "flux": LimitGroup(name="flux", size=5),
        "kontext-max": LimitGroup(name="kontext-max", size=2, inside="flux"),
    },
).with_accounts((MAIN, "other"))
RESERVE, COST = 60_000, 45_000
TODAY, KEY = "2026-11-22", "k1"
NOTHING = Restored(cursors={"flux": 0}, staged={}, counts={}, settled=0, doubts=0, doubt_used=0, reasons={}, orders=[])
"""What is known of a batch of which nothing was fed."""
HINTS = ("due", "later", "strays")
"""Scripts whose second answer is another one: a lost hint is given again later."""


@dataclass(slots=True)
class House:
    """A ledger and what a worker does with it. Each move returns the job as it then stands."""

    name: str
    ledger: Ledger
    later: Callable[[float], None]
    """Let so many seconds pass."""
    names: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def open(self, batch: str = "b", **agreed: Any) -> Batch:
        """Open a batch of 40 rows in `flux` with money for all, unless told otherwise."""
        known: dict[str, Any] = {
            "name": "chairs",
            "created_at": 1_790_000_000.0,
            "groups": {"flux": 40},
            "expected": 1_000_000,
            "at_most": 2_000_000,
            "ceiling": 50_000_000,
            "allowance": 2 * RESERVE,
        } | agreed
        known.setdefault("rows", sum(known["groups"].values()))
        opened = Batch(id=batch, **known)
        assert self.ledger.open_batch(opened)
        return opened

    def orders(self, rows: Sequence[int], batch: str = "b", group: str = "flux") -> list[Order]:
        """Return an order for each row number."""
        return [
            Order(
                batch=batch,
                row=row,
                id=f"chair-{row}",
                group="chairs",
                limit_group=group,
                request=Request(model="flux-2-pro", prompt='Stühle, 椅子 🪑 \\ "x"', inputs=(f"s3://b/{row}.png",)),
                output=f"out/{row}.{{ext}}",
                reserve=RESERVE,
                expected=COST,
            )
            for row in rows
        ]

    def feed(self, count: int, cursor: int = 0, batch: str = "b", group: str = "flux", low: int = 1) -> list[str]:
        """Feed so many rows of a group and return their jobs."""
        offset = 0 if group == "flux" else 1_000
        orders = self.orders(range(offset + cursor, offset + cursor + count), batch, group)
        assert self.ledger.feed(batch, group, cursor, orders, low=low)
        return [order.job for order in orders]

    def one(self, batch: str = "b") -> str:
        """Open a batch, feed one row and return its job."""
        self.open(batch)
        return self.feed(1, batch=batch)[0]

    def claimed(self, job: str, owner: str = "w1") -> Job:
        """Claim a job that can be claimed."""
        claim = self.ledger.claim(job, owner)
        assert claim.job is not None, claim.why
        return claim.job

    def to_begin(
        self, job: Job, fingerprint: str = "", *, day: str = TODAY, key: str = KEY, account: str = MAIN
    ) -> Job:
        """Return the job as it is when its submission has begun."""
        begun = e.Begun(fingerprint=fingerprint or f"f-{job.id}", key_id=key, account=account, day=day)
        return apply(job, begun, self.ledger.now())

    def begun(self, job: str, fingerprint: str = "", **where: str) -> Job:
        """Claim a job and begin its submission."""
        before = self.claimed(job)
        after = self.to_begin(before, fingerprint, **where)
        said = self.ledger.begin(before, after)
        assert said.closed is None
        return replace(after, intent=said.intent)

    def moved(self, job: Job, *happened: Event) -> Job:
        """Record one event after the other."""
        for event in happened:
            after = apply(job, event, self.ledger.now())
            self.ledger.record(job, after)
            job = after
        return job

    def running(self, job: str, cost: int | None = COST) -> Job:
        """Bring a queued job to where its receipt is in hand."""
        return self.moved(self.begun(job), self.accepted(cost))

    def ready(self, job: str) -> Job:
        """Bring a queued job to where its result can be fetched."""
        return self.moved(self.running(job), self.fetchable())

    def stored(self, job: str, fingerprint: str = "") -> Job:
        """Bring a queued job to its good end."""
        return self.moved(self.begun(job, fingerprint), self.accepted(), self.fetchable(), self.filed())

    def doubted(self, job: str, wait: float = 45.0) -> Job:
        """Bring a queued job into doubt."""
        return self.moved(self.ledger.mark_sent(self.begun(job)), e.Doubted(detail="timeout", wait=wait))

    def held(self, job: str) -> Job:
        """Bring a queued job into a doubt that waits for a person."""
        return self.moved(self.doubted(job), e.Held())

    def accepted(self, cost: int | None = COST) -> e.Accepted:
        """Return a receipt's arrival; each names another task."""
        task = f"t{next(self.names)}"
        return e.Accepted(receipt=Receipt(task_id=task, polling_url=f"https://api.eu1.bfl.ai/{task}", cost=cost))

    def fetchable(self, cost: int | None = None) -> e.Ready:
        """Return the news that a result can be fetched."""
        return e.Ready(url="https://delivery.eu1.bfl.ai/x", deadline=self.ledger.now() + 600, cost=cost, seed=7)

    @staticmethod
    def filed() -> e.Stored:
        """Return the news that a result is filed."""
        return e.Stored(result=Result(key="k", sha256="0" * 64, bytes=9, format="png", width=1, height=1))

    def progress(self, batch: str = "b") -> Progress:
        """Return what the ledger counts of a batch."""
        found = self.ledger.batch(batch)
        assert found is not None
        return found[1]

    def counts(self, batch: str = "b") -> dict[str, int]:
        """Return the jobs of a batch by state, without zeros."""
        return {state: n for state, n in self.progress(batch).counts.items() if n}

    def books(self, batch: str = "b") -> tuple[Any, ...]:
        """Return all that the ledger says about a batch, to compare before and after."""
        jobs = [self.ledger.load(job) for job in self.ledger.jobs_of(batch)]
        return self.progress(batch), jobs, self.ledger.slots_used(), self.ledger.outcomes_waiting(batch)[0]

    def load(self, job: str) -> Job:
        """Return a job that has not ended."""
        found = self.ledger.load(job)
        assert found is not None
        return found

    def pause(self, reason: str = "operator", batch: str = "b") -> None:
        """Pause an open batch."""
        assert self.ledger.set_state(batch, BatchState.PAUSED, reason, only_from=[BatchState.OPEN])

    def resume(self, batch: str = "b") -> None:
        """Open a paused batch."""
        assert self.ledger.set_state(batch, BatchState.OPEN, "", only_from=[BatchState.PAUSED])

    def cancel(self, batch: str = "b") -> None:
        """Cancel a batch."""
        live = [BatchState.OPEN, BatchState.PAUSED]
        assert self.ledger.set_state(batch, BatchState.CANCELLED, "operator", only_from=live)


class LostReplies(Scripts):
    """Scripts on a connection that loses every first reply and asks again, as the client does by itself."""

    def __call__(self, name: str, keys: Sequence[str], args: Sequence[str | int]) -> list[Any]:
        first = super().__call__(name, keys, args)
        return first if name in HINTS else super().__call__(name, keys, args)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[RedisVersion], redis.Redis]]:
    """Give a client of an empty Redis of the wanted version; each is started once, when it is first asked for."""
    with ExitStack() as stack:
        clients: dict[str, redis.Redis] = {}

        def get(version: RedisVersion) -> redis.Redis:
            if version not in clients:
                folder = tmp_path_factory.mktemp(f"redis-{version}")
                running = stack.enter_context(redis_server(version, tmp=folder, config=["appendonly no"]))
                clients[version] = connect(running.url)
                stack.callback(clients[version].close)
            clients[version].config_set("maxmemory", 0)
            clients[version].flushall()
            return clients[version]

        yield get


def redis_house(client: redis.Redis, name: str) -> House:
    """Return a house on an empty Redis."""
    ledger = RedisLedger(client, CATALOGUE)
    if name.endswith("twice"):
        ledger._run = LostReplies(client)
    return House(name=name, ledger=ledger, later=lambda seconds: let_pass(client, seconds))


def memory_house() -> House:
    """Return a house in memory, with a clock that only moves when it is told to."""
    clock = [1_800_000_000.0]

    def later(seconds: float) -> None:
        clock[0] += seconds

    return House(name="memory", ledger=MemoryLedger(CATALOGUE, clock=lambda: clock[0]), later=later)


@pytest.fixture(params=["memory", "redis-6.2", "redis-7", "redis-7-twice"])
def anew(request: pytest.FixtureRequest, servers: Callable[[RedisVersion], redis.Redis]) -> Callable[[], House]:
    """Each ledger in turn, as a function that gives an empty one."""
    name = str(request.param)
    if name == "memory":
        return memory_house
    version: RedisVersion = "6.2" if "6.2" in name else "7"
    return lambda: redis_house(servers(version), name)


@pytest.fixture
def house(anew: Callable[[], House]) -> House:
    """Each ledger in turn."""
    return anew()


@pytest.fixture(params=["6.2", "7"])
def on_redis(
    request: pytest.FixtureRequest, servers: Callable[[RedisVersion], redis.Redis]
) -> tuple[House, redis.Redis]:
    """The ledger on each Redis, with its client."""
    client = servers(request.param)
    return redis_house(client, f"redis-{request.param}"), client
