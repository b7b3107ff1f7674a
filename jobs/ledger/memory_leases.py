"""Who holds a job, and which one is due, in memory: the twin of `jobs.ledger.leases`, with the other indexes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from jobs.job import Job
from jobs.ledger.books import Hot, Indexes
from jobs.ledger.change import DOUBT_AGAIN_S, LEASE_S, RESEND_S, Index
from jobs.ledger.memory_life import MemoryLife
from jobs.ledger.port import Hint


class MemoryLeases(MemoryLife):
    """The jobs that have not ended, and the indexes that find them again."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self._hot: dict[str, Hot] = {}
        self._indexes = Indexes()

    def renew(self, owner: str, fences: Mapping[str, int]) -> Sequence[str]:
        with self._lock:
            lost = []
            for job, fence in fences.items():
                hot = self._hot.get(job)
                if hot is None or (hot.job.owner, hot.job.fence) != (owner, fence):
                    lost.append(job)
                else:
                    self._indexes.put(job, Index.LEASES, self.now() + LEASE_S)
            return lost

    def lapsed(self, limit: int) -> Sequence[Job]:
        with self._lock:
            return [self._hot[job].job for job in self._indexes.reached(Index.LEASES, self.now(), limit)]

    def held_by(self, owner: str) -> Sequence[Job]:
        with self._lock:
            return [hot.job for hot in self._hot.values() if hot.job.owner == owner]

    def due(self, limit: int) -> Sequence[Hint]:
        with self._lock:
            now = self.now()
            found = self._indexes.reached(Index.DUE, now, limit, again=now + RESEND_S)
            return [Hint(job=job, paid=self._hot[job].paid) for job in found]

    def doubts_due(self, limit: int) -> Sequence[str]:
        with self._lock:
            now = self.now()
            return self._indexes.reached(Index.DOUBTS, now, limit, again=now + DOUBT_AGAIN_S)
