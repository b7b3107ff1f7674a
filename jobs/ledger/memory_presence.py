"""Who is there, in memory: the twin of `jobs.ledger.presence`, with the clock and the lock of the ledger beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from jobs.latency import Histogram, added, halved
from jobs.ledger.books import Expiring
from jobs.ledger.change import SPOOL_S, WORKER_S
from jobs.ledger.news import ANYBODYS, Freed
from jobs.ledger.seen import ParkedKey, SpoolSeen, WorkerSeen


class MemoryPresence:
    """Locks, worker processes, spools, and the news of a freed slot."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Condition(threading.RLock())
        self._frees: list[Freed] = []
        self._locks: Expiring[str] = Expiring(clock)
        self._workers: Expiring[WorkerSeen] = Expiring(clock)
        self._spools: Expiring[SpoolSeen] = Expiring(clock)
        self._parked: dict[str, ParkedKey] = {}
        self._latencies: dict[str, Histogram] = {}
        self._kept: dict[str, str] = {}

    def now(self) -> float:
        return self._clock()

    def _tell_freed(self, freed: Freed) -> None:
        self._frees.append(freed)
        self._lock.notify_all()

    def lock(self, name: str, token: str, seconds: float) -> bool:
        with self._lock:
            if self._locks.get(name) not in (None, token):
                return False
            self._locks.put(name, token, seconds)
            return True

    def unlock(self, name: str, token: str) -> None:
        with self._lock:
            if self._locks.get(name) == token:
                self._locks.drop(name)

    def see_worker(self, worker: WorkerSeen) -> None:
        with self._lock:
            self._workers.put(worker.id, worker, WORKER_S)

    def workers(self) -> Sequence[WorkerSeen]:
        with self._lock:
            return list(self._workers.values())

    def see_spool(self, spool: SpoolSeen) -> None:
        with self._lock:
            self._spools.put(spool.id, spool, SPOOL_S)

    def spools(self) -> Sequence[SpoolSeen]:
        with self._lock:
            return list(self._spools.values())

    def park_key(self, key: str, why: str) -> None:
        with self._lock:
            self._parked.setdefault(key, ParkedKey(why=why, since=self.now()))

    def unpark_key(self, key: str) -> None:
        with self._lock:
            self._parked.pop(key, None)

    def parked_keys(self) -> Mapping[str, ParkedKey]:
        with self._lock:
            return dict(self._parked)

    def learn(self, model: str, news: Histogram) -> Histogram:
        with self._lock:
            self._latencies[model] = halved(added(self._latencies.get(model, {}), news))
            return dict(self._latencies[model])

    def kept(self, name: str) -> str:
        with self._lock:
            return self._kept.get(name, "")

    def keep(self, name: str, text: str) -> None:
        with self._lock:
            self._kept[name] = text

    def pass_on(self, news: Freed) -> None:
        with self._lock:
            self._tell_freed(replace(news, by=""))

    def listen(self, owner: str, freed: Callable[[Freed], None], stopped: Callable[[], bool]) -> None:
        heard = len(self._frees)
        while not stopped():
            with self._lock:
                self._lock.wait(timeout=0.1)
                news, heard = self._frees[heard:], len(self._frees)
            for each in news or [ANYBODYS]:
                if each.by in ("", owner):
                    freed(each)
