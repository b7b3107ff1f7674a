"""The way of one job: claim it, run its steps until it is final or given back, write down each event.

Which step comes next is the job's state; a rescued job goes on from where it stood.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Mapping
from functools import partial

import structlog

from jobs.batch import BatchState
from jobs.crashpoints import crashpoint
from jobs.errors import LedgerError, Superseded
from jobs.events import (
    Accepted,
    AttemptFailed,
    Begun,
    Cancelled,
    Doubted,
    Event,
    Failed,
    GivenBack,
    Kept,
    Ready,
)
from jobs.job import Job, State
from jobs.ledger.change import Closed
from jobs.ledger.port import Claim
from jobs.outcome import usd
from jobs.queues import FEED, FINISH
from jobs.retry import backoff, without_budget
from jobs.states import apply
from workers.desk import Desk, insistently
from workers.poll import poll
from workers.receipts import WRITE_DOWN_S, leave_noted, note, tell_late
from workers.store import is_filed, secure, store
from workers.submit import STORAGE_AWAY_S, Purchase, prepare

log = structlog.get_logger(__name__)

Step = Callable[[Job, Desk], Event]

STEPS: Mapping[State, Step] = {
    State.QUEUED: prepare,
    State.RUNNING: poll,
    State.READY: store,
    State.KEPT: store,
}

BUGS_END_S = 3600.0
"""A paid job whose step still raises after this ends: its slot, or its batch, would never be free."""


def edit(job_id: str, desk: Desk) -> str:
    """Take a job as far as it goes now. Nothing happens if it is not there to be worked on: then return why."""
    if desk.stopping.is_set():
        return "shutting down"
    claim = desk.ledger.claim(job_id, desk.owner, spool=desk.spool.id)
    job = claim.job
    if job is None:
        return claim.why
    crashpoint("claimed")
    with desk.keeper.holding(job), desk.turns.holding(job), desk.spool.holding(job):
        try:
            _run(job, claim, desk)
        except Superseded as error:
            log.info("job moved elsewhere", job=job_id, why=str(error))
        except LedgerError as error:  # its lease lapses, and whoever finds Redis again goes on
            log.warning("job left where it stands", job=job_id, why=str(error))
        finally:
            desk.prepared.pop((job_id, job.fence), None)
    return ""


def _run(job: Job, claim: Claim, desk: Desk) -> None:
    if job.state is State.QUEUED and claim.batch_state is BatchState.CANCELLED:
        job = _write_down(job, Cancelled(), desk)
    elif why := desk.turns.refuses(job, desk.now(), claim.weight):
        job = _write_down(job, GivenBack(wait=random.uniform(0.5, 1.5), why=why), desk)
    elif job.receipt is not None and job.state is not State.KEPT:
        desk.spool.reserve(job, desk.largest_result(job), anyway=True)
    while not job.final and job.owner:
        job = _write_down(job, _step(job, desk), desk)


def _step(job: Job, desk: Desk) -> Event:
    step = STEPS.get(job.state)
    if step is None:
        return GivenBack(wait=60.0, why=f"nothing to do in {job.state}")
    try:
        return _at_hand(job, desk) or step(job, desk)
    except (Superseded, LedgerError):
        raise
    except Exception as error:  # one row's bug must not end the thread, nor lose the row
        log.exception("step failed", **job.log_context())
        return _after_bug(job, desk, f"{type(error).__name__}")


def _at_hand(job: Job, desk: Desk) -> Event | None:
    """Return what is clear without asking anybody."""
    if job.state is State.QUEUED and (why := desk.storage.trouble or (desk.unseen and "not seen yet")):
        return GivenBack(wait=backoff(job.waits + 1, cap=STORAGE_AWAY_S), why=f"storage is away: {why}")
    if job.state is State.RUNNING and desk.spool.find(job) is not None:  # it was ready once, and was fetched
        return Ready(url=job.url, deadline=desk.now())
    return None


def _after_bug(job: Job, desk: Desk, detail: str) -> Event:
    """What a step that raised makes of its job. What may have been paid is not dropped while it may still come."""
    match job.state:
        case State.SUBMITTING:
            current = desk.ledger.load(job.id)
            if current is not None and current.fence == job.fence and not current.sent:
                return desk.after_failure(job, "internal_error", detail)  # the step is over, so nothing leaves any more
            return Doubted(detail=f"internal error: {detail}", wait=desk.doubt_wait(job.order.request.model))
        case State.QUEUED:
            return desk.after_failure(job, "internal_error", detail)
        case State.RUNNING if desk.now() - job.submitted_at > BUGS_END_S:
            return Failed(code="lost_at_api", detail=f"internal error: {detail}", paid=True)
        case State.READY if desk.now() - job.ready_at > BUGS_END_S:
            return Failed(code="paid_not_delivered", detail=f"internal error: {detail}", paid=True)
        case _:
            return GivenBack(wait=30.0, why=detail)


def _write_down(job: Job, event: Event, desk: Desk) -> Job:
    """Carry out an event, and return the job as it stands afterwards."""
    if isinstance(event, Begun):
        crashpoint("prepared")
        job, event = _bought(job, event, desk)
    after = apply(job, event, desk.now())
    crashpoint("recording", event)
    op = uuid.uuid4().hex  # one for all tries: a try whose answer was lost has moved the job, and is no other's
    try:
        recorded = insistently(
            lambda: desk.ledger.record(job, after, op=op),
            desk,
            errors=LedgerError,
            give_up_s=WRITE_DOWN_S,
            meanwhile=partial(_keep_what_is_known, job, after, event, desk),
        )
    except Superseded:
        if isinstance(event, Accepted):
            tell_late(job, after, event, desk)
        raise
    except LedgerError:
        if isinstance(event, Accepted):
            leave_noted(job, after, event, desk)
        raise
    finally:
        if isinstance(event, Accepted):
            crashpoint("receipt-recorded")
            desk.intents.settle(after, desk.epoch.id)
    if recorded.closed is Closed.NO_BUDGET and isinstance(event, AttemptFailed):
        return _write_down(job, without_budget(event), desk)
    crashpoint("recorded", event)
    if isinstance(event, Accepted):
        desk.spool.notes.told(job, event.receipt)
        desk.limits.taken(after)
    if is_filed(event):
        desk.spool.let_go(after)
    desk.turns.moved(after)
    _log_event(after, event)
    if recorded.feed_wanted:
        desk.send(FEED, after.order.batch, after.order.limit_group)
    if recorded.none_left:
        desk.send(FINISH, after.order.batch)
    return after


def _bought(job: Job, begun: Begun, desk: Desk) -> tuple[Job, Event]:
    """Submit a job, and return it as it then stands, and what happened to it."""
    purchase = Purchase(job, begun, desk)
    try:
        event = purchase.made()
    except (Superseded, LedgerError):
        raise
    except Exception as error:  # one row's bug must not end the thread, nor lose the row
        log.exception("purchase failed", **purchase.job.log_context())
        event = _after_bug(purchase.job, desk, f"{type(error).__name__}")
    return purchase.job, event


def _keep_what_is_known(before: Job, after: Job, event: Event, desk: Desk) -> None:
    """Put onto the disk what Redis cannot be told now, and what will not be there for long."""
    if isinstance(event, Accepted):
        note(before, after, event, desk)
        crashpoint("receipt-noted")
    if isinstance(event, Ready):
        secure(after, desk)


def _log_event(after: Job, event: Event) -> None:
    if isinstance(event, GivenBack | AttemptFailed | Doubted | Failed | Kept):
        why = getattr(event, "why", "") or getattr(event, "code", "") or getattr(event, "detail", "")
        log.info(type(event).__name__, **after.log_context(), why=why)
    elif after.final:
        log.info("job ended", reason=after.reason, cost_usd=usd(after.cost), how=after.how, **after.log_context())
