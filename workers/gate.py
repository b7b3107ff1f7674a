"""The gate before a submission: it waits, for a few seconds, until slot, money and fingerprint are free.

A waiting thread sleeps until its process is told of a freed slot; where nothing is told it looks every 2 s. The wait
is bounded, so that jobs which already have a receipt find a thread.

Most who wait are *primed*: all of their body but its last part is at the API already, so that a freed slot is not idle
while a body travels. How many may wait so, and when it is of no use, is known here, too.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace

import structlog

from jobs.accounts import MAIN
from jobs.batch import BatchState
from jobs.errors import LedgerError
from jobs.events import Begun, Cancelled, Event, GivenBack
from jobs.job import Job
from jobs.ledger.change import Closed
from jobs.ledger.news import ANYBODYS, Freed
from jobs.ledger.port import Ledger, Recorded
from jobs.money import Days, Reached
from jobs.states import apply
from workers.lines import Lines, Pool, Turn

LONGEST_WAIT_S = 5.0
PRIMED_WAIT_S = 6.5
"""Less than a body is held back for (`workers.api.client.HELD_S`): a throttle, the intent and the mark may follow."""
MONEY_LOOK_S = 0.25
"""Nobody tells when open reserves settle, so the gate looks again after this."""
IN_PLACE_S = 1.0
"""A throttle shorter than this is waited for here, a longer one gives the job back."""

NOT_PRIMED_S = 60.0
"""After an API that did not bear a request standing still, slots are taken before bodies leave for so long."""

ASKED_BYTES = 64 * 1024
"""A smaller body may travel in vain: it costs less than to ask Redis whether it should."""

NO_SLOT = "no slot"

log = structlog.get_logger(__name__)


class Gate:
    """Lets jobs begin, one process's threads at a time wherever that is enough."""

    def __init__(
        self,
        ledger: Ledger,
        stopping: threading.Event,
        days: Days | None = None,
        *,
        key_spent: Callable[[str], bool] = lambda _: False,
        places: Callable[[str], int] = lambda _: 1000,
    ) -> None:
        """
        Args:
            ledger: holds slots and money.
            stopping: set when a shutdown begins.
            days: the books of each day.
            key_spent: told that a key's money for the day is gone; returns whether another one may have some.
            places: how many primed submissions of a limit group may wait at once in this process for the places of one
                account; more would only hold connections.
        """
        self._ledger = ledger
        self._stopping = stopping
        self._days = days or Days()
        self._key_spent = key_spent
        self._places = places
        self._lines = Lines()
        self._room = threading.Condition()
        self._counting = threading.Lock()
        self._primed: Counter[Pool] = Counter()
        self._waiting: Counter[str] = Counter()
        self._in_vain: set[Pool] = set()
        self._not_before = 0.0

    def freed(self, news: Freed = ANYBODYS) -> None:
        """Wake the first of those who wait: a slot was freed. Once a shutdown has begun, wake everybody.

        What this process freed nobody else was told of. (Else every process would look, and all but one in vain.) So
        what is of no use here is passed on, and in a shutdown all of it.
        """
        if self._stopping.is_set():
            self._lines.wake_all()
            with self._room:
                self._room.notify_all()
            of_use = False
        else:
            of_use = (news.account, news.group) in self._lines.wake()
        if news.by and not of_use:
            with suppress(LedgerError):
                self._ledger.pass_on(news)

    def waiting(self, account: str) -> int:
        """Return how many of this process wait for places of an account."""
        return self._waiting[account]

    def primes(self, group: str, account: str = MAIN) -> bool:
        """Whether a body may be sent ahead now.

        It may not, and the slot is taken first, while no slot of the limit group is freed for longer than a body is
        held back (it would travel again and again), and after an API that hung up meanwhile.
        """
        return (account, group) not in self._in_vain and time.monotonic() >= self._not_before

    def unborne(self) -> None:
        """Note that the API did not bear a request that stood still."""
        if self._not_before <= time.monotonic():
            log.info("the API ends requests that wait for a slot, so slots are taken first", seconds=NOT_PRIMED_S)
        self._not_before = time.monotonic() + NOT_PRIMED_S

    def ahead(self, job: Job, begun: Begun, *, size: int = 0) -> Event | None:
        """Let a job send its body of so many bytes ahead: None, or what happens to the job instead.

        A body that the gate would turn back whatever slots are freed need not travel; else it waits for a place among
        the primed, as long as for a slot. A small one is not asked for: `enter` asks soon enough.

        Raises:
            LedgerError, Superseded: as `enter`.
        """
        if size >= ASKED_BYTES and (turned_back := self._turned_back(job, begun)) is not None:
            return turned_back
        pool, until = (begun.account, job.order.limit_group), time.monotonic() + LONGEST_WAIT_S
        most = self._places(job.order.limit_group)
        with self._waits(begun.account), self._room:
            self._room.wait_for(lambda: self._primed[pool] < most or self._stopping.is_set(), until - time.monotonic())
            if self._stopping.is_set():
                return _STOPPING
            return None if self._primed[pool] < most else _no_slot()

    def _turned_back(self, job: Job, begun: Begun) -> Event | None:
        """Return what happens to a job for which the gate is closed whatever slots are freed."""
        begun, after = self._wished(job, begun)
        asked = self._ledger.begin(job, after, looked_at=begun.looked_at, caps=self._days.caps, only_ask=True)
        if asked.closed is None or (asked.closed is Closed.THROTTLED and asked.wait_s <= IN_PLACE_S):
            return None
        return self._elsewhere(after, asked)

    def _wished(self, job: Job, begun: Begun) -> tuple[Begun, Job]:
        """Return what a job would begin with now, and the job as it then were."""
        now = self._ledger.now()
        begun = replace(begun, day=self._days.book(now, simulated=begun.simulated))
        return begun, apply(job, begun, now)

    def enter(
        self, job: Job, begun: Begun, *, primed: bool = False, unless: Callable[[], Event | None] = lambda: None
    ) -> Job | Event:
        """Return the job as it is submitting, or what happens to it instead.

        Args:
            job: it is queued.
            begun: what it begins with.
            primed: whether its body waits for this.
            unless: returns what else ends the wait; asked before each look at the ledger.

        Raises:
            LedgerError: Redis is away, or full: then nothing new is taken.
            Superseded: somebody else moved the job.
        """
        pool = (begun.account, job.order.limit_group)
        with self._waits(begun.account), self._counted(pool) if primed else nullcontext():
            until = time.monotonic() + (PRIMED_WAIT_S if primed else LONGEST_WAIT_S)
            found = self._entered(job, begun, unless, until)
        if isinstance(found, Job):
            self._in_vain.discard(pool)
        elif primed and isinstance(found, GivenBack) and found.why == NO_SLOT:
            self._in_vain.add(pool)
        return found

    @contextmanager
    def _waits(self, account: str) -> Iterator[None]:
        with self._counting:
            self._waiting[account] += 1
        try:
            yield
        finally:
            with self._counting:
                self._waiting[account] -= 1

    @contextmanager
    def _counted(self, pool: Pool) -> Iterator[None]:
        with self._room:
            self._primed[pool] += 1
        try:
            yield
        finally:
            with self._room:
                self._primed[pool] -= 1
                self._room.notify_all()

    def _entered(self, job: Job, begun: Begun, unless: Callable[[], Event | None], until: float) -> Job | Event:
        line = (begun.account, job.order.limit_group, job.order.batch)
        with self._lines.standing(line) as turn:
            while True:
                self._lines.heed(line, turn)
                if self._stopping.is_set():
                    return _STOPPING
                if (event := unless()) is not None:
                    return event
                begun, after = self._wished(job, begun)
                answer = self._ledger.begin(job, after, looked_at=begun.looked_at, caps=self._days.caps)
                if answer.closed is None:
                    turn.took_the_last = not answer.more
                    return replace(after, intent=answer.intent)
                if answer.closed is Closed.NO_SLOT:
                    if not self._wait(turn, until):
                        return _no_slot()
                elif answer.closed is Closed.MONEY_OPEN and time.monotonic() < until:
                    self._lines.step_out(line, turn)  # a smaller reserve of the next one may fit
                    self._wait(turn, min(until, time.monotonic() + MONEY_LOOK_S))
                elif answer.closed is Closed.THROTTLED and answer.wait_s <= IN_PLACE_S and time.monotonic() < until:
                    self._stopping.wait(answer.wait_s)
                else:
                    return self._elsewhere(after, answer)

    def _wait(self, turn: Turn, until: float) -> bool:
        """Wait for news of a freed slot; False when the time is up."""
        turn.wait(max(until - time.monotonic(), 0.0))
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
            case Closed.KEY_CAP if self._key_spent(job.key_id):
                return GivenBack(wait=0.0, why="its key has spent its money for the day")
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


_STOPPING = GivenBack(wait=0.0, why="shutting down")


def _no_slot() -> GivenBack:
    return GivenBack(wait=random.uniform(0.5, 1.5), why=NO_SLOT)
