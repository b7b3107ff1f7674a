"""The gate before a submission: it waits, for a few seconds, until slot, money and fingerprint are free.

A waiting thread sleeps until a slot is freed anywhere (Redis tells); it does not ask Redis again and again. The
wait is bounded, so that jobs which already have a receipt find a thread.
"""

from __future__ import annotations

import random
import threading
import time

import structlog

from jobs.batch import BatchState
from jobs.events import Begun, Cancelled, Event, GivenBack
from jobs.job import Job
from jobs.ledger.change import Closed
from jobs.ledger.port import Ledger
from jobs.states import apply

LONGEST_WAIT_S = 5.0
IN_PLACE_S = 1.0
"""A throttle shorter than this is waited for here, a longer one gives the job back."""

log = structlog.get_logger(__name__)


class Gate:
    """Lets jobs begin, one process's threads at a time wherever that is enough."""

    def __init__(self, ledger: Ledger, stopping: threading.Event) -> None:
        self._ledger = ledger
        self._stopping = stopping
        self._freed = threading.Condition()
        self._generation = 0

    def freed(self) -> None:
        """Wake those who wait: a slot was freed, or a shutdown begins."""
        with self._freed:
            self._generation += 1
            self._freed.notify_all()

    def enter(self, job: Job, begun: Begun) -> Job | Event:
        """Return the job as it is submitting, or what happens to it instead.

        Raises:
            LedgerError: Redis is away, or full: then nothing new is taken.
            Superseded: somebody else moved the job.
        """
        until = time.monotonic() + LONGEST_WAIT_S
        while not self._stopping.is_set():
            generation = self._generation
            after = apply(job, begun, self._ledger.now())
            answer = self._ledger.begin(job, after, looked_at=begun.looked_at)
            if answer.closed is None:
                return after
            if answer.closed is Closed.NO_SLOT:
                if not self._wait(generation, until):
                    return GivenBack(wait=random.uniform(0.5, 1.5), why="no slot")
            elif answer.closed is Closed.THROTTLED and answer.wait_s <= IN_PLACE_S and time.monotonic() < until:
                self._stopping.wait(answer.wait_s)
            else:
                return self._elsewhere(job, answer.closed, answer.wait_s)
        return GivenBack(wait=0.0, why="shutting down")

    def _wait(self, generation: int, until: float) -> bool:
        """Wait for news of a freed slot; False when the time is up."""
        with self._freed:
            self._freed.wait_for(
                lambda: self._generation != generation or self._stopping.is_set(), until - time.monotonic()
            )
        return time.monotonic() < until

    def _elsewhere(self, job: Job, closed: Closed, wait_s: float) -> Event:
        match closed:
            case Closed.CANCELLED:
                return Cancelled()
            case Closed.PAUSED:
                return GivenBack(wait=60.0, why="paused")
            case Closed.THROTTLED:
                return GivenBack(wait=wait_s + random.uniform(0.0, 1.0), why="throttled")
            case Closed.CEILING:
                self._ledger.set_state(job.order.batch, BatchState.PAUSED, "cap", only_from=[BatchState.OPEN])
                log.warning("the money ceiling is reached", batch=job.order.batch)
                return GivenBack(wait=60.0, why="ceiling")
            case Closed.JUST_FILED:
                return GivenBack(wait=0.0, why="just filed")
            case Closed.BEING_BOUGHT:
                return GivenBack(wait=min(2.0 + job.waits, 15.0), why="somebody buys the same edit")
            case _:
                return GivenBack(wait=random.uniform(2.0, 5.0), why=str(closed))
