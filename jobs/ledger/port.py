"""The ledger as everybody else sees it: the record of hot jobs, slots and money.

Two ledgers keep this contract, `memory` (for tests of the core) and `redis`; one suite of tests holds both to it.
Every change is all or nothing, and says no when the job is not any more what the caller believes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from jobs.accounts import MAIN
from jobs.batch import Batch, BatchState, Progress
from jobs.job import Job, Order
from jobs.latency import Histogram
from jobs.ledger.change import Closed
from jobs.ledger.news import Freed
from jobs.ledger.seen import ParkedKey, SpoolSeen, WorkerSeen
from jobs.limit import Limit
from jobs.money import NO_CAPS, Caps, Sums
from jobs.shares import Priority


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A job taken into ownership, or why not: missing final owned early paused stopped aside doubt elsewhere."""

    job: Job | None
    why: str = ""
    batch_state: BatchState = BatchState.OPEN
    weight: float = 0.0
    """What its batch weighs beside others; 0 while it is alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A transition that was carried out, or the gate that stayed closed (then nothing changed)."""

    closed: Closed | None = None
    wait_s: float = 0.0
    """With THROTTLED: how long."""
    needed: int = 0
    """With one of CEILINGS: the room that the edit needs (micro-dollars)."""
    feed_wanted: bool = False
    """The window fell under its low water: send a feed message."""
    none_left: bool = False
    """That was the last job of its batch for now: send a finish message, in case nothing is to be fed either."""
    intent: int = 0
    """Of a submission that began: its number,"""
    more: bool = True
    """and whether another slot may be free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One life of a ledger: from its first submission until it was emptied, or went back in time."""

    id: str = ""
    intents: int = 0
    """The number of the last submission that began."""
    guard: str = ""
    """Why no submission begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a batch had come to, as far as it is known without the ledger. Money in micro-dollars."""

    cursors: Mapping[str, int]
    staged: Mapping[str, int]
    counts: Mapping[str, int]
    settled: int
    doubts: int
    doubt_used: int
    reasons: Mapping[str, tuple[int, int]]
    orders: Sequence[Order]
    """The jobs that had been fed and have no outcome; they are queued again."""
    first: int = 0
    first_cost: int = 0
    first_expected: int = 0
    price_paid: Mapping[str, int] = field(default_factory=dict)
    price_due: Mapping[str, int] = field(default_factory=dict)
    """By model: what its edits have cost, and should have cost at the most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """How a feed goes over rows of which it creates no jobs. Rows count from 0 within their limit group."""

    to: int | None = None
    """Where the cursor stands afterwards; None: past the orders."""
    over: Mapping[str, int] = field(default_factory=dict)
    """Groups that are stepped over, each with its first such row: there they are behind, if they were not before."""
    behind: str = ""
    """This is not the limit group's own cursor, but that of a group behind; it ends where the two meet."""


NO_STEPS = Steps()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """A job to send a message for."""

    job: str
    paid: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """How a limit group stands when its size is to change."""

    used: int
    latest: int
    """The number of the last submission that began."""


Law = Callable[[Limit, Places], Limit]
"""Says what becomes of a limit; called again if somebody else was faster."""


