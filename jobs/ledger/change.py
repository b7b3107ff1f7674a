"""What a transition changes beside the job itself: slot, money, seat, index, fingerprint, outcome.

Both ledgers carry out a `Change` as it stands; what it says is decided here, from the job before and after, so
the rules are in one place and Redis's script has none.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from jobs.bounds import End
from jobs.job import DOUBT, FINAL, MADE_IT, PROVED_UNCHARGED, Job, State, flat
from jobs.outcome import outcome_line

LEASE_S = 25.0
"""A job whose owner has not renewed it for so long may be taken over."""

RESEND_S = 30.0
"""A queued job whose message is older than this is sent another one."""

LONG_WAIT_S = 2.0
"""A job given back for longer than this leaves the window: it does not want a slot for now."""

WAITING_LIMIT = 500
"""So many jobs that wait for a time, a person or storage stop their batch's feeding."""

TOMBSTONE_S = 60
"""So long a job that has ended is known as ended, so that a late message does nothing."""

FILED_S = 120
"""So long the ledger itself says that a fingerprint is filed; after that the bucket does, so that nothing begins on a
look at the bucket that is older. A mark takes 250 bytes of Redis."""

TOLD_S = 900
"""So long a line that is told again is not counted again."""

DOUBT_AGAIN_S = 5
"""A doubt that was handed out and not settled is handed out again after this."""

ASIDE_AGAIN_S = 1.0
"""A job that left its turn to other batches asks again after this."""

FRONT_S = 7.5
"""So long after its last try a job is taken to wait for a slot still: as long as it waits at the gate, and a bit."""

COMES_S = 2.5
"""So long a slot is kept free for the batch whose turn it is: who waits at the gate looks every 2 s, also where no news
of the slot came. Who has not come by then has gone with its worker."""

FEED_AGAIN_S = 2.0
"""A window that asked to be fed asks again after this."""

WORKER_S = 60
"""A worker that says nothing for so long is not counted as alive."""

LATENCY_S = 7 * 86_400
"""What was learnt of a model's latency is forgotten when nothing was added for so long."""

SPOOL_S = 30 * 86_400
"""A spool that nobody says anything of for so long is forgotten; what lies on its disk is not."""

PARTS_A_ROUND = 100_000
"""Each round numbers its parts of outcomes from a place of its own: a batch that was forgotten and reopened must
not write over the parts in the bucket."""


class Seat(StrEnum):
    """Where a job counts: `hot` jobs hold or want a slot and fill the window, all others do not."""

    NONE = ""
    HOT = "hot"
    WAITING = "waiting"
    HELD = "held"
    STOPPED = "stopped"
    """It waits for its group of the manifest to go on; the ledger itself gives this seat, at a claim."""
    ASIDE = "aside"
    """It left its place in the window to other batches (at a claim, too), and comes before rows that are not fed."""


class Index(StrEnum):
    """Which index finds the job again when its message or its worker is lost."""

    NONE = ""
    LEASES = "leases"
    DUE = "due"
    DOUBTS = "doubts"


def holds_slot(job: Job) -> bool:
    """Whether the API may count this job's task as in flight. One that was ready once is not."""
    if job.state is State.RUNNING:
        return not job.renewed
    return job.state is State.SUBMITTING or (job.state is State.IN_DOUBT and not job.held)


def holds_reserve(job: Job) -> bool:
    """Whether the job's cost is still open, so that its reserve counts against the ceilings."""
    if job.state in (State.SUBMITTING, State.IN_DOUBT):
        return True
    return job.state is State.RUNNING and not job.renewed and (job.receipt is None or job.receipt.cost is None)


def seat_of(job: Job, at: float) -> Seat:
    """Return where the job counts at `at`."""
    if job.final:
        return Seat.NONE
    if job.held:
        return Seat.HELD
    if holds_slot(job):
        return Seat.HOT
    if job.state is State.QUEUED and job.not_before - at < LONG_WAIT_S:
        return Seat.HOT
    return Seat.WAITING


def index_of(job: Job) -> Index:
    """Return the index that the job belongs in."""
    if job.final or job.held:
        return Index.NONE
    if job.state is State.KEPT and not job.owner:
        return Index.NONE  # a message would reach any worker; who has the disk looks at the disk
    if job.state is State.IN_DOUBT:
        return Index.DOUBTS
    return Index.LEASES if job.owner else Index.DUE


