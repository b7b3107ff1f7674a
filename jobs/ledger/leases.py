"""Who holds a job, and until when: the part of the Redis ledger that reads and renews leases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from jobs.job import Job
from jobs.ledger.change import LEASE_S
from jobs.ledger.hashes import job_of
from jobs.ledger.presence import RedisCalls

LEASE_MS = round(LEASE_S * 1000)


class Leases(RedisCalls):
    """The jobs that are owned."""

    def renew(self, owner: str, fences: Mapping[str, int]) -> Sequence[str]:
        """Renew the leases of these jobs; return those that are not ours any more."""
        if not fences:
            return []
        args: list[str | int] = [LEASE_MS, owner]
        for job, fence in fences.items():
            args += [job, fence]
        keys = [self._keys.leases, *(self._keys.job(job) for job in fences), self._keys.absent]
        lost: list[str] = self._script("renew", keys, args)[2]
        return lost

    def lapsed(self, limit: int) -> Sequence[Job]:
        """Return jobs whose owner has vanished."""
        k = self._keys
        found: list[str] = self._guarded(
            self._client.zrangebyscore, k.leases, "-inf", round(self.now() * 1000), start=0, num=limit
        )
        jobs = dict(self._loaded(found))
        for job_id in found:
            if job_id not in jobs:
                self._guarded(self._client.zrem, k.leases, job_id)
        return list(jobs.values())

    def held_by(self, owner: str) -> Sequence[Job]:
        """Return the jobs that an owner holds, whether its leases have lapsed or not."""
        found: list[str] = self._guarded(self._client.zrange, self._keys.leases, 0, -1)
        return [job for _, job in self._loaded(found) if job.owner == owner]

    def _loaded(self, ids: Sequence[str]) -> Iterator[tuple[str, Job]]:
        pipe = self._client.pipeline(transaction=False)
        for job in ids:
            pipe.hgetall(self._keys.job(job))
        hashes: list[dict[str, str]] = self._guarded(pipe.execute)
        for job, fields in zip(ids, hashes, strict=True):
            if "order" in fields:
                yield job, job_of(fields)
