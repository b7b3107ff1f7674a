"""Who is there: locks, worker processes, spools, and the news of a freed slot. The part of the Redis ledger that knows
no job; `RedisCalls` is how both parts talk to Redis.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import redis

from jobs.accounts import MAIN
from jobs.errors import LedgerError
from jobs.latency import MOST, Histogram
from jobs.ledger.change import LATENCY_S, SPOOL_S, WORKER_S
from jobs.ledger.keys import Keys
from jobs.ledger.news import ANYBODYS, Freed
from jobs.ledger.scripts import Scripts
from jobs.ledger.seen import ParkedKey, SpoolSeen, WorkerSeen

LISTEN_S = 2.0
"""Who listens looks up so often: whether it is to stop, and whether news were lost."""


class RedisCalls:
    """Runs scripts and commands on one Redis, in our errors and on its clock."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._keys = Keys()
        self._run = Scripts(client)
        self._ahead: float | None = None

    def now(self) -> float:
        """Return Redis's time, as of its last answer plus what has passed since."""
        if self._ahead is None:
            seconds, micros = self._guarded(self._client.time)
            self._ahead = seconds + micros / 1e6 - time.monotonic()
        return time.monotonic() + self._ahead

    def _script(self, name: str, keys: Sequence[str], args: Sequence[str | int]) -> list[Any]:
        answer: list[Any] = self._guarded(self._run, name, keys, args)
        self._ahead = int(answer[1]) / 1000 - time.monotonic()
        return answer

    @staticmethod
    def _guarded(call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        try:
            return call(*args, **named)
        except redis.RedisError as error:
            raise LedgerError(f"Redis: {_plain(error)}") from None


class Presence(RedisCalls):
    """What is known of those who are there, until they have not been seen for a while."""

    def lock(self, name: str, token: str, seconds: float) -> bool:
        """Take or renew a lock; False while somebody else holds it."""
        return bool(
            self._script("lock", [self._keys.lock(name), self._keys.absent], [token, round(seconds * 1000)])[0]
            == "done"
        )

    def unlock(self, name: str, token: str) -> None:
        """Give a lock back, if it is ours."""
        self._script("unlock", [self._keys.lock(name)], [token])

    def see_worker(self, worker: WorkerSeen) -> None:
        """Note that a worker process is alive, for a minute."""
        self._see(self._keys.worker(worker.id), worker, WORKER_S)

    def workers(self) -> Sequence[WorkerSeen]:
        """Return the worker processes seen in the last minute."""
        return sorted((WorkerSeen(**seen) for seen in self._seen(self._keys.worker("*"))), key=lambda seen: seen.id)

    def park_key(self, key: str, why: str) -> None:
        """Note that the API refuses a key; the first note stands."""
        note = json.dumps({"why": why, "since": self.now()})
        self._guarded(self._client.hsetnx, self._keys.parked, key, note)

    def unpark_key(self, key: str) -> None:
        """Note that a key works again."""
        self._guarded(self._client.hdel, self._keys.parked, key)

    def parked_keys(self) -> Mapping[str, ParkedKey]:
        """Return the keys that are parked."""
        found: dict[str, str] = self._guarded(self._client.hgetall, self._keys.parked)
        return {key: ParkedKey(**json.loads(note)) for key, note in found.items()}

    def kept(self, name: str) -> str:
        """Return what was last kept of the account's credits under this name."""
        return self._guarded(self._client.hget, self._keys.account(MAIN), name) or ""

    def keep(self, name: str, text: str) -> None:
        """Keep this of the account's credits."""
        self._script("note", [self._keys.account(MAIN), self._keys.absent], [name, text, 0])

    def say_of_credits(self, batch: str, said: str) -> None:
        """Note what the credits say of the doubts that a batch holds."""
        self._script("note", [self._keys.batch(batch), self._keys.absent], ["credits", said, 1])

    def see_spool(self, spool: SpoolSeen) -> None:
        """Note a spool and what lies in it, for 30 days."""
        self._see(self._keys.spool(spool.id), spool, SPOOL_S)

    def spools(self) -> Sequence[SpoolSeen]:
        """Return the spools seen in the last 30 days."""
        return sorted((SpoolSeen(**seen) for seen in self._seen(self._keys.spool("*"))), key=lambda seen: seen.id)

    def _see(self, key: str, seen: WorkerSeen | SpoolSeen, seconds: int) -> None:
        self._script("see", [key, self._keys.absent], [json.dumps(asdict(seen)), seconds])

    def _seen(self, pattern: str) -> Iterator[Any]:
        for key in self._guarded(lambda: list(self._client.scan_iter(pattern, count=1000))):
            text = self._guarded(self._client.get, key)
            if text:
                yield json.loads(text)

    def learn(self, model: str, news: Histogram) -> Histogram:
        """Add what was seen of a model's latency to what every process saw, and return that."""
        flat = [number for pair in news.items() for number in pair]
        found = self._script("learn", [self._keys.latency(model), self._keys.absent], [MOST, LATENCY_S, *flat])[2]
        return {int(number): int(weight) for number, weight in zip(found[::2], found[1::2], strict=True)}

    def pass_on(self, news: Freed) -> None:
        """Tell everybody who listens of a slot that is of no use to who freed it."""
        self._guarded(self._client.publish, self._keys.freed, news.text)

    def listen(self, owner: str, freed: Callable[[Freed], None], stopped: Callable[[], bool]) -> None:
        """Call `freed` whenever a slot is freed that `owner` may take; survives a Redis that goes and comes back."""
        own = f"{self._keys.freed}:{owner}"
        while not stopped():
            try:
                with self._client.pubsub(ignore_subscribe_messages=True) as channel:  # type: ignore[no-untyped-call]
                    channel.subscribe(self._keys.freed, own)
                    while not stopped():
                        told = channel.get_message(timeout=LISTEN_S)
                        by = owner if told and told["channel"] == own else ""
                        freed(Freed.read(str(told["data"]), by=by) if told else ANYBODYS)
            except redis.RedisError:
                time.sleep(0.5)


def _plain(error: redis.RedisError) -> str:
    """Say what went wrong without the address, which may carry a password."""
    return (
        f"{type(error).__name__}: check RETOUCH_REDIS__URL and that Redis runs"
        if isinstance(error, redis.ConnectionError | redis.TimeoutError)
        else str(error)
    )