def counted_reason(state: str, reason: str, *, held: bool = False) -> str:
    """Return the reason code under which a job counts in its batch, if it did not make it or is held."""
    return reason if held or (state in FINAL and state not in MADE_IT) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One transition, ready to be carried out if the job still is as it was."""

    job: str
    batch: str
    group: str
    account: str
    # what must still be so
    was_state: str
    was_attempt: int
    was_fence: int
    was_sent: bool
    """Compared where the fence is raised: who takes a job over must have seen the mark that its owner wrote last."""
    was_held: bool
    """A doubt that is held has given its slot up, and is counted as held."""
    # what the job becomes
    state: str
    attempt: int
    fence: int
    owner: str
    sent: bool
    not_before_ms: int
    live: str
    final: bool
    # what follows from it
    seat: str
    index: str
    index_at_ms: int
    """When the index finds it: for leases the script adds LEASE_S to its own clock instead."""
    was_slot: str
    slot: str
    freed_by: str
    """The process whose slot this was and that frees it itself; empty where somebody else does."""
    reserve: int
    """What is reserved from here on, unless something is: then that stays."""
    unproved: int
    """What the edit may cost beyond its reserve; the gate says so."""
    settled: int
    unsure: int
    """How many costs became known that need not be what the API charged, or charged since it was last idle."""
    day: str
    key: str
    """The day and the API key whose books the money is in."""
    model: str
    charged: int
    """How many submissions more are known to have cost something: 1, 0 or -1 (it was corrected)."""
    due: int
    expected: int
    """What these should have cost: at the most, and most likely."""
    fingerprint: str
    fingerprint_to: str
    """keep, free or filed."""
    outcome: str
    reasons: Sequence[tuple[str, int, int]]
    """(code, rows, micro-dollars) to add to the batch's counts; rows and money may be negative."""
    held: int
    spool: str
    """The disk that the job's bytes lie on."""
    kept: Sequence[tuple[str, int]]
    """(disk, rows) to add to what the batch has on each."""
    doubts: int
    doubt_used: int
    ceiling: int
    """By how much the batch's ceiling rises: a person who buys again what is held agrees to what it may cost."""
    bound: str
    """The group of the manifest with which its end counts."""
    ended: str
    """How it ended, if the bounds look at that (`jobs.bounds.End`)."""
    end_cost: int
    call: bool
    """The API was asked for the first time,"""
    retry: bool
    """or is to be asked again after a failure."""
    paid: bool
    """The job has a receipt, so its messages go to the urgent queue."""

    @classmethod
    def of(cls, before: Job, after: Job, at: float) -> Change:
        """Return what moving from `before` to `after` at `at` changes."""
        index = index_of(after)
        charged = _charged(after) - _charged(before)
        return cls(
            job=after.id,
            batch=after.order.batch,
            group=after.order.limit_group,
            account=after.account,
            was_state=str(before.state),
            was_attempt=before.attempt,
            was_fence=before.fence,
            was_sent=before.sent,
            was_held=before.held,
            state=str(after.state),
            attempt=after.attempt,
            fence=after.fence,
            owner=after.owner,
            sent=after.sent,
            not_before_ms=_ms(after.not_before),
            live=json.dumps(after.live_json(), separators=(",", ":")),
            final=after.final,
            seat=str(seat_of(after, at)),
            index=str(index),
            index_at_ms=_ms(max(after.not_before, at)),
            was_slot=before.slot if holds_slot(before) else "",
            slot=after.slot if holds_slot(after) else "",
            freed_by=before.owner if after.fence == before.fence else "",
            reserve=after.order.reserve if holds_reserve(after) else 0,
            unproved=0,
            settled=after.cost - before.cost,
            unsure=_unsure(before, after),
            day=after.day,
            key=after.key_id,
            model=after.order.request.model,
            charged=charged,
            due=charged * after.order.reserve,
            expected=charged * after.order.estimate,
            fingerprint=after.fingerprint,
            fingerprint_to=_fingerprint_to(before, after),
            outcome=outcome_line(after) if (after.final or after.held) and after != before else "",
            reasons=_reasons(before, after),
            held=int(after.held) - int(before.held),
            spool=after.spool,
            kept=_kept(before, after),
            doubts=after.doubts - before.doubts,
            doubt_used=_doubt_used(before, after),
            ceiling=_doubt_used(before, after) if before.held else 0,
            bound=after.order.bound,
            ended=str(_ended(before, after)),
            end_cost=after.cost,
            call=before.state is State.SUBMITTING and after.state in _ANSWERED and after.attempt == 1,
            retry=before.state in _ASKED and after.state is State.QUEUED and after.attempt > before.attempt,
            paid=after.receipt is not None and not after.final,
        )

    def as_json(self) -> str:
        """Return the change as the script reads it."""
        return json.dumps(flat(self), separators=(",", ":"))