class Ledger(Protocol):
    """What Redis holds of a batch while it runs. Times are epoch seconds by the ledger's own clock."""

    def now(self) -> float:
        """Return the ledger's time."""

    # -- batches
    def open_batch(self, batch: Batch) -> bool:
        """Start a batch; False if it is known already (then nothing changes)."""

    def batch(self, batch: str) -> tuple[Batch, Progress] | None:
        """Return a batch that the ledger holds."""

    def batches(self) -> Sequence[str]:
        """Return the ids of the batches that the ledger holds, oldest first."""

    def set_state(
        self,
        batch: str,
        state: BatchState,
        reason: str,
        *,
        only_from: Sequence[BatchState],
        only_reason: str | None = None,
        about: Mapping[str, Any] | None = None,
        opening: str = "",
    ) -> bool:
        """Move a batch's state if it is one of `only_from`; waiting jobs become due when it opens or is cancelled.

        With `only_reason` it must wait for that reason now, with `opening` it must be that one (`Progress.opening`).
        `about` are further facts about the new reason.
        """

    def resume_groups(self, batch: str, group: str = "") -> None:
        """Let a stopped group of the manifest go on, or all of them; their windows and the batch's begin anew."""

    def set_ceiling(self, batch: str, micros: int) -> None:
        """Let a batch spend this much in all (micro-dollars)."""

    def set_priority(self, batch: str, priority: Priority, by: float) -> None:
        """Let a batch have this priority and deadline (epoch seconds, 0 for none) instead of what was agreed."""

    def share(self, batch: str, weight: float, places: Mapping[str, int]) -> None:
        """Let a batch weigh this much beside others, and have so many places of each limit group's window.

        Where it has none to share with, both are 0. Jobs beyond its places leave theirs at their next claim, without a
        slot, and come back before others are fed.
        """

    def mark_finished(self, batch: str, *, opening: str = "") -> bool:
        """Note that a batch's report lies in the bucket as of now; False where it is gone, or open anew."""

    def stage(self, batch: str, group: str, rows: int) -> None:
        """Raise the mark up to which a group's rows can be fed."""

    def feed(
        self,
        batch: str,
        group: str,
        cursor: int,
        orders: Sequence[Order],
        *,
        low: int,
        round_: int = 1,
        steps: Steps = NO_STEPS,
        opening: str = "",
    ) -> bool:
        """Create these jobs and move the group's cursor past them; False, and nothing, unless it stands at `cursor`, in
        this opening of the batch if one is given.

        `steps` says of which rows between no jobs are created. `low` is the number of hot jobs under which the next
        feed is wanted. Without orders only `low` is set.
        """

    def jobs_of(self, batch: str) -> Sequence[str]:
        """Return the ids of the batch's jobs that the ledger holds."""

    def take_outcomes(self, batch: str) -> tuple[int, Sequence[str]] | None:
        """Set the batch's finished outcomes apart as a numbered part; the same part again until it is dropped."""

    def drop_outcomes(self, batch: str, part: int) -> None:
        """Forget a part that is safe in the bucket."""

    def outcomes(self, batch: str) -> Sequence[str]:
        """Return the finished outcomes that are not known to lie in the bucket; they stay where they are."""

    def outcomes_waiting(self, batch: str) -> tuple[int, float]:
        """Return how many outcomes wait to be set apart, and for how many seconds the oldest has."""

    def forget(self, batch: str, *, if_flushed: bool = False, opening: str = "") -> bool:
        """Remove everything of a batch, and what its jobs had reserved of their days, or were buying.

        False, and nothing, where it is not the opening that is meant, or, with `if_flushed`, where a job is left or an
        outcome waits to be written.
        """

    def restore(self, batch: Batch, restored: Restored) -> bool:
        """Put a batch back, paused; False where the ledger holds it (then nothing changes)."""

    def restore_day(self, day: str, sums: Mapping[str, Sums]) -> None:
        """Let a day, and each API key on it (all: an empty name), have settled and used for doubts at least this."""

    # -- the ledger's life
    def epoch(self) -> Epoch:
        """Return what the ledger says of its life."""

    def trust(self, epoch: Epoch) -> None:
        """Let this process submit only while the ledger knows at least this much."""

    def begin_epoch(self, epoch: Epoch, *, after: str = "") -> bool:
        """Begin a life in place of `after` (an id, or empty: of none); no guard stands then. False if it is not."""

    def guard(self, why: str) -> None:
        """Let nobody begin a submission until another epoch begins."""

    # -- jobs
    def load(self, job: str) -> Job | None:
        """Return a job that is not final, as it stands."""

    def claim(self, job: str, owner: str, *, spool: str = "") -> Claim:
        """Take a job into ownership under a new fence, if it is there to be worked on.

        A kept job is there only for who has the spool that it lies on.
        """

    def record(self, before: Job, after: Job, *, op: str = "") -> Recorded:
        """Carry out a transition if the job still is `before` (state, attempt, fence, and whether it is held).

        Another try after a failure of the API's is NO_BUDGET where the batch has none to spare; then nothing changed.
        Who asks again because an answer was lost says the same `op`, and it is carried out once. Raises `Superseded`
        where somebody else moved the job.
        """

    def begin(
        self, before: Job, after: Job, *, looked_at: float = 0.0, caps: Caps = NO_CAPS, only_ask: bool = False
    ) -> Recorded:
        """Carry out the beginning of a submission, if slot, money and fingerprint are free, else say what is not.

        `looked_at` is when the bucket had no filed result: one that was filed since is JUST_FILED, and so is one of
        which that cannot be told any more (FILED_S). `caps` are those of the day and the key that the job names. With
        `only_ask` nothing is taken, and a slot that is not free, or money that is only reserved, is not said: these are
        waited for.

        Raises:
            Superseded: somebody else moved the job.
        """

    def resubmit(self, before: Job, after: Job) -> Recorded:
        """Carry out a doubt's return to the queue, if the batch's allowance carries it, else say so.

        Raises:
            Superseded: somebody else moved the job.
        """

    def mark_sent(self, job: Job) -> Job:
        """Write that the last part of the body leaves now, and return the job with the mark.

        Raises:
            Superseded: the job is not ours any more, or its batch was paused: nothing may leave.
        """

    def late_receipt(self, batch: str, line: str, cost: int, *, day: str = "", key: str = "") -> bool:
        """Record a charge for a job that has ended or bought again: an outcome line and its cost (micro-dollars).

        The same line counts once. False where the ledger does not hold the batch (any more): then the line belongs
        into the bucket (`Layout.late`); the books of the day and of the API key have its cost all the same.
        """

    def money(self, day: str, key: str = "") -> Sums:
        """Return what all batches have spent and reserved on a day, or one API key has."""

    def renew(self, owner: str, fences: Mapping[str, int]) -> Sequence[str]:
        """Renew the leases of these jobs; return those that are not ours any more."""

    # -- housekeeping
    def lapsed(self, limit: int) -> Sequence[Job]:
        """Return jobs whose owner has vanished."""

    def held_by(self, owner: str) -> Sequence[Job]:
        """Return the jobs that an owner holds, whether its leases have lapsed or not."""

    def due(self, limit: int) -> Sequence[Hint]:
        """Return jobs that want a message, and note that they were sent one."""

    def doubts_due(self, limit: int) -> Sequence[str]:
        """Return jobs whose doubt has waited long enough, and look at them again later."""

    def remove_strays(self) -> int:
        """Free slots whose job does not hold them; return how many."""

    def throttle(self, seconds: float, *, account: str = MAIN) -> None:
        """Let nobody submit with a key of this account for so long (the longest wish counts)."""

    def limits(self, account: str = MAIN) -> Mapping[str, Limit]:
        """Return what the API's refusals have made of an account's limit groups; only of those that they touched."""

    def adjust(self, group: str, law: Law, *, account: str = MAIN) -> Limit:
        """Change what is known of a limit group's size for an account as `law` says, and return it.

        Where it grew, those who wait at the gate are told.
        """

    def park_key(self, key: str, why: str) -> None:
        """Note that the API refuses a key (by its name); the first note stands until it is unparked."""

    def unpark_key(self, key: str) -> None:
        """Note that a key works again."""

    def parked_keys(self) -> Mapping[str, ParkedKey]:
        """Return the keys that are parked, by their names."""

    def slots_used(self, account: str = "") -> Mapping[str, int]:
        """Return how many slots of each limit group are taken, of one account or of all."""

    def kept(self, name: str) -> str:
        """Return what was last kept under this name of the account's credits; empty if nothing was."""

    def keep(self, name: str, text: str) -> None:
        """Keep this under the name, in the place of what was kept there."""

    def say_of_credits(self, batch: str, said: str) -> None:
        """Note what the credits say of the doubts that a batch holds: JSON, as `jobs.credits` writes it."""

    def lock(self, name: str, token: str, seconds: float) -> bool:
        """Take or renew a lock; False while somebody else holds it."""

    def unlock(self, name: str, token: str) -> None:
        """Give a lock back, if it is ours."""

    def see_worker(self, worker: WorkerSeen) -> None:
        """Note that a worker process is alive, for a minute."""

    def workers(self) -> Sequence[WorkerSeen]:
        """Return the worker processes seen in the last minute."""

    def see_spool(self, spool: SpoolSeen) -> None:
        """Note a spool and what lies in it, for 30 days."""

    def spools(self) -> Sequence[SpoolSeen]:
        """Return the spools seen in the last 30 days."""

    def learn(self, model: str, news: Histogram) -> Histogram:
        """Add what was seen of a model's latency to what every process saw, and return that (`jobs.latency`)."""

    def listen(self, owner: str, freed: Callable[[Freed], None], stopped: Callable[[], bool]) -> None:
        """Call `freed` with slots of `owner`'s or anybody's, and now and then with none; blocks until `stopped`."""

    def pass_on(self, news: Freed) -> None:
        """Tell everybody who listens of a slot that is of no use to who freed it."""
