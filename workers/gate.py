"""The gate before a submission: it waits, for a few seconds, until slot, money and fingerprint are free.

A waiting thread sleeps until a slot is freed anywhere (Redis tells); it does not ask Redis again and again. The
wait is bounded, so that jobs which already have a receipt find a thread.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import replace

import structlog

from jobs.batch import BatchState
from jobs.events import Begun, Cancelled, Event, GivenBack
from jobs.job import Job
from jobs.ledger.change import Closed
from jobs.ledger.port import Ledger, Recorded
from jobs.money import Days, Reached
from jobs.states import apply

LONGEST_WAIT_S = 5.0
MONEY_LOOK_S = 0.25
"""Nobody tells when open reserves settle, so the gate looks again after this."""
IN_PLACE_S = 1.0
"""A throttle shorter than this is waited for here, a longer one gives the job back."""

log = structlog.get_logger(__name__)


class Gate:
    """Lets jobs begin, one process's threads at a time wherever that is enough."""

    def __init__(
        self,
        ledger: Ledger,
        stopping: threading.Event,
        days: Days | None = None,
        another_key: Callable[[Collection[str]], str | None] = lambda _: None,
    ) -> None:
        """`another_key` returns the id of a key that may submit and is none of those given."""
        self._ledger = ledger
        self._stopping = stopping
        self._days = days or Days()
        self._another_key = another_key
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
        spent: set[str] = set()
        while not self._stopping.is_set():
            generation = self._generation
            now = self._ledger.now()
            begun = replace(begun, day=self._days.book(now, simulated=begun.simulated))
            after = apply(job, begun, now)
            answer = self._ledger.begin(job, after, looked_at=begun.looked_at, caps=self._days.caps)
            if answer.closed is None:
                return replace(after, intent=answer.intent)
            if answer.closed is Closed.NO_SLOT:
                if not self._wait(generation, until):
                    return GivenBack(wait=random.uniform(0.5, 1.5), why="no slot")
            elif answer.closed is Closed.MONEY_OPEN and time.monotonic() < until:
                self._wait(generation, min(until, time.monotonic() + MONEY_LOOK_S))
            elif answer.closed is Closed.THROTTLED and answer.wait_s <= IN_PLACE_S and time.monotonic() < until:
                self._stopping.wait(answer.wait_s)
            elif answer.closed is Closed.KEY_CAP and (other := self._another_key({*spent, begun.key_id})):
                spent.add(begun.key_id)
                begun = replace(begun, key_id=other)
            else:
                return self._elsewhere(after, answer)
        return GivenBack(wait=0.0, why="shutting down")

    def _wait(self, generation: int, until: float) -> bool:
        """Wait for news of a freed slot; False when the time is up."""
        with self._freed:
            self._freed.wait_for(
                lambda: self._generation != generation or self._stopping.is_set(), until - time.monotonic()
            )
        return time.monotonic() < until

    def _elsewhere(self, job: Job, answer: Recorded) -> Event:
        closed, wait_s = answer.closed, answer.wait_s
        match closed:
            case Closed.CANCELLED:
                return Cancelled()
            case Closed.PAUSED:
                return GivenBack(wait=60.0, why="paused")
            case Closed.GROUP_STOPPED:
                return GivenBack(wait=0.0, why="its group is stopped")  # the next claim sets it aside
            case Closed.THROTTLED:
                return GivenBack(wait=wait_s + random.uniform(0.0, 1.0), why="throttled")
            case Closed.CEILING | Closed.DAY_CAP | Closed.KEY_CAP:
                self._pause(job, closed, answer.needed)
                return GivenBack(wait=60.0, why=str(closed))
            case Closed.WENT_BACK | Closed.GUARDED:
                return GivenBack(wait=random.uniform(5.0, 10.0), why="Redis went back in time, or was emptied")
            case Closed.JUST_FILED:
                return GivenBack(wait=0.0, why="just filed")
            case Closed.BEING_BOUGHT:
                return GivenBack(wait=min(2.0 + job.waits, 15.0), why="somebody buys the same edit")
            case _:
                return GivenBack(wait=random.uniform(2.0, 5.0), why=str(closed))

    def _pause(self, job: Job, closed: Closed, needed: int) -> None:
        cap = {Closed.DAY_CAP: self._days.caps.day, Closed.KEY_CAP: self._days.caps.key_day}.get(closed)
        reached = Reached(which=closed.value, limit=cap or 0, needed=needed, day=job.day, zone=str(self._days.zone))
        about = reached.as_json()
        batch = job.order.batch
        self._ledger.set_state(batch, BatchState.PAUSED, "cap", only_from=[BatchState.OPEN], about=about)
        log.warning("a money ceiling is reached", batch=batch, **about)