class Closed(StrEnum):
    """Why the gate did not open."""

    PAUSED = "paused"
    CANCELLED = "cancelled"
    THROTTLED = "throttled"
    NO_SLOT = "no_slot"
    CEILING = "ceiling"
    DAY_CAP = "day_cap"
    KEY_CAP = "key_cap"
    """Of the batch, of the day, of the key on this day: what is spent leaves no room."""
    MONEY_OPEN = "money_open"
    """Only other open reserves stand in the way; wait for them to settle."""
    BEING_BOUGHT = "being_bought"
    JUST_FILED = "just_filed"
    NO_ALLOWANCE = "no_allowance"
    GROUP_STOPPED = "group_stopped"
    """Too many of its group failed; it waits for a person."""
    NO_BUDGET = "no_budget"
    """The batch has asked again for so many edits that this failure is the last."""
    WENT_BACK = "went_back"
    """The ledger knows less than this process has seen: nothing begins before that is understood."""
    GUARDED = "guarded"
    """It is known that the ledger went back in time, or was emptied; it waits to be reconciled."""


CEILINGS = (Closed.CEILING, Closed.DAY_CAP, Closed.KEY_CAP)
"""In the order in which the gate looks at them."""


_ASKED = (State.SUBMITTING, State.RUNNING)
_ANSWERED = (State.RUNNING, State.MODERATED, State.FAILED)


def _ended(before: Job, after: Job) -> End:
    """Say how a job ended, where that tells something of its group. What failed before anything was asked of the API
    costs nothing, and what a person or a doubt ended was no definite failure."""
    if before.final or before.state in (State.IN_DOUBT, State.KEPT):
        return End.STORED if after.state is State.STORED else End.NONE
    if after.state is State.FAILED:
        return End.FAILED if after.submitted_at else End.NONE
    return {State.STORED: End.STORED, State.MODERATED: End.MODERATED}.get(after.state, End.NONE)


def _charged(job: Job) -> int:
    return sum(charge.cost > 0 for charge in job.charges)


def _unsure(before: Job, after: Job) -> int:
    """Count what must not be set against the account's credits. A job without a slot may be one of long ago."""
    late = not holds_slot(before)
    known = [charge for charge in after.charges if charge not in before.charges and charge.source != DOUBT]
    received = before.receipt is None and after.receipt is not None
    return sum(late or charge.unsure for charge in known) + (late and received)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _fingerprint_to(before: Job, after: Job) -> str:
    if not after.fingerprint or before.state is State.QUEUED:
        return "keep"
    if after.state is State.STORED:
        return "filed"
    return "free" if after.final or after.held or after.state is State.QUEUED else "keep"


def _reasons(before: Job, after: Job) -> list[tuple[str, int, int]]:
    counts: list[tuple[str, int, int]] = []
    if code := counted_reason(before.state, before.reason, held=before.held):
        counts.append((code, -1, -before.cost))
    if code := counted_reason(after.state, after.reason, held=after.held):
        counts.append((code, 1, after.cost))
    return counts


def _kept(before: Job, after: Job) -> list[tuple[str, int]]:
    was = before.spool if before.state is State.KEPT else ""
    now = after.spool if after.state is State.KEPT else ""
    return [(spool, rows) for spool, rows in ((was, -1), (now, 1)) if spool] if was != now else []


def _doubt_used(before: Job, after: Job) -> int:
    resubmitted = before.state is State.IN_DOUBT and after.state is State.QUEUED and after.attempt > before.attempt
    exposed = resubmitted and after.failures[-1].code != PROVED_UNCHARGED
    return after.order.reserve if exposed else 0
