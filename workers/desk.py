"""The desk: everything that a step may reach for, made once for a process and shared by its threads.

A step takes a job and the desk and returns an event. It knows neither Celery nor Redis.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from jobs.batch import Batch
from jobs.bucket.layout import Layout
from jobs.bucket.port import Bucket
from jobs.events import Event
from jobs.job import Job
from jobs.ledger.port import Ledger
from jobs.models import Catalogue, Model
from jobs.money import Days
from jobs.retry import RETRY_FOR_S, after_failure, doubt_wait
from workers.api.client import LARGEST_RESULT, Api, Key
from workers.away import Away
from workers.epoch import EpochGuard
from workers.gate import Gate
from workers.hands import Hands
from workers.inputs import Inputs
from workers.intents import Intents
from workers.keeper import LeaseKeeper
from workers.keys import KeyRing
from workers.limits import Limits
from workers.pace import Pace
from workers.previews import Previews
from workers.results import Results
from workers.spool.spool import Spool
from workers.storage import Storage
from workers.turns import Turns

T = TypeVar("T")

UNKNOWN_P999_S = 120.0
"""How long the tasks of a model may take that is in no catalogue any more."""


class Send(Protocol):
    """Sends a hint: a task's name and its arguments."""

    def __call__(self, task: str, *args: str | int, paid: bool = False) -> None:
        """Send one message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A submission that is ready to leave: its body, and what was done to its inputs."""

    path: str
    body: bytes
    flags: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class Desk:
    """The ports of the steps, and the flag that every wait listens to."""

    owner: str
    catalogue: Catalogue
    ledger: Ledger
    bucket: Bucket
    layout: Layout
    results: Results
    api: Api
    keys: KeyRing
    read_keys: Callable[[], Sequence[Key]]
    """Returns the keys that the settings, and their file, name now."""
    inputs: Inputs
    gate: Gate
    intents: Intents
    epoch: EpochGuard
    keeper: LeaseKeeper
    pace: Pace
    send: Send
    doubt_wait_s: float
    retry_for_s: float = RETRY_FOR_S
    """So long after a job's first failure it is tried again."""
    threads: int
    spool: Spool
    turns: Turns
    storage: Storage = field(default_factory=Storage)
    unseen: Callable[[], None] | None = None
    """What has to be looked at in the bucket before anything is bought: it was away when this process started."""
    away: Away = field(default_factory=Away)
    days: Days = field(default_factory=Days)
    limits: Limits = field(init=False)
    previews: Previews = field(init=False)
    settles_by_credits: bool = True
    """Whether what is held in doubt may be settled by the account's credits."""
    stopping: threading.Event = field(default_factory=threading.Event)
    prepared: dict[tuple[str, int], Prepared] = field(default_factory=dict)
    """Bodies between `prepare` and `post`, by job and fence: an owner that was late must not take the next one's."""
    hands: Hands = field(init=False)
    agreed: dict[str, Batch] = field(default_factory=dict)
    """Batches as they were agreed; they never change."""

    def __post_init__(self) -> None:
        self.hands = Hands(self.stopping)
        self.limits = Limits(self.ledger, self.catalogue)
        self.previews = Previews(lambda: len(self.ledger.workers()))

    def now(self) -> float:
        """Return Redis's time."""
        return self.ledger.now()

    def model(self, name: str) -> Model:
        """Return a model of the catalogue."""
        return self.catalogue.models[name]

    def doubt_wait(self, model: str) -> float:
        """Return how many seconds a doubt waits for a late answer, also for a model that the catalogue has lost."""
        known = self.catalogue.models.get(model)
        return doubt_wait(self.pace.longest(known) if known else UNKNOWN_P999_S, self.doubt_wait_s)

    def after_failure(
        self, job: Job, code: str, detail: str, *, for_good: bool = False, cost: int | None = None
    ) -> Event:
        """Return what a failed try that counts makes of a job now (`jobs.retry.after_failure`)."""
        at, within_s = self.now(), self.retry_for_s
        return after_failure(job, code, detail, at=at, within_s=within_s, for_good=for_good, cost=cost)

    def largest_result(self, job: Job) -> int:
        """Return the bytes of the largest result that a job's model may deliver."""
        known = self.catalogue.models.get(job.order.request.model)
        return known.largest_result if known else LARGEST_RESULT

    def batch(self, batch: str) -> Batch | None:
        """Return what was agreed about a batch, remembered."""
        known = self.agreed.get(batch)
        if known is None:
            found = self.ledger.batch(batch)
            if found is None:
                return None
            known = found[0]
            if len(self.agreed) > 1000:
                self.agreed.clear()
            self.agreed[batch] = known
        return known

    def sleep(self, seconds: float) -> bool:
        """Wait, or less when a shutdown begins; return whether one has begun."""
        return self.stopping.wait(seconds)

    def until(self, deadline: float) -> float:
        """Return the seconds left until `deadline` by Redis's time."""
        return max(deadline - self.now(), 0.0)


def _nothing() -> None:
    pass


def insistently(
    call: Callable[[], T],
    desk: Desk,
    *,
    errors: type[Exception] | tuple[type[Exception], ...],
    give_up_s: float,
    meanwhile: Callable[[], None] = _nothing,
) -> T:
    """Call until it works: for what is known and must be written down. Waits 0.2 s to 5 s in between.

    `meanwhile` is called once, when the first call has failed.

    Raises:
        Exception: the last error, after `give_up_s` seconds (a quarter of it once a shutdown has begun).
    """
    began = time.monotonic()
    wait = 0.2
    while True:
        try:
            return call()
        except errors:
            meanwhile()  # even where this is the end: a process that slept in its first call has done nothing else yet
            meanwhile = _nothing
            limit = give_up_s / 4 if desk.stopping.is_set() else give_up_s
            if time.monotonic() - began > limit:
                raise
            time.sleep(wait)
            wait = min(wait * 1.6, 5.0)
