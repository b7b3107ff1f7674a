"""Who may take a thread: what is paid before what is not, and of what is not, whose turn it is (`jobs.shares`).

A process has so many threads. Housekeeping always finds one, a result that waits to be fetched finds one whatever
else there is to do, and new purchases never have more than a part of them. Nothing new is bought while paid results
have been waiting for long.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from jobs.job import Job, State
from jobs.shares import place_in_line

HOUSE_THREADS = 4
"""Threads that purchases leave to housekeeping and to what is paid already."""

SPARED = {State.RUNNING: 2, State.READY: 1, State.KEPT: 1}
"""Threads that paid edits leave."""

BUYING_SHARE = 0.75
"""The part of the other threads that purchases may have: enough to fill every slot at once."""

OLD_S, OLD_RESULTS = 120.0, 3
"""So many results that have been fetchable for so long, and nothing new is bought. One URL that is broken is none of
these: it must not stop a batch."""

BACK_S = 4.0
"""An edit that was given back for want of a thread is here again after so long: it waits, and the tick has its turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turned:
    """An edit that found no thread, of a batch that is not alone."""

    batch: str
    weight: float
    until: float


class Turns:
    """Counts what the threads of a process are at. Any number of threads may use it at once."""

    def __init__(self, threads: int) -> None:
        """`threads` is how many there are in all."""
        self._threads = threads
        self._lock = threading.Lock()
        self._jobs: dict[tuple[str, int], Job] = {}
        self._turned: dict[str, _Turned] = {}

    @contextmanager
    def holding(self, job: Job) -> Iterator[None]:
        """Count a job while the body runs; `moved` tells how far it has come."""
        self.moved(job)
        try:
            yield
        finally:
            with self._lock:
                del self._jobs[job.id, job.fence]

    def moved(self, job: Job) -> None:
        """Note where a job stands now."""
        with self._lock:
            self._jobs[job.id, job.fence] = job

    def held(self) -> int:
        """Return how many jobs the threads of this process are at."""
        with self._lock:
            return len(self._jobs)

    def refuses(self, job: Job, now: float, weight: float = 0.0) -> str:
        """Return why a job that is counted already must leave its thread to others; empty if it need not.

        `weight` is what its batch weighs beside others, 0 where there are none. A thread that is free waits a little
        for a batch whose edits found none, if it is that one's turn: messages of others may lie before its own.
        """
        with self._lock:
            jobs = list(self._jobs.values())
            why = self._full(job, jobs, now)
            if job.receipt is not None or not weight:
                return why
            turned = {name: each for name, each in self._turned.items() if each.until > now and name != job.id}
            has = Counter(each.order.batch for each in jobs)
            batch = job.order.batch
            own = place_in_line(has[batch] - 1, weight)
            others = {each for each in turned.values() if each.batch != batch}
            if not why and any(place_in_line(has[each.batch], each.weight) < own for each in others):
                why = "its thread is left to another batch"
            if why:
                turned[job.id] = _Turned(batch=batch, weight=weight, until=now + BACK_S)
            self._turned = turned
            return why

    def _full(self, job: Job, jobs: Collection[Job], now: float) -> str:
        if job.receipt is not None:
            return "this process is full" if len(jobs) > max(self._threads - SPARED.get(job.state, 1), 1) else ""
        own = self._threads - HOUSE_THREADS
        buying = sum(each.receipt is None for each in jobs)
        if len(jobs) > max(own, 1) or buying > max(int(own * BUYING_SHARE), 1):
            return "this process is full"
        old = sum(each.state is State.READY and now - each.ready_at > OLD_S for each in jobs)
        return "paid results wait to be fetched" if old >= OLD_RESULTS else ""
